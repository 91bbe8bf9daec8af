"""What the contenders are worth on the test part: the content of ``evaluation.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clearmargin.errors import UsageError
from clearmargin.evaluation import metrics
from clearmargin.evaluation.alignment import AlignedPredictions, align
from clearmargin.evaluation.bootstrap import HEADLINE, bootstrap, headline
from clearmargin.evaluation.comparison import compare
from clearmargin.evaluation.confidence import confidence_blocks
from clearmargin.evaluation.decision import Decision
from clearmargin.evaluation.intervals import bootstrap_figure, share_figure
from clearmargin.evaluation.roc import one_vs_rest_auc
from clearmargin.records import Predictions


def evaluate(
    contenders: Mapping[str, Predictions],
    *,
    train_labels: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    decisions: Mapping[str, Decision] | None = None,
) -> dict[str, Any]:
    """Score the contenders on the test part, with intervals, and compare every pair.

    Samples without a group (None or empty) are groups of their own. Undefined figures are None.

    Parameters
    ----------
    contenders
        What each says about the test part: the same samples in the same order.
    train_labels
        Class names of the training part, shape (samples,). The baseline answers its most frequent class (of
        several the first) to everything.
    confidence, resamples, seed
        Of all intervals, between 0 and 1; of the bootstrap and the test by groups; 0 or larger.
    decisions
        What each contender fixed on the validation part; of one without, calibration, conformal sets, abstention and
        decision curve are left out.

    Returns
    -------
    A record ready for JSON: Python numbers, text, None.

    Raises
    ------
    UsageError
        When the samples of contenders differ, a part is empty, a label is unknown, a setting is out of range.
    WorkError
        When probabilities are not finite, negative, or don't sum to one.
    """
    check_settings(confidence, resamples, seed)
    aligned = align(contenders)
    resampled = bootstrap(aligned, resamples, seed)
    return {
        "format": 1,
        "task": "classification",
        "part": "test",
        "classes": list(aligned.classes),
        "n": len(aligned.truth),
        "groups": aligned.n_units,
        "clustered": aligned.clustered,
        "confidence": confidence,
        "resamples": resamples,
        "seed": seed,
        "baseline": _baseline(aligned, train_labels),
        "contenders": {
            name: {
                **_contender(aligned, probabilities, resampled[name], confidence),
                **confidence_blocks(
                    aligned,
                    probabilities,
                    (decisions or {}).get(name),
                    confidence=confidence,
                    resamples=resamples,
                    seed=seed,
                ),
            }
            for name, probabilities in aligned.probabilities.items()
        },
        "comparisons": compare(aligned, resampled, confidence=confidence, seed=seed),
    }


def check_settings(confidence: float, resamples: int, seed: int) -> None:
    """Refuse settings of intervals that can't work.

    Raises
    ------
    UsageError
        Naming the setting.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"The 'confidence' of intervals must lie between 0 and 1, got {confidence}.")
    least = int(np.ceil(2 / (1 - confidence) - 1e-9))
    if resamples < least:
        raise UsageError(
            f"The 'resamples' of the bootstrap must be at least {least} for {confidence:.6g} intervals, "
            f"got {resamples}; 2000 is usual."
        )
    if seed < 0:
        raise UsageError(f"The 'seed' must be 0 or larger, got {seed}.")


def _baseline(aligned: AlignedPredictions, train_labels: np.ndarray) -> dict[str, Any]:
    if not len(train_labels):
        raise UsageError("The training part has no labels, so that there is no most frequent class.")
    n_classes = len(aligned.classes)
    counts = np.bincount(metrics.label_index(train_labels, aligned.classes), minlength=n_classes)
    majority = int(np.argmax(counts))
    answers = np.full_like(aligned.truth, majority)
    confusion = metrics.confusion_matrix(aligned.truth, answers, n_classes)
    return {
        "class": aligned.classes[majority],
        "accuracy": float(metrics.accuracy(confusion)),
        "balanced_accuracy": float(metrics.balanced_accuracy(confusion)),
    }


def _contender(
    aligned: AlignedPredictions,
    probabilities: np.ndarray,
    resampled: Mapping[str, np.ndarray],
    confidence: float,
) -> dict[str, Any]:
    predicted = metrics.predicted_index(probabilities)
    right = predicted == aligned.truth
    values = headline(aligned.truth, probabilities)
    figures = {
        name: bootstrap_figure(values[name], resampled[name], confidence, aligned.n_units, aligned.clustered)
        for name in HEADLINE
        if name != "accuracy"
    }
    share = share_figure(right, aligned.units, resampled["accuracy"], confidence, aligned.clustered)
    return {
        "metrics": {"accuracy": share, **figures},
        "per_class": _per_class(aligned, probabilities, resampled["recall"], confidence),
        "confusion": metrics.confusion_matrix(aligned.truth, predicted, len(aligned.classes)).tolist(),
        "errors": int((~right).sum()),
    }


def _per_class(
    aligned: AlignedPredictions, probabilities: np.ndarray, recalls: np.ndarray, confidence: float
) -> list[dict[str, Any]]:
    predicted = metrics.predicted_index(probabilities)
    confusion = metrics.confusion_matrix(aligned.truth, predicted, len(aligned.classes))
    columns = {
        "precision": metrics.precision(confusion),
        "recall": metrics.recall(confusion),
        "specificity": metrics.specificity(confusion),
        "f1": metrics.f1(confusion),
        "auc": one_vs_rest_auc(aligned.truth, probabilities),
    }
    rows = []
    for index, name in enumerate(aligned.classes):
        own = aligned.truth == index
        share = share_figure(
            predicted[own] == index, aligned.units[own], recalls[:, index], confidence, aligned.clustered
        )
        rows.append(
            {
                "class": name,
                "n": int(own.sum()),
                **{column: _or_none(values[index]) for column, values in columns.items()},
                "recall_low": share["low"],
                "recall_high": share["high"],
                "recall_method": share["method"],
            }
        )
    return rows


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
