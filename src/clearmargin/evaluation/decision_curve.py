"""Whether acting on a model does more good than harm: net benefit over thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from clearmargin.evaluation.alignment import effective_groups
from clearmargin.evaluation.bootstrap import chunks, draw_weights
from clearmargin.evaluation.shares import Shares

THRESHOLDS = np.arange(1, 100) / 100
MOST_CLASSES = 20
ADDED = 4
CELLS = 2 * (len(THRESHOLDS) + 1)  # has it or not, and how many thresholds a probability reaches


def net_benefit(positive: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """``TP / n − FP / n · t / (1 − t)`` when everybody with a probability of at least t is treated.

    Vickers & Elkin, *Medical Decision Making* 26 (2006) 565. Treating nobody has a net benefit of 0.

    Parameters
    ----------
    positive
        Who has it: bool of shape (samples,).
    probabilities
        Of having it: float64 of shape (samples,).
    thresholds
        Probabilities t at which one would just treat, between 0 and 1; float64 of shape (thresholds,).

    Returns
    -------
    float64 of shape (thresholds,), at most the prevalence.
    """
    n = len(positive)
    having, others = np.sort(probabilities[positive]), np.sort(probabilities[~positive])
    true_positives = len(having) - np.searchsorted(having, thresholds, side="left")
    false_positives = len(others) - np.searchsorted(others, thresholds, side="left")
    return np.asarray(true_positives / n - false_positives / n * thresholds / (1 - thresholds))


def treat_all(prevalence: float, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Net benefit of treating everybody: 0 where the threshold is the prevalence."""
    return np.asarray(prevalence - (1 - prevalence) * thresholds / (1 - thresholds))


def _cells(positive: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cell of each sample, int64 of shape (samples,)."""
    reached = np.searchsorted(THRESHOLDS, probabilities, side="right")
    return np.where(positive, CELLS // 2, 0) + reached


def _advantages(counts: np.ndarray) -> np.ndarray:
    """Net benefit over that of treating nobody, and over that of treating everybody.

    Parameters
    ----------
    counts
        Of each `_cells`, float64 of shape (weightings, CELLS).

    Returns
    -------
    float64 of shape (weightings, 2, thresholds).
    """
    by_side = counts.reshape(len(counts), 2, CELLS // 2)
    treated = np.cumsum(by_side[:, :, ::-1], axis=2)[:, :, -2::-1]
    others, having = by_side.sum(axis=2, keepdims=True).transpose(1, 0, 2)
    n, odds = others + having, THRESHOLDS / (1 - THRESHOLDS)
    over_nobody = (treated[:, 1] - treated[:, 0] * odds) / n
    return np.stack([over_nobody, over_nobody - (having - others * odds) / n], axis=1)


def lower_bands(
    truth: np.ndarray, probabilities: np.ndarray, kept: np.ndarray, shares: Shares, resamples: int, seed: int
) -> list[list[float] | None]:
    """How much more than treating everybody and nobody a model is worth at least, at all thresholds at once.

    With the advantages ``d`` over both at 99 thresholds, their standard errors ``s`` and resamples ``d*`` of whole
    groups, the limit is ``d − c s``, with ``c`` the quantile of the largest ``|d* − d| / s`` of a resample over the 198
    (the max-t band; Montiel Olea & Plagborg-Møller, *Journal of Applied Econometrics* 34 (2019) 1). To each variance is
    added what `ADDED` effective groups that are treated, or left, wrongly would add, as Agresti & Coull (*American
    Statistician* 52 (1998) 119) add four observations: where few are treated wrongly in the sample, the bootstrap knows
    too small an error, or none. How often the band holds: ``benchmarks/coverage.py bands``.

    Parameters
    ----------
    truth, probabilities
        As `decision_curve_block` takes them.
    kept
        Positions of classes, each with a band of its own.

    Returns
    -------
    For each of these the smaller limit at each threshold; None for a single group.
    """
    n_units = int(shares.units.max()) + 1
    if n_units == 1:
        return [None] * len(kept)
    cells = [_cells(truth == k, probabilities[:, k]) + place * CELLS for place, k in enumerate(kept)]
    rows, columns = np.tile(shares.units, len(kept)), np.concatenate(cells)
    shape = (n_units, CELLS * len(kept))
    counts = scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    rng, found = np.random.default_rng([seed, 0]), []
    for size in chunks(resamples, max(n_units, shape[1])):
        drawn = np.asarray(draw_weights(rng, size, n_units) @ counts).reshape(-1, CELLS)
        found.append(_advantages(drawn).reshape(size, len(kept), 2, len(THRESHOLDS)))
    again = np.concatenate(found)
    seen = _advantages(np.asarray(counts.sum(axis=0)).reshape(-1, CELLS))
    odds = THRESHOLDS / (1 - THRESHOLDS)
    least = np.stack([odds, np.ones_like(odds)]) / effective_groups(shares.units)  # one treated, one left, wrongly
    errors = np.sqrt(again.var(axis=0) + ADDED * least**2)
    farthest = (np.abs(again - seen) / errors).max(axis=(2, 3))
    reach = np.quantile(farthest, shares.confidence, axis=0)[:, np.newaxis, np.newaxis]
    return [row.tolist() for row in (seen - reach * errors).min(axis=1)]


def decision_curve_block(
    classes: tuple[str, ...],
    truth: np.ndarray,
    probabilities: np.ndarray,
    shares: Shares,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The block ``decision_curve`` of a contender: each class against the rest, ready for JSON.

    Of more than 20 classes only the 20 that are most frequent in this part are there; a class without samples is not.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes), after temperature scaling.
    shares
        Holds the groups, and the confidence of the bands.
    resamples, seed
        Of the bands `lower_bands`, under ``low``.
    """
    counts = np.bincount(truth, minlength=len(classes))
    frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    frequent = frequent[counts[frequent] > 0]
    bands = lower_bands(truth, probabilities, frequent, shares, resamples, seed)
    return [
        {
            "class": classes[k],
            "n": int(counts[k]),
            "thresholds": THRESHOLDS.tolist(),
            "net_benefit": net_benefit(truth == k, probabilities[:, k]).tolist(),
            "treat_all": treat_all(counts[k] / len(truth)).tolist(),
            "low": band,
        }
        for k, band in zip(frequent, bands, strict=True)
    ]
