"""Differences of ranking and of probabilities between two contenders on the same samples, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.bootstrap import MANY_CLASSES
from clearmargin.evaluation.intervals import paired_figure
from clearmargin.evaluation.paired import ROUNDING
from clearmargin.evaluation.roc import macro_influence

FIRST_ORDER = f"; area to first order (more than {MANY_CLASSES} classes)"
Scores = Mapping[str, np.ndarray]


def delong_error(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Standard error of the difference of two areas on the same samples of two classes.

    ``sqrt(S_pos / m + S_neg / n)``, with ``S`` the variances (over ``m − 1`` and ``n − 1``) of the differences of the
    samples' `placements` on either side; DeLong, DeLong & Clarke-Pearson, *Biometrics* 44 (1988) 837, computed as Sun &
    Xu, *IEEE Signal Processing Letters* 21 (2014) 1389. The areas are those of both columns, averaged: the same number
    where a row's two probabilities sum to one exactly.

    Parameters
    ----------
    truth
        0 or 1, int64 of shape (samples,).
    first, second
        float64 of shape (samples, 2).

    Returns
    -------
    NaN with fewer than two samples on a side.
    """
    apart = macro_influence(truth, first)[1] - macro_influence(truth, second)[1]
    variance = 0.0
    for side in (truth == 0, truth == 1):
        size = int(side.sum())
        if size < 2:
            return float("nan")
        variance += float((apart[side] ** 2).sum()) * size / (size - 1)
    return float(np.sqrt(variance))


def delong_test(value: float, error: float) -> tuple[float, float]:
    """Z and its two-sided p for a difference of areas; identical scores have Z = 0 and p = 1.

    NaN where nothing can be said: a difference without any spread.
    """
    if abs(value) <= ROUNDING and not error > ROUNDING:
        return 0.0, 1.0
    if not error > ROUNDING:
        return float("nan"), float("nan")
    z = value / error
    return z, 2 * float(scipy.stats.norm.sf(abs(z)))


def bootstrap_p(apart: np.ndarray) -> float | None:
    """Two-sided p of a difference from its resamples: twice the smaller tail beyond zero, the observed one counted.

    It fits the percentile interval, which leaves zero out when this is below the level; Davison & Hinkley, *Bootstrap
    Methods and their Application* (1997), section 4.4. None when every resample is undefined.

    Parameters
    ----------
    apart
        float64 of shape (resamples,), undefined ones NaN.
    """
    defined = apart[~np.isnan(apart)]
    if not defined.size:
        return None
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (defined.size + 1))


def auc_difference(
    aligned: AlignedPredictions,
    names: tuple[str, str],
    value: float,
    apart: np.ndarray,
    confidence: float,
) -> dict[str, Any]:
    """The difference of the macro areas: DeLong's for two classes of independent samples, otherwise the bootstrap's.

    Parameters
    ----------
    names
        First and second contender.
    value
        First minus second.
    apart
        The difference in each resample, float64 of shape (resamples,).

    Returns
    -------
    ``auc_difference`` (a figure), ``auc_method`` and ``auc_p`` (None when undefined; unadjusted, in no Holm).
    """
    if np.isnan(value):
        return {"auc_difference": undefined_figure(), "auc_method": "undefined in this part", "auc_p": None}
    if len(aligned.classes) == 2 and not aligned.clustered:
        return _by_delong(aligned, names, value, confidence)
    figure = difference_figure(value, apart, confidence, aligned)
    if len(aligned.classes) > MANY_CLASSES:
        figure["method"] += FIRST_ORDER
    p = bootstrap_p(apart) if aligned.n_units > 1 else None
    return {"auc_difference": figure, "auc_method": figure["method"], "auc_p": p}


def _by_delong(aligned: AlignedPredictions, names: tuple[str, str], value: float, confidence: float) -> dict[str, Any]:
    first, second = (aligned.probabilities[name] for name in names)
    error = delong_error(aligned.truth, first, second)
    _, p = delong_test(value, error)
    if np.isnan(error) or np.isnan(p):
        method = "DeLong: no interval, the areas show no spread"
        figure = {"value": value, "low": None, "high": None, "method": method}
        return {"auc_difference": figure, "auc_method": method, "auc_p": None}
    reach = float(scipy.stats.norm.isf((1 - confidence) / 2)) * error
    low, high = max(-1.0, value - reach), min(1.0, value + reach)
    figure = {"value": value, "low": low, "high": high, "method": "DeLong"}
    return {"auc_difference": figure, "auc_method": "DeLong (Sun & Xu 2014)", "auc_p": p}


def difference_figure(
    value: float, apart: np.ndarray, confidence: float, aligned: AlignedPredictions
) -> dict[str, Any]:
    """First minus second with the percentile interval of the paired bootstrap; None where undefined."""
    if np.isnan(value):
        return undefined_figure()
    return paired_figure(value, apart, confidence, aligned.n_units, aligned.clustered)


def undefined_figure() -> dict[str, Any]:
    """The figure of what has no value."""
    return {"value": None, "low": None, "high": None, "method": "undefined in this part"}
