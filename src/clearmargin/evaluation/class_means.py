"""Means over classes with each class's own uncertainty: balanced accuracy, and differences of it.

The bootstrap and tests that flip signs know no variance of a class that happens to be answered rightly throughout; with
a class of few samples their intervals are too narrow, and find winners where there are none. Here each class brings an
interval, or a variance, that holds for few samples too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from clearmargin.evaluation.intervals import counted, share_figure

NO_INTERVAL = {"group": "no interval: a single group", "sample": "no interval: a single sample"}


@dataclass(frozen=True)
class ClassSpread:
    """What groups add to the mean of each class.

    A group adds ``z = Σ (x − mean) / n`` over its samples of a class of ``n`` samples.

    Attributes
    ----------
    means, squares, groups
        Of each class that has samples: the mean, Σ z² over the groups, and the `effective_groups`; float64 of shape
        (classes present,).
    shared
        Σ z z′ over all pairs of different classes in the same group, 0 where it is negative: how much the means of
        different classes move together.
    """

    means: np.ndarray
    squares: np.ndarray
    groups: np.ndarray
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
    sizes = np.bincount(classes)
    means = np.bincount(classes, values) / sizes
    added = (values - means[classes]) / sizes[classes]
    # Of each class in each group; the cells come in the order of the classes.
    cells, cell = np.unique(classes * (int(units.max()) + 1) + units, return_inverse=True)
    by_cell, cell_class = np.bincount(cell, added), cells // (int(units.max()) + 1)
    together = float((np.bincount(units, added) ** 2).sum() - (by_cell**2).sum())
    return ClassSpread(
        means=means,
        squares=np.bincount(cell_class, by_cell**2),
        groups=sizes**2 / np.bincount(cell_class, np.bincount(cell) ** 2.0),
        shared=max(0.0, together),
    )


def balanced_accuracy_figure(
    right: np.ndarray, truth: np.ndarray, units: np.ndarray, confidence: float, clustered: bool
) -> dict[str, Any]:
    """Balanced accuracy with an interval from those of the classes, ready for JSON.

    ``b − sqrt(Σ (p − l)²) / K`` to ``b + sqrt(Σ (u − p)²) / K`` over the K classes that have samples, with p the share
    of right answers of a class and l, u its limits (`clearmargin.evaluation.intervals.share_figure`; 0 and 1 where a
    single group has all samples of a class, no limits where it has all samples): the MOVER of Zou & Donner, *Statistics
    in Medicine* 27 (2008) 1693. Where groups have samples of several classes, whose answers may be right together, both
    reaches grow by ``sqrt(1 + shared / Σ squares)`` of `class_spread`.

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
    value = float(spread.means.mean())
    if clustered and len(np.unique(units)) == 1:
        return {"value": value, "low": None, "high": None, "method": NO_INTERVAL["group"]}
    limits = []
    for rows in _rows_by_class(truth):
        figure = share_figure(right[rows], units[rows], confidence, clustered)
        limits.append((0.0, 1.0) if figure["low"] is None else (figure["low"], figure["high"]))
    low, high = np.array(limits).T
    total = float(spread.squares.sum())
    wider = math.sqrt(1 + spread.shared / total) if total > 0 else 1.0
    scale = wider / len(limits)
    kind = "Clopper-Pearson's over groups" if clustered else "Wilson's"
    return {
        "value": value,
        "low": max(0.0, value - scale * float(np.linalg.norm(spread.means - low))),
        "high": min(1.0, value + scale * float(np.linalg.norm(high - spread.means))),
        "method": f"from the intervals of {_counted_classes(len(limits))}, {kind} (MOVER)",
    }


def balanced_difference(
    apart: np.ndarray, truth: np.ndarray, units: np.ndarray, confidence: float, clustered: bool
) -> tuple[dict[str, Any], float]:
    """The difference of two balanced accuracies with Student's interval, and the p-value that goes with it.

    The variance of a class is the larger of ``E / (E − 1) Σ z²``, of its sample, and ``(E² Σ z² + 1) / (E + 2)²``, with
    E the effective groups and z of `ClassSpread`: that of Agresti & Min (*Statistics in Medicine* 24 (2005) 729), who
    add half a sample on which only the one, and half a sample on which only the other contender is right. Of the K
    classes: ``(Σ v + shared) / K²``, with ``(Σ v)² / Σ (v² / (E − 1))`` degrees of freedom (Welch, *Biometrika* 34
    (1947) 28; E − 1 is at least 1).

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
        return {
            "value": value,
            "low": None,
            "high": None,
            "method": NO_INTERVAL["group" if clustered else "sample"],
        }, 1.0
    groups, squares = spread.groups, spread.squares
    own = groups / np.where(groups > 1, groups - 1, np.inf) * squares
    variances = np.maximum(own, (groups**2 * squares + 1) / (groups + 2) ** 2)
    error = math.sqrt(float(variances.sum()) + spread.shared) / n_classes
    degrees = float(variances.sum() ** 2 / (variances**2 / np.maximum(groups - 1, 1)).sum())
    reach = float(stats.t.isf((1 - confidence) / 2, degrees)) * error
    method = f"Student's t over {counted(n_units, 'group' if clustered else 'image')}, class by class"
    low, high = max(-1.0, value - reach), min(1.0, value + reach)
    p = 2 * float(stats.t.sf(abs(value) / error, degrees))
    return {"value": value, "low": low, "high": high, "method": method}, p


def _counted_classes(number: int) -> str:
    """How many classes: ``1 class``, ``2 classes``."""
    return "1 class" if number == 1 else f"{number} classes"


def _rows_by_class(truth: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(truth, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(truth[order])) + 1)
