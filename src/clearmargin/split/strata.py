"""Splitting by a number: rows are stratified by quantiles of the target, as classes are by name."""

from __future__ import annotations

import math

import numpy as np

QUANTILE_STRATA = 4


def quantile_strata(targets: np.ndarray, strata: int = QUANTILE_STRATA) -> np.ndarray:
    """Number of the quantile interval each target falls in, int64 of shape (rows,), counted from 0 without gaps.

    As caret's ``createDataPartition`` cuts a numeric outcome: at the quantiles (linear interpolation) that make
    ``strata`` intervals, equal limits taken once, each interval with its upper limit (Kuhn, *J. Stat. Softw.* 28
    (2008) 5).

    Parameters
    ----------
    targets
        float64 of shape (rows,).
    """
    limits = np.unique(np.quantile(targets, np.linspace(0, 1, strata + 1)))
    intervals = np.searchsorted(limits[1:-1], targets, side="left")
    return np.unique(intervals, return_inverse=True)[1].astype(np.int64)


def partition(strata: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw ``ceil(fraction · n)`` rows of every stratum, as ``createDataPartition`` does: bool of shape (rows,).

    Parameters
    ----------
    strata
        int64 of shape (rows,).
    """
    drawn = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        number = math.ceil(round(fraction * len(rows), 9))  # 0.85 · 100 is 85, whatever binary fractions make of it
        drawn[rng.permutation(rows)[:number]] = True
    return drawn
