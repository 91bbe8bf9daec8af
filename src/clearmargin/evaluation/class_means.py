"""Means over classes with each class's own uncertainty: balanced accuracy, and differences of it.

The bootstrap and tests that flip signs know no variance of a class that happens to be answered rightly throughout; with
a class of few samples their intervals are too narrow, and find winners where there are none. Here each class brings a
variance that holds for few samples too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from clearmargin.evaluation.intervals import clopper_pearson, counted, no_interval, raised_variance

NO_SPREAD = 1e-24  # of sums of squares: what rounding leaves of shares that are not exact in binary


@dataclass(frozen=True)
class ClassSpread:
    """What groups add to the mean of each class.

    A group adds ``z = Σ (x − mean) / n`` over its samples of a class of ``n`` samples.

    Attributes
    ----------
    means, sizes, squares, groups
        Of each class that has samples: the mean, the samples, Σ z² over the groups, and the effective groups
        (`clearmargin.evaluation.alignment.effective_groups`); float64 of shape (classes present,).
    jackknife
        The jackknife's variance of each mean, 0 of a class in a single group; float64 of shape (classes present,).
    shared
        Σ z z′ over all pairs of different classes in the same group, over Σ z² of all classes: how much the means of
        different classes move together. At least 0, less than the number of classes.
    """

    means: np.ndarray
    sizes: np.ndarray
    squares: np.ndarray
    groups: np.ndarray
    jackknife: np.ndarray
    shared: float


def class_spread(values: np.ndarray, truth: np.ndarray, units: np.ndarray) -> ClassSpread:
    """Sum up values by class and group.

    Parameters
    ----------
    values
        float64 of shape (samples,).
    truth, units
        Position of the true class, and group, of each sample; int64 of shape (samples,), not empty.
    """
    _, classes = np.unique(truth, return_inverse=True)
    sizes = np.bincount(classes).astype(np.float64)
    means = np.bincount(classes, values) / sizes
    added = (values - means[classes]) / sizes[classes]
    # Of each class in each group.
    cells, cell = np.unique(classes * (int(units.max()) + 1) + units, return_inverse=True)
    of_class, in_cell, by_cell = cells // (int(units.max()) + 1), np.bincount(cell), np.bincount(cell, added)
    squares, number = np.bincount(of_class, by_cell**2), np.bincount(of_class)
    rest = sizes[of_class] - in_cell
    moved = np.divide(by_cell * sizes[of_class], rest, out=np.zeros(len(cells)), where=rest > 0)
    total = float(squares.sum())
    together = float((np.bincount(units, added) ** 2).sum()) - total
    return ClassSpread(
        means=means,
        sizes=sizes,
        squares=squares,
        groups=sizes**2 / np.bincount(of_class, in_cell**2.0),
        jackknife=np.bincount(of_class, moved**2) * (number - 1) / number,
        shared=max(0.0, together / total) if total > NO_SPREAD else 0.0,
    )


def balanced_accuracy_figure(
    right: np.ndarray, truth: np.ndarray, units: np.ndarray, confidence: float, clustered: bool
) -> dict[str, Any]:
    """Balanced accuracy with an interval from what is known of each class, ready for JSON.

    The wider, on either side, of two intervals over the K classes that have samples, with p the share of right answers
    of a class. The first is ``b ± z sqrt((1 + shared) Σ v) / K`` with ``v = q (1 − q) / (m + 2)`` and ``q = (p m + 1) /
    (m + 2)``: two samples, one of them right, are added to the m of each class, as Agresti & Coull (*American
    Statistician* 52 (1998) 119) do, so that a class that is answered rightly throughout has a variance too. When
    samples cluster, m is their effective number, at most the actual one: that over which `raised_variance` is ``p (1 −
    p)``, or the effective groups where none or all are right, or there are fewer than two; and z becomes Student's
    quantile, with ``(Σ v)² / Σ (v² / E)`` degrees of freedom over the classes worth E groups, two or more. Classes
    worth less have no spread of their own: ``v`` is then at least ``q (1 − q)`` with q from all of these classes.

    The second, of independent samples, is ``b − sqrt(Σ (p − l)²) / K`` to ``b + sqrt(Σ (u − p)²) / K`` with Wilson's
    limits l and u of a class (MOVER; Zou & Donner, *Statistics in Medicine* 27 (2008) 1693): better for a single class
    of few samples, and too narrow for many classes nearly all right. When samples cluster, it is that of the share of
    right answers in which each class has the same weight (`_weighted_limits`): groups may have samples of several
    classes, all of them easy or all of them hard, and few groups may not show it.

    Parameters
    ----------
    right
        bool of shape (samples,).
    truth, units
        int64 of shape (samples,).
    """
    if not len(right):
        return {"value": None, "low": None, "high": None, "method": "undefined in this part"}
    spread = class_spread(right.astype(np.float64), truth, units)
    value, n_groups = float(spread.means.mean()), len(np.unique(units))
    if clustered and n_groups == 1:
        return {"value": value, "low": None, "high": None, "method": no_interval(1, clustered)}
    numbers = _effective_numbers(spread) if clustered else spread.sizes
    variances = _share_variances(spread, numbers)
    quantile = z = float(scipy.stats.norm.isf((1 - confidence) / 2))
    if clustered:
        of_each = np.where(
            spread.groups < 2, np.inf, spread.groups
        )  # what is taken from all such classes is no estimate
        quantile = float(scipy.stats.t.isf((1 - confidence) / 2, _degrees(variances, of_each)))
    reach = quantile * math.sqrt((1 + spread.shared) * float(variances.sum())) / len(numbers)
    if clustered:
        low, high = _weighted_limits(right, truth, units, confidence)
        method = f"class by class over {counted(n_groups, 'group')}: Agresti-Coull or Clopper-Pearson, the wider"
    else:
        low, high = _mover(spread.means, spread.sizes, z)
        method = "class by class: Agresti-Coull or Wilson (MOVER), the wider"
    limits = max(0.0, min(low, value - reach)), min(1.0, max(high, value + reach))
    return {"value": value, "low": limits[0], "high": limits[1], "method": method}


def _degrees(variances: np.ndarray, of_each: np.ndarray) -> float:
    """Welch's degrees of freedom of a sum of variances, from those of each; infinite when all of these are."""
    uncertain = float((variances**2 / of_each).sum())
    return float(variances.sum() ** 2 / uncertain) if uncertain else math.inf


def _share_variances(spread: ClassSpread, numbers: np.ndarray) -> np.ndarray:
    """Of the share of right answers of each class, from so many samples; float64 of shape (classes present,)."""
    raised = (spread.means * numbers + 1) / (numbers + 2)
    variances = raised * (1 - raised) / (numbers + 2)
    alone = spread.groups < 2
    if alone.any():
        together = float(spread.means[alone].sum() + 1) / (int(alone.sum()) + 2)
        variances[alone] = np.maximum(variances[alone], together * (1 - together))
    return variances


def _mover(shares: np.ndarray, numbers: np.ndarray, z: float) -> tuple[float, float]:
    """Limits of the mean of independent shares from Wilson's limits of each."""
    middle = (shares + z**2 / (2 * numbers)) / (1 + z**2 / numbers)
    reach = z * np.sqrt(shares * (1 - shares) / numbers + z**2 / (4 * numbers**2)) / (1 + z**2 / numbers)
    value = float(shares.mean())
    below, above = (float(np.linalg.norm(shares - end)) / len(shares) for end in (middle - reach, middle + reach))
    return value - below, value + above


def _effective_numbers(spread: ClassSpread) -> np.ndarray:
    """Samples of each class over their design effect; the effective groups where none or all are right, or below 2."""
    own = spread.means * (1 - spread.means)
    mixed = (spread.means > 0) & (spread.means < 1)
    variances = raised_variance(spread.jackknife, np.where(mixed, own, 1.0), spread.groups)
    return np.where(mixed & (spread.groups >= 2), np.minimum(spread.sizes, own / variances), spread.groups)


def _weighted_limits(right: np.ndarray, truth: np.ndarray, units: np.ndarray, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's limits of the share of right answers with a weight for each, the same in all for a class.

    As `clearmargin.evaluation.intervals.share_figure` has them, with the weights of groups in the place of their sizes,
    and the linearised variance over the groups.
    """
    _, classes = np.unique(truth, return_inverse=True)
    sizes = np.bincount(classes)
    weights = 1.0 / (sizes[classes] * len(sizes))
    means = np.bincount(classes, right) / sizes
    number = len(np.unique(units))
    groups = 1.0 / float((np.bincount(units, weights) ** 2).sum())
    if right.all() or not right.any():
        return clopper_pearson(groups if right.all() else 0.0, groups, confidence)
    share = float(means.mean())
    seen = float((np.bincount(units, weights * (right - means[classes])) ** 2).sum()) * number / (number - 1)
    worth = min(len(right), share * (1 - share) / float(raised_variance(seen, share * (1 - share), groups)))
    return clopper_pearson(share * worth, worth, confidence)


def balanced_difference(
    apart: np.ndarray, truth: np.ndarray, units: np.ndarray, confidence: float, clustered: bool
) -> tuple[dict[str, Any], float]:
    """The difference of two balanced accuracies with Student's interval, and the p-value that goes with it.

    The variance of a class is the larger of that of its sample, ``E / (E − 1) Σ z²``, and that of Agresti & Min
    (*Statistics in Medicine* 24 (2005) 729), who add half a sample to each of the four cells (both right, none, only
    the one, only the other): ``(E² Σ z² + 1 + 2 E d² / (E + 2)) / (E + 2)²``, with E the effective groups, d the
    difference of the class, and z of `ClassSpread`. Classes worth less than two groups have no spread of their own:
    theirs is at least the mean of their d². Of the K classes: ``(1 + shared) Σ v / K²``, with ``(Σ v)² / Σ (v² / (E −
    1))`` degrees of freedom (Welch, *Biometrika* 34 (1947) 28; E − 1 is at least 1).

    Parameters
    ----------
    apart
        Right answer of the first minus right answer of the second, -1, 0 or 1: float64 of shape (samples,).
    truth, units
        int64 of shape (samples,), not empty.

    Returns
    -------
    The figure, its limits None for a single group, and p, two-sided; 1 for a single group.
    """
    spread = class_spread(apart, truth, units)
    n_classes, n_units = len(spread.means), len(np.unique(units))
    value = float(spread.means.mean())
    if n_units == 1:
        return {"value": value, "low": None, "high": None, "method": no_interval(1, clustered)}, 1.0
    variances = _difference_variances(spread)
    error = math.sqrt((1 + spread.shared) * float(variances.sum())) / n_classes
    degrees = _degrees(variances, np.maximum(spread.groups - 1, 1))
    reach = float(scipy.stats.t.isf((1 - confidence) / 2, degrees)) * error
    method = f"Student's t over {counted(n_units, 'group' if clustered else 'image')}, class by class"
    low, high = max(-1.0, value - reach), min(1.0, value + reach)
    p = 2 * float(scipy.stats.t.sf(abs(value) / error, degrees))
    return {"value": value, "low": low, "high": high, "method": method}, p


def _difference_variances(spread: ClassSpread) -> np.ndarray:
    """Of the difference of each class, float64 of shape (classes present,)."""
    groups, squares, means = spread.groups, spread.squares, spread.means
    own = groups / np.where(groups > 1, groups - 1, np.inf) * squares
    added = (groups**2 * squares + 1 + 2 * groups * means**2 / (groups + 2)) / (groups + 2) ** 2
    variances = np.maximum(own, added)
    alone = groups < 2
    if alone.any():
        variances[alone] = np.maximum(variances[alone], (means[alone] ** 2).mean())
    return variances
