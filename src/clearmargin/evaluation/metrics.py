"""Metrics of a classification, from confusion matrices and from probabilities.

Confusion matrices have true classes in rows and predicted classes in columns. Every function of a
confusion matrix takes a stack of shape (..., classes, classes) of counts (or weights) and returns shape
(...) or, per class, (..., classes): one matrix and thousands of resampled ones go the same way.

Undefined values are NaN, never a silent 0 or 1:

============================  ==============================================================
recall, balanced accuracy     a class without samples has no recall; the mean leaves it out
precision                     a class that is never predicted has no precision
specificity                   undefined when every sample belongs to the class
F1, macro F1                  a class neither present nor predicted has no F1; the mean leaves it out.
                              A class that is predicted but absent has F1 = 0 and counts
MCC                           0 when the truth or the predictions are of one class only
============================  ==============================================================

The means and the MCC follow scikit-learn's ``balanced_accuracy_score``, ``f1_score(average="macro")`` and
``matthews_corrcoef``; where it reports 0 for an undefined figure of one class, here it is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from clearmargin.errors import UsageError


def label_index(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Position of each label among the classes.

    Parameters
    ----------
    labels
        Class names, shape (samples,).
    classes
        Class names in the order of the columns.

    Returns
    -------
    int64 of shape (samples,).

    Raises
    ------
    UsageError
        When a label is none of the classes.
    """
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if label not in position})
    if unknown:
        raise UsageError(
            f"The labels hold {len(unknown)} unknown class(es): {', '.join(map(repr, unknown[:5]))}. "
            f"Expected one of {', '.join(map(repr, classes))}; rename the labels or train with these classes."
        )
    return np.fromiter((position[label] for label in labels), dtype=np.int64, count=len(labels))


def predicted_index(probabilities: np.ndarray) -> np.ndarray:
    """Most probable class of each row; the first of them when several tie.

    Parameters
    ----------
    probabilities
        float of shape (samples, classes).

    Returns
    -------
    int64 of shape (samples,).
    """
    return np.argmax(probabilities, axis=1).astype(np.int64)


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count how often each true class (row) was given each predicted class (column).

    Parameters
    ----------
    truth, predicted
        Positions of classes, int64 of shape (samples,).

    Returns
    -------
    int64 of shape (n_classes, n_classes); its sum is the number of samples.
    """
    cells = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """``numerator / denominator`` in float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    undefined = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def mean_defined(per_class: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is defined."""
    defined = ~np.isnan(per_class)
    return ratio(np.where(defined, per_class, 0.0).sum(axis=-1), defined.sum(axis=-1))


def _true_positives(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right answers, ``Σ C_kk / Σ C``; shape (...)."""
    return ratio(_true_positives(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def recall(confusion: np.ndarray) -> np.ndarray:
    """Sensitivity of each class, ``TP / (TP + FN)``; shape (..., classes)."""
    return ratio(_true_positives(confusion), confusion.sum(axis=-1))


def precision(confusion: np.ndarray) -> np.ndarray:
    """Positive predictive value of each class, ``TP / (TP + FP)``; shape (..., classes)."""
    return ratio(_true_positives(confusion), confusion.sum(axis=-2))


def specificity(confusion: np.ndarray) -> np.ndarray:
    """Specificity of each class against the rest, ``TN / (TN + FP)``; shape (..., classes)."""
    negatives = confusion.sum(axis=(-2, -1))[..., np.newaxis] - confusion.sum(axis=-1)
    false_positives = confusion.sum(axis=-2) - _true_positives(confusion)
    return ratio(negatives - false_positives, negatives)


def f1(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, ``2 TP / (2 TP + FP + FN)``; shape (..., classes)."""
    return ratio(2 * _true_positives(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that have samples; shape (...)."""
    return mean_defined(recall(confusion))


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur in the truth or in the predictions; shape (...)."""
    return mean_defined(f1(confusion))


def mcc(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient for any number of classes; shape (...).

    With ``t`` the row sums, ``p`` the column sums, ``c`` the trace and ``s`` the total:
    ``(c s − p·t) / sqrt((s² − p·p)(s² − t·t))``; Gorodkin, *Computational Biology and Chemistry* 28
    (2004) 367.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    total, right = true.sum(axis=-1), _true_positives(counts).sum(axis=-1)
    covariance = right * total - (true * predicted).sum(axis=-1)
    true_spread = total**2 - (true**2).sum(axis=-1)
    predicted_spread = total**2 - (predicted**2).sum(axis=-1)
    correlation = ratio(covariance, np.sqrt(true_spread) * np.sqrt(predicted_spread))
    # Rounding of the two roots can leave 1.0000000000000002.
    return np.where(np.isnan(correlation) & (total > 0), 0.0, np.clip(correlation, -1.0, 1.0))


def sample_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Minus the natural logarithm of the probability given to the true class.

    Probabilities are clipped from below at the float64 epsilon (2.2e-16), so that one certain mistake
    costs 36 and not infinity.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes).

    Returns
    -------
    float64 of shape (samples,), in nats.
    """
    given = np.asarray(probabilities, dtype=np.float64)[np.arange(len(truth)), truth]
    # the sum with 0.0 turns the -0.0 of a certain right answer into 0.0
    return -np.log(np.clip(given, np.finfo(np.float64).eps, 1.0)) + 0.0


def log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of `sample_losses`; NaN without samples."""
    losses = sample_losses(truth, probabilities)
    return float(ratio(losses.sum(), np.asarray(losses.size)))


CONFUSION_METRICS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": mcc,
}
