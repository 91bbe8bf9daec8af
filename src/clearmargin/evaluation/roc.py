"""Receiver operating characteristic, one class against the rest: areas and curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from clearmargin.evaluation.metrics import mean_defined, ratio


@dataclass(frozen=True)
class Ranking:
    """Samples sorted by score once, so that the area is cheap for thousands of weightings.

    Attributes
    ----------
    units
        Unit of each sample in ascending order of score, int64 of shape (samples,).
    positive_units
        Unit of each positive sample, shape (positives,).
    below, through
        For each positive, how many samples score lower, and how many score lower or the same.
    """

    units: np.ndarray
    positive_units: np.ndarray
    below: np.ndarray
    through: np.ndarray

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the curve for each weighting; NaN where one side has no weight.

        The Mann-Whitney statistic with average ranks: the weighted share of pairs (positive, negative)
        in which the positive scores higher, ties counting one half.

        Parameters
        ----------
        weights
            Weight of each unit, float64 of shape (weightings, units). Whole numbers give an area
            without rounding before the last division.

        Returns
        -------
        float64 of shape (weightings,).
        """
        running = np.zeros((len(weights), len(self.units) + 1))
        np.cumsum(np.take(weights, self.units, axis=1), axis=1, out=running[:, 1:])
        middle = np.take(running, self.below, axis=1) + np.take(running, self.through, axis=1)
        own = np.take(weights, self.positive_units, axis=1)
        positive = own.sum(axis=1)
        negative = running[:, -1] - positive
        # Among themselves the positives win half of all ordered pairs: positive² / 2.
        wins = np.einsum("ij,ij->i", own, middle) - positive**2
        return ratio(wins, 2 * positive * negative)


def ranking(scores: np.ndarray, positive: np.ndarray, units: np.ndarray) -> Ranking:
    """Sort samples by score.

    Parameters
    ----------
    scores
        float64 of shape (samples,); higher speaks for positive.
    positive
        bool of shape (samples,).
    units
        What a weight belongs to (a group, or the sample itself), int64 of shape (samples,).
    """
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    positions = np.flatnonzero(positive[order])
    return Ranking(
        units=units[order],
        positive_units=units[order][positions],
        below=np.searchsorted(ascending, ascending[positions], side="left"),
        through=np.searchsorted(ascending, ascending[positions], side="right"),
    )


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of one class; NaN without positives or without negatives.

    Parameters
    ----------
    scores
        float64 of shape (samples,).
    positive
        bool of shape (samples,).
    """
    units = np.arange(len(scores))
    return float(ranking(scores, positive, units).auc(np.ones((1, len(scores))))[0])


def one_vs_rest_auc(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Area of each class against the rest, float64 of shape (classes,); NaN for an absent class.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes).
    """
    return np.array([auc(column, truth == index) for index, column in enumerate(probabilities.T)])


def macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of `one_vs_rest_auc` over the classes that have samples; NaN with fewer than two of them."""
    return float(mean_defined(one_vs_rest_auc(truth, probabilities)))


def placements(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Share of the other side that each sample is on the right side of, ties counting one half.

    Of a positive: the negatives that score lower; of a negative: the positives that score higher. The mean over either
    side is the area. By mean ranks in O(n log n); Sun & Xu, *IEEE Signal Processing Letters* 21 (2014) 1389.

    Parameters
    ----------
    scores
        float64 of shape (samples,).
    positive
        bool of shape (samples,); both sides must have samples.

    Returns
    -------
    float64 of shape (samples,), from 0 to 1.
    """
    among_all, beyond = scipy.stats.rankdata(scores), np.empty(len(scores))
    for side in (positive, ~positive):
        beyond[side] = among_all[side] - scipy.stats.rankdata(scores[side])  # so many of the other side score lower
    n_positive = int(positive.sum())
    lower = beyond / np.where(positive, len(scores) - n_positive, n_positive)
    return np.where(positive, lower, 1.0 - lower)


def macro_influence(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    """The macro area, and what a little more weight on each sample adds to it.

    The derivative of the area of a class by a sample's weight is ``(V − A) / m``, with ``V`` its `placements`, ``A``
    the area and ``m`` the samples on its side; of the macro area, the mean over the classes that have an area.

    Returns
    -------
    Macro AUC (NaN with fewer than two classes that have samples), and float64 of shape (samples,), whose sum is 0.
    """
    areas, total = [], np.zeros(len(truth))
    for k, column in enumerate(probabilities.T):
        positive = truth == k
        n_positive = int(positive.sum())
        if not 0 < n_positive < len(truth):
            continue
        placed = placements(column, positive)
        areas.append(float(placed[positive].mean()))
        total += (placed - areas[-1]) / np.where(positive, n_positive, len(truth) - n_positive)
    if not areas:
        return float("nan"), total
    return float(np.mean(areas)), total / len(areas)


def roc_points(scores: np.ndarray, positive: np.ndarray, max_points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the ROC curve of one class, from (0, 0) to (1, 1).

    Only corners are kept, and of those at most ``max_points`` (at least 2), evenly spread along the
    curve; the area changes by less than ``2 / max_points``, and by far less on a curve that bends gently.

    Parameters
    ----------
    scores
        float64 of shape (samples,).
    positive
        bool of shape (samples,).

    Returns
    -------
    False-positive rate and true-positive rate, float64 of shape (points,), both ascending; empty when
    there are no positives or no negatives.
    """
    if positive.all() or not positive.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.append(0, np.cumsum(positive[order])[ends])
    alarms = np.append(0, ends + 1) - hits
    corners = _corners(alarms, hits)
    false_positive, true_positive = alarms[corners] / alarms[-1], hits[corners] / hits[-1]
    kept = _spread(false_positive + true_positive, max_points)
    return false_positive[kept], true_positive[kept]


def _corners(alarms: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Points at which the curve turns, its two ends included."""
    right, up = np.diff(alarms), np.diff(hits)
    turns = right[:-1] * up[1:] != right[1:] * up[:-1]
    return np.concatenate(([True], turns, [True]))


def _spread(travelled: np.ndarray, max_points: int) -> np.ndarray:
    """At most ``max_points`` positions, evenly spread along an ascending array, its ends included."""
    if len(travelled) <= max_points:
        return np.arange(len(travelled))
    goals = np.linspace(0.0, travelled[-1], max_points)
    after = np.searchsorted(travelled, goals).clip(1, len(travelled) - 1)
    nearer_before = goals - travelled[after - 1] < travelled[after] - goals
    return np.unique(np.where(nearer_before, after - 1, after))
