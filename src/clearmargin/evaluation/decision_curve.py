"""Whether acting on a model does more good than harm: net benefit over thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

THRESHOLDS = np.arange(1, 100) / 100
MOST_CLASSES = 20


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


def decision_curve_block(
    classes: tuple[str, ...], truth: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """The block ``decision_curve`` of a contender: each class against the rest, ready for JSON.

    Of more than 20 classes only the 20 that are most frequent in this part are there; a class without samples is not.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes), after temperature scaling.
    """
    counts = np.bincount(truth, minlength=len(classes))
    frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    return [
        {
            "class": classes[k],
            "n": int(counts[k]),
            "thresholds": THRESHOLDS.tolist(),
            "net_benefit": net_benefit(truth == k, probabilities[:, k]).tolist(),
            "treat_all": treat_all(counts[k] / len(truth)).tolist(),
        }
        for k in frequent
        if counts[k]
    ]
