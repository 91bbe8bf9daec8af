"""Bootstrap over groups: every metric of every contender on the same thousands of resamples.

A resample draws as many groups as there are, with replacement and without strata, and takes each with all
its samples. It is kept as a row of weights (how often each group was drawn), so that metrics of many
resamples at once are matrix products and running sums. All contenders see the same rows: their
differences are paired.

With more than `MANY_CLASSES` classes the area under the curve, whose time grows with classes times samples times
resamples (minutes for a thousand classes), is resampled through its linear approximation: the area plus the weighted
sum of what each sample adds to it (`clearmargin.evaluation.roc.macro_influence`), which is DeLong's variance, over
groups Obuchowski's (*Biometrics* 53 (1997) 567). The value itself is always exact.

A class may be missing from a resample. The means over classes (balanced accuracy, macro F1, macro AUC) leave it
out there, as they do in `clearmargin.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import scipy

from clearmargin.cores import available_cores
from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.metrics import (
    TALLY_METRICS,
    Tally,
    brier,
    confusion_matrix,
    log_loss,
    mean_defined,
    predicted_index,
    ratio,
    sample_brier,
    sample_losses,
    tally,
)
from clearmargin.evaluation.roc import Ranking, macro_auc, macro_influence, ranking

HEADLINE = (*TALLY_METRICS, "auc", "log_loss", "brier")

# Elements of the largest array a chunk of resamples makes: 8 MB of float64, which a cache half holds.
CHUNK_ELEMENTS = 2**20
MANY_CLASSES = 50


@dataclass(frozen=True)
class ExactAreas:
    """The macro area of each weighting, from the ranking of every class."""

    rankings: tuple[Ranking, ...]

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Macro AUC, float64 of shape (weightings,), for weights of shape (weightings, groups)."""
        return mean_defined(np.stack([one.auc(weights) for one in self.rankings], axis=-1))


@dataclass(frozen=True)
class LinearAreas:
    """The macro area of each weighting to first order: its value, and what each group adds, float64 (groups,)."""

    value: float
    influence: np.ndarray

    def score(self, weights: np.ndarray) -> np.ndarray:
        """As `ExactAreas.score`."""
        return self.value + weights @ self.influence


@dataclass(frozen=True)
class Scorer:
    """One contender's predictions, summed up so that many weightings are scored at once.

    Attributes
    ----------
    n_classes
        Number of classes.
    sizes
        Samples in each group, float64 of shape (groups,).
    counts
        Of each group the right samples, the samples and the answers by class, side by side: sparse
        (groups, 3 classes).
    losses, briers
        Sum of the log losses, and of the Brier scores, of each group; float64 of shape (groups,).
    areas
        What gives the macro AUC.
    """

    n_classes: int
    sizes: np.ndarray
    counts: scipy.sparse.csr_array
    losses: np.ndarray
    briers: np.ndarray
    areas: ExactAreas | LinearAreas

    def score(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every headline metric for each weighting of the groups.

        Parameters
        ----------
        weights
            float64 of shape (weightings, groups).

        Returns
        -------
        Float64 arrays of shape (weightings,) by the names of `HEADLINE`.
        """
        shape = (len(weights), 3, self.n_classes)
        counts = Tally(*np.moveaxis(np.asarray(weights @ self.counts).reshape(shape), 1, 0))
        scores = {name: metric(counts) for name, metric in TALLY_METRICS.items()}
        total = weights @ self.sizes
        scores["auc"] = self.areas.score(weights)
        scores["log_loss"] = ratio(weights @ self.losses, total)
        scores["brier"] = ratio(weights @ self.briers, total)
        return scores


def scorer(truth: np.ndarray, probabilities: np.ndarray, units: np.ndarray, n_units: int) -> Scorer:
    """Sum up one contender's predictions by group.

    Parameters
    ----------
    truth, units
        Position of the true class, and group, of each sample; int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes).
    """
    n_classes = probabilities.shape[1]
    return Scorer(
        n_classes=n_classes,
        sizes=np.bincount(units, minlength=n_units).astype(np.float64),
        counts=grouped_counts(truth, predicted_index(probabilities), units, n_units, n_classes),
        losses=np.bincount(units, sample_losses(truth, probabilities), minlength=n_units),
        briers=np.bincount(units, sample_brier(truth, probabilities), minlength=n_units),
        areas=_areas(truth, probabilities, units, n_units),
    )


def grouped_counts(
    truth: np.ndarray, predicted: np.ndarray, units: np.ndarray, n_units: int, n_classes: int
) -> scipy.sparse.csr_array:
    """Right samples, samples and answers of each group by class, sparse (groups, 3 classes).

    Parameters
    ----------
    truth, predicted, units
        int64 of shape (samples,).
    """
    right = np.flatnonzero(truth == predicted)
    columns = np.concatenate([truth[right], n_classes + truth, 2 * n_classes + predicted])
    rows = np.concatenate([units[right], units, units])
    return scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n_units, 3 * n_classes)).tocsr()


def _areas(truth: np.ndarray, probabilities: np.ndarray, units: np.ndarray, n_units: int) -> ExactAreas | LinearAreas:
    if probabilities.shape[1] <= MANY_CLASSES:
        return ExactAreas(tuple(ranking(column, truth == k, units) for k, column in enumerate(probabilities.T)))
    value, influence = macro_influence(truth, probabilities)
    return LinearAreas(value, np.bincount(units, influence, minlength=n_units))


def headline(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The metrics of `HEADLINE`, by name, on the samples as they are.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes).
    """
    counts = tally(confusion_matrix(truth, predicted_index(probabilities), probabilities.shape[1]))
    return {
        **{name: float(metric(counts)) for name, metric in TALLY_METRICS.items()},
        "auc": macro_auc(truth, probabilities),
        "log_loss": log_loss(truth, probabilities),
        "brier": brier(truth, probabilities),
    }


def draw_weights(rng: np.random.Generator, resamples: int, n_units: int) -> np.ndarray:
    """How often each group comes up in each resample, float64 of shape (resamples, n_units)."""
    drawn = rng.integers(0, n_units, size=(resamples, n_units))
    cells = drawn + n_units * np.arange(resamples)[:, np.newaxis]
    counts = np.bincount(cells.ravel(), minlength=resamples * n_units)
    return counts.reshape(resamples, n_units).astype(np.float64)


def chunks(resamples: int, row_elements: int) -> Iterator[int]:
    """Sizes of the chunks in which rows of so many elements are worked on, in bounded memory."""
    size = max(1, CHUNK_ELEMENTS // row_elements)
    for done in range(0, resamples, size):
        yield min(size, resamples - done)


def bootstrap(aligned: AlignedPredictions, resamples: int = 2000, seed: int = 0) -> Mapping[str, dict[str, np.ndarray]]:
    """Metrics of every contender on the same resamples of the groups.

    Returns
    -------
    For each contender what `Scorer.score` returns, with one row for each resample.
    """
    scorers = {
        name: scorer(aligned.truth, probabilities, aligned.units, aligned.n_units)
        for name, probabilities in aligned.probabilities.items()
    }
    rng = np.random.default_rng([seed, 0])
    scored: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in scorers}
    with ThreadPoolExecutor(available_cores()) as threads:  # one for each contender: the figures don't depend on them
        for size in chunks(resamples, max(len(aligned.truth), 3 * len(aligned.classes))):
            weights = draw_weights(rng, size, aligned.n_units)
            found = threads.map(Scorer.score, scorers.values(), repeat(weights, len(scorers)))
            for name, one in zip(scored, found, strict=True):
                scored[name].append(one)
    return {
        name: {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
        for name, parts in scored.items()
    }
