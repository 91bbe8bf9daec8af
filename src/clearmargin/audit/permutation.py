"""Can a label be told from a property better than shuffled labels allow?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clearmargin.audit.told_apart import FOLDS, Categories, Units, balanced_accuracies

SIGNIFICANT = 0.02  # for all properties of a data set together (Holm): chance must not look like a finding
RELEVANT = 0.1  # share of the way from chance to certainty
_HOPELESS = 0.05  # p-value after the first shuffles above which none can become significant
_FIRST_SHUFFLES, _SHUFFLES = 99, 999
_MOST_AT_ONCE = 50  # shuffled labellings; fewer when there are many classes and categories,
_MOST_CELLS = 1_000_000  # so that the tables of one batch hold no more numbers than this


@dataclass(frozen=True)
class Results:
    """Of each property, and last of all together.

    Attributes
    ----------
    accuracies, p_values, p_holm
        float64 of shape (properties + 1,).
    chance
        One over the number of classes.
    shuffles
        How many shuffled labellings the p-values rest on.
    flagged
        bool: significant and of practical relevance.
    """

    accuracies: np.ndarray
    p_values: np.ndarray
    p_holm: np.ndarray
    chance: float
    shuffles: int

    @property
    def strengths(self) -> np.ndarray:
        """Share of the way from chance to certainty."""
        return (self.accuracies - self.chance) / (1 - self.chance)

    @property
    def flagged(self) -> np.ndarray:
        return (self.p_holm <= SIGNIFICANT) & (self.strengths >= RELEVANT)


def permutation_test(categories: list[Categories], units: Units, generator: np.random.Generator) -> Results:
    """Permutation test of each property and of all together, adjusted by Holm.

    Shuffling stops early when after the first shuffles nothing can become a finding any more.
    """
    accuracies = balanced_accuracies(categories, units, units.labels[:, None])[:, 0]
    chance = 1 / units.classes
    relevant = (accuracies - chance) / (1 - chance) >= RELEVANT
    cells = FOLDS * sum(len(property_.names) for property_ in categories)
    at_once = int(np.clip(_MOST_CELLS // (cells * units.classes), 1, _MOST_AT_ONCE))
    reached, done = np.zeros(len(accuracies)), 0
    while done < _SHUFFLES:
        now = min(at_once, (_FIRST_SHUFFLES if done < _FIRST_SHUFFLES else _SHUFFLES) - done)
        shuffled = balanced_accuracies(categories, units, units.shuffled(now, generator))
        reached += (shuffled >= accuracies[:, None] - 1e-12).sum(axis=1)
        done += now
        if done == _FIRST_SHUFFLES and not (relevant & (reached <= _HOPELESS * done)).any():
            break
    p_values = (1 + reached) / (1 + done)
    return Results(accuracies, p_values, adjusted_by_holm(p_values), chance, done)


def adjusted_by_holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result
