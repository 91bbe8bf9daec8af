"""Metrics of a regression, from sums over rows: one weighting of the rows or thousands go the same way.

Undefined values are NaN, never a silent 0 or 1: without rows there is no error, and without spread in the targets
there is no R².
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from clearmargin.evaluation.metrics import ratio

# Below this share of the targets' squares, what is left of their spread is rounding.
NO_SPREAD = 1e-12


@dataclass(frozen=True)
class ErrorSums:
    """What the metrics need, added up; every field is float64 of the same shape (...).

    Attributes
    ----------
    rows
        Number (or weight) of rows.
    squared, absolute
        Sums of (true − predicted)² and |true − predicted|.
    targets, targets_squared
        Sums of the targets, and of their squares, both after a constant was taken off (their median in the part),
        so that large targets lose no digits. It does not change their spread.
    """

    rows: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray
    targets: np.ndarray
    targets_squared: np.ndarray

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> ErrorSums:
        return ErrorSums(*(change(getattr(self, field.name)) for field in fields(self)))

    def total(self) -> ErrorSums:
        """Over all groups: from shape (groups,) to ()."""
        return self._each(lambda sums: np.asarray(sums.sum(axis=-1)))

    def weighted(self, weights: np.ndarray) -> ErrorSums:
        """For each weighting of the groups, float64 of shape (weightings, groups): shape (weightings,)."""
        return self._each(lambda sums: weights @ sums)

    def without_each(self) -> ErrorSums:
        """Over all groups but one, for each: shape (groups,), as the jackknife wants them."""
        return self._each(lambda sums: sums.sum(axis=-1) - sums)


def error_sums(targets: np.ndarray, values: np.ndarray, units: np.ndarray | None = None, n_units: int = 1) -> ErrorSums:
    """Add up errors by group.

    Parameters
    ----------
    targets, values
        True and predicted, float64 of shape (rows,).
    units
        Group of each row, int64 from 0 to ``n_units − 1``; None: all rows are of one group.

    Returns
    -------
    Sums of shape (n_units,).
    """
    groups = np.zeros(len(targets), dtype=np.int64) if units is None else units
    errors = np.asarray(targets, dtype=np.float64) - values
    centred = targets - (np.median(targets) if len(targets) else 0.0)

    def added(numbers: np.ndarray) -> np.ndarray:
        return np.bincount(groups, numbers, minlength=n_units)

    return ErrorSums(
        rows=added(np.ones(len(targets))),
        squared=added(errors**2),
        absolute=added(np.abs(errors)),
        targets=added(centred),
        targets_squared=added(centred**2),
    )


def mse(sums: ErrorSums) -> np.ndarray:
    """Mean squared error, ``Σ (y − ŷ)² / n``, in the square of the target's unit; shape (...)."""
    return ratio(sums.squared, sums.rows)


def rmse(sums: ErrorSums) -> np.ndarray:
    """Root of the mean squared error, ``sqrt(Σ (y − ŷ)² / n)``, in the target's unit; shape (...)."""
    return np.sqrt(mse(sums))


def mae(sums: ErrorSums) -> np.ndarray:
    """Mean absolute error, ``Σ |y − ŷ| / n``, in the target's unit; shape (...)."""
    return ratio(sums.absolute, sums.rows)


def r2(sums: ErrorSums) -> np.ndarray:
    """Coefficient of determination, ``1 − Σ (y − ŷ)² / Σ (y − ȳ)²``; shape (...).

    ``ȳ`` is the mean of the evaluated rows themselves (Kvålseth, *The American Statistician* 39 (1985) 279, R²₁;
    scikit-learn's ``r2_score``): 1 is perfect, 0 no better than that mean, below 0 worse. NaN when all targets
    are equal, where scikit-learn says 0 or 1.
    """
    mean_square = ratio(sums.targets**2, sums.rows)
    spread = sums.targets_squared - mean_square
    constant = ~(spread > NO_SPREAD * sums.targets_squared)
    return 1.0 - ratio(sums.squared, np.where(constant, 0.0, spread))


REGRESSION_METRICS: Mapping[str, Callable[[ErrorSums], np.ndarray]] = {"rmse": rmse, "mae": mae, "mse": mse, "r2": r2}


def error_figures(targets: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """The metrics of `REGRESSION_METRICS`, by name, on the rows as they are.

    Parameters
    ----------
    targets, values
        True and predicted, float64 of shape (rows,).
    """
    sums = error_sums(targets, values).total()
    return {name: float(metric(sums)) for name, metric in REGRESSION_METRICS.items()}
