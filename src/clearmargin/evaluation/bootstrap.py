"""Bootstrap over groups: every metric of every contender on the same thousands of resamples.

A resample draws as many groups as there are, with replacement and without strata, and takes each with all
its samples. It is kept as a row of weights (how often each group was drawn), so that metrics of many
resamples at once are matrix products and running sums. All contenders see the same rows: their
differences are paired.

A class may be missing from a resample. The means over classes (balanced accuracy, macro F1, macro AUC) leave it
out there, as they do in `clearmargin.evaluation.metrics`; its recall is NaN there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.metrics import (
    CONFUSION_METRICS,
    confusion_matrix,
    log_loss,
    mean_defined,
    predicted_index,
    ratio,
    recall,
    sample_losses,
)
from clearmargin.evaluation.roc import Ranking, macro_auc, ranking

HEADLINE = (*CONFUSION_METRICS, "auc", "log_loss")

# Elements of the largest array a chunk of resamples makes: 8 MB of float64, which a cache half holds.
CHUNK_ELEMENTS = 2**20


@dataclass(frozen=True)
class Scorer:
    """One contender's predictions, summed up so that many weightings are scored at once.

    Attributes
    ----------
    n_classes
        Number of classes.
    sizes
        Samples in each group, float64 of shape (groups,).
    cells
        How often a group falls in each cell of the confusion matrix, sparse (groups, classes²).
    losses
        Sum of the log losses of each group, float64 of shape (groups,).
    rankings
        One for each class.
    """

    n_classes: int
    sizes: np.ndarray
    cells: sparse.csr_array
    losses: np.ndarray
    rankings: tuple[Ranking, ...]

    def score(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every headline metric, and the recall of each class, for each weighting of the groups.

        Parameters
        ----------
        weights
            float64 of shape (weightings, groups).

        Returns
        -------
        Float64 arrays by name: those of `HEADLINE` of shape (weightings,), and ``recall`` of shape
        (weightings, classes).
        """
        shape = (len(weights), self.n_classes, self.n_classes)
        confusion = np.asarray(weights @ self.cells).reshape(shape)
        scores = {name: metric(confusion) for name, metric in CONFUSION_METRICS.items()}
        areas = np.stack([one.auc(weights) for one in self.rankings], axis=-1)  # (weightings, classes)
        scores["auc"] = mean_defined(areas)
        scores["log_loss"] = ratio(weights @ self.losses, weights @ self.sizes)
        scores["recall"] = recall(confusion)
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
    n_samples, n_classes = probabilities.shape
    cell = truth * n_classes + predicted_index(probabilities)
    counts = sparse.coo_array((np.ones(n_samples), (units, cell)), shape=(n_units, n_classes**2))
    return Scorer(
        n_classes=n_classes,
        sizes=np.bincount(units, minlength=n_units).astype(np.float64),
        cells=counts.tocsr(),
        losses=np.bincount(units, sample_losses(truth, probabilities), minlength=n_units),
        rankings=tuple(ranking(column, truth == k, units) for k, column in enumerate(probabilities.T)),
    )


def headline(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The metrics of `HEADLINE`, by name, on the samples as they are.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes).
    """
    confusion = confusion_matrix(truth, predicted_index(probabilities), probabilities.shape[1])
    values = {name: float(metric(confusion)) for name, metric in CONFUSION_METRICS.items()}
    return {**values, "auc": macro_auc(truth, probabilities), "log_loss": log_loss(truth, probabilities)}


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
    for size in chunks(resamples, max(len(aligned.truth), len(aligned.classes) ** 2)):
        weights = draw_weights(rng, size, aligned.n_units)
        for name, one in scorers.items():
            scored[name].append(one.score(weights))
    return {
        name: {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
        for name, parts in scored.items()
    }
