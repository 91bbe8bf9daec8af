"""The control of one split: labels dealt out anew, learned on its training side, tested on its test part.

Each group (a patient, a cluster of copies, or their union, as the audit knows them) gets one label, so that recognising
what belongs together pays. When no group is on both sides, nothing that was learned says anything about the test part,
and the accuracy is that of chance; where the test part leaks, it is above. What nobody knows to belong together, this
can't see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from clearmargin.audit.linear_classifier import NAME, agreement_by_chance, class_probabilities
from clearmargin.evaluation.alignment import numbered_groups
from clearmargin.features import Features
from clearmargin.leakage.control import CONTROL_CONFIDENCE, deal_labels
from clearmargin.records import Progress, Sample, Split

SPLIT_SHUFFLES = 10
MOST_LABELS = 10  # more classes than that make ten labels: the control is as good, and takes seconds
MOST_TAUGHT = 3000  # images of both sides together, drawn by whole groups
CLOSE_FIT = 1.0  # scikit-learn's C: who is to recognise single images must be free to learn them by heart
FEWEST_ON_A_SIDE = 5  # groups
ROUNDING = 1e-9  # of shares: a mean of zeros must not be above chance by the last bit
_FORMAT = 1


def split_control(
    split: Split, samples: Sequence[Sample], groups: np.ndarray, features: Features, *, seed: int, progress: Progress
) -> dict[str, Any]:
    """Train on shuffled labels on one side of a split, test on the other.

    Parameters
    ----------
    split
        Of all the samples, or of some: what was left out of it takes no part.
    samples, groups, features
        Of everything found: ``groups`` is an object array of shape (samples,).

    Returns
    -------
    The content of ``control.json``: ``accuracy`` (a figure: mean over the shuffles, with Student's interval of its
    distance from chance), ``chance`` (what answers like those reach without knowing anything), ``holds`` (whether the
    interval reaches down to chance; None when no control is possible, and ``reason`` says why), ``labels``,
    ``shuffles``, ``learned`` and ``tested`` (images), ``crossing`` (groups on both sides), ``features``,
    ``classifier``.
    """
    row_of = {sample.name: row for row, sample in enumerate(samples)}
    rows = np.array([row_of[name] for name in split.names], dtype=np.int64)
    numbers = numbered_groups(groups[rows])[0]
    kept = _some(numbers, np.random.default_rng([seed, 7]))
    units = np.unique(numbers[kept], return_inverse=True)[1]
    tested = split.parts[kept] == "test"
    both = np.intersect1d(units[tested], units[~tested])
    content: dict[str, Any] = {
        "format": _FORMAT,
        "features": features.name,
        "classifier": NAME,
        "learned": int((~tested).sum()),
        "tested": int(tested.sum()),
        "crossing": len(both),
        "shuffles": SPLIT_SHUFFLES,
        "accuracy": None,
        "chance": None,
        "holds": None,
        "reason": _impossible(units, tested),
    }
    if content["reason"]:
        return content
    sizes = _label_sizes(split.labels[kept])
    found = _at_chance(features.values[rows[kept]], units, tested, sizes, seed, progress)
    return {**content, "labels": len(sizes), **found}


def _some(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of whole groups, ascending, so many that learning takes seconds; at least one group."""
    order = rng.permutation(int(units.max()) + 1)
    reached = np.cumsum(np.bincount(units)[order])
    taken = order[: max(1, int(np.searchsorted(reached, MOST_TAUGHT, side="right")))]
    return np.flatnonzero(np.isin(units, taken))


def _impossible(units: np.ndarray, tested: np.ndarray) -> str | None:
    """Why there can be no control, if there can't."""
    sides = {"to learn from": len(np.unique(units[~tested])), "to test": len(np.unique(units[tested]))}
    few = next((side for side, many in sides.items() if many < FEWEST_ON_A_SIDE), None)
    return None if few is None else f"there are only {sides[few]} groups {few}, {FEWEST_ON_A_SIDE} are needed"


def _label_sizes(labels: np.ndarray) -> np.ndarray:
    """How many images each label is to have: as many as the classes, or ten equal shares of many classes."""
    sizes = np.unique(labels.astype(str), return_counts=True)[1].astype(float)
    if len(sizes) == 1:
        return np.full(2, len(labels) / 2)
    return sizes if len(sizes) <= MOST_LABELS else np.full(MOST_LABELS, len(labels) / MOST_LABELS)


def _at_chance(
    features: np.ndarray, units: np.ndarray, tested: np.ndarray, sizes: np.ndarray, seed: int, progress: Progress
) -> dict[str, Any]:
    accuracies, chances, answers = [], [], 0
    for number in range(SPLIT_SHUFFLES):
        dealt = deal_labels(units, sizes, np.random.default_rng([seed, 8, number]))
        learned = features[~tested], dealt[~tested]
        said = class_probabilities(*learned, features[tested], len(sizes), CLOSE_FIT).argmax(axis=1)
        accuracies.append(float((said == dealt[tested]).mean()))
        chances.append(agreement_by_chance(dealt[tested], said))
        answers = max(answers, len(np.unique(said)))
        progress("Random-label control", number + 1, SPLIT_SHUFFLES, "classifiers")
    if answers < 2:
        return {"reason": "the classifier gives all images one and the same answer"}
    excess = np.array(accuracies) - np.array(chances)
    accuracy, chance = float(np.mean(accuracies)), float(np.mean(chances))
    quantile = float(scipy.stats.t.isf((1 - CONTROL_CONFIDENCE) / 2, len(excess) - 1))
    reach = quantile * float(excess.std(ddof=1)) / np.sqrt(len(excess))
    figure = {
        "value": accuracy,
        "low": max(accuracy - reach, 0.0),
        "high": min(accuracy + reach, 1.0),
        "method": f"Student's t over {len(excess)} shuffles, {100 * CONTROL_CONFIDENCE:g} %",
    }
    return {"accuracy": figure, "chance": chance, "holds": bool(excess.mean() - reach <= ROUNDING)}
