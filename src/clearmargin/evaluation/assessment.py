"""What the contenders are worth on the test part: the content of ``evaluation.json``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clearmargin.errors import UsageError
from clearmargin.evaluation import metrics
from clearmargin.evaluation.alignment import AlignedPredictions, align
from clearmargin.evaluation.bootstrap import HEADLINE, MANY_CLASSES, bootstrap, headline
from clearmargin.evaluation.class_means import balanced_accuracy_figure
from clearmargin.evaluation.comparison import compare
from clearmargin.evaluation.confidence import confidence_blocks
from clearmargin.evaluation.decision import Decision
from clearmargin.evaluation.differences import FIRST_ORDER
from clearmargin.evaluation.intervals import bootstrap_figure, share_figure
from clearmargin.evaluation.per_class import per_class
from clearmargin.evaluation.sample_size import accuracy_sample_size
from clearmargin.evaluation.subgroups import Columns, subgroups
from clearmargin.records import Predictions


def evaluate(
    contenders: Mapping[str, Predictions],
    *,
    train_labels: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    prevalence: Mapping[str, float] | None = None,
    columns: Columns | None = None,
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
    prevalence
        Share of a class where the model will be used, by class, for the predictive values there.
    columns
        What is known of each sample, by column, to look at part of the samples: text, None where nothing is stated.
    decisions
        What each contender fixed on the validation part; of one without, calibration, conformal sets, abstention and
        decision curve are left out.

    Returns
    -------
    A record ready for JSON: Python numbers, text, None.

    Raises
    ------
    UsageError
        When the samples of contenders differ, a part is empty, a label is unknown, a setting is out of range, a
        prevalence is of no class or not between 0 and 1, or a column has another length.
    WorkError
        When probabilities are not finite, negative, or don't sum to one.
    """
    check_settings(confidence, resamples, seed)
    aligned = align(contenders)
    stated = dict(prevalence or {})
    check_prevalence(stated, aligned.classes)
    _check_columns(columns or {}, len(aligned.truth))
    resampled = bootstrap(aligned, resamples, seed)
    judged = {
        name: {
            **_contender(aligned, probabilities, resampled[name], confidence, stated),
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
    }
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
        "prevalence": stated or None,
        "sample_size": _sample_size(aligned, judged, resampled, confidence),
        "contenders": judged,
        "comparisons": compare(aligned, resampled, confidence=confidence, seed=seed),
        "subgroups": subgroups(aligned, columns or {}, confidence=confidence, resamples=resamples, seed=seed),
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


def check_prevalence(prevalence: Mapping[str, float], classes: Sequence[str]) -> None:
    """Refuse shares of classes that can't be.

    Raises
    ------
    UsageError
        Naming the class.
    """
    for name, share in prevalence.items():
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise UsageError(
                f"The 'prevalence' of [evaluation] names the class {name!r}, which the data don't have: expected some "
                f"of {', '.join(map(repr, classes[:20]))}{' …' if len(classes) > 20 else ''}{hint}"
            )
        if not 0 < share < 1:
            raise UsageError(f"The 'prevalence' of {name!r} must lie between 0 and 1, both excluded, got {share}.")


def _check_columns(columns: Columns, n_samples: int) -> None:
    for name, cells in columns.items():
        if len(cells) != n_samples:
            raise UsageError(f"The column {name!r} must have a cell for each of {n_samples} samples, got {len(cells)}.")


def _sample_size(
    aligned: AlignedPredictions,
    judged: Mapping[str, dict[str, Any]],
    resampled: Mapping[str, Mapping[str, np.ndarray]],
    confidence: float,
) -> dict[str, Any]:
    """What the accuracy of the contender that needs most samples would need."""
    n, clustered = len(aligned.truth), aligned.clustered
    found = {
        name: accuracy_sample_size(said["metrics"]["accuracy"], n, resampled[name]["accuracy"], clustered, confidence)
        for name, said in judged.items()
    }
    name = max(found, key=lambda one: found[one]["n_for_3_points"])
    return {"contender": name, **found[name]}


def _baseline(aligned: AlignedPredictions, train_labels: np.ndarray) -> dict[str, Any]:
    if not len(train_labels):
        raise UsageError("The training part has no labels, so that there is no most frequent class.")
    n_classes = len(aligned.classes)
    training = np.bincount(metrics.label_index(train_labels, aligned.classes), minlength=n_classes)
    majority = int(np.argmax(training))
    answers = np.full_like(aligned.truth, majority)
    counts = metrics.tally(metrics.confusion_matrix(aligned.truth, answers, n_classes))
    return {
        "class": aligned.classes[majority],
        "accuracy": float(metrics.accuracy(counts)),
        "balanced_accuracy": float(metrics.balanced_accuracy(counts)),
    }


def _contender(
    aligned: AlignedPredictions,
    probabilities: np.ndarray,
    resampled: Mapping[str, np.ndarray],
    confidence: float,
    prevalence: Mapping[str, float],
) -> dict[str, Any]:
    predicted = metrics.predicted_index(probabilities)
    right = predicted == aligned.truth
    values = headline(aligned.truth, probabilities)
    figures = {
        name: bootstrap_figure(values[name], resampled[name], confidence, aligned.n_units, aligned.clustered)
        for name in HEADLINE
        if name not in ("accuracy", "balanced_accuracy")
    }
    if len(aligned.classes) > MANY_CLASSES and figures["auc"]["low"] is not None:
        figures["auc"]["method"] += FIRST_ORDER
    units = aligned.units, confidence, aligned.clustered
    shares = {
        "accuracy": share_figure(right, *units),
        "balanced_accuracy": balanced_accuracy_figure(right, aligned.truth, *units),
    }
    return {
        "metrics": {**shares, **figures},
        "per_class": per_class(aligned, probabilities, confidence, prevalence),
        "confusion": metrics.confusion_matrix(aligned.truth, predicted, len(aligned.classes)).tolist(),
        "errors": int((~right).sum()),
    }
