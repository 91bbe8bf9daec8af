"""Metrics of a classification, from counts and from probabilities.

Confusion matrices have true classes in rows and predicted classes in columns. All metrics here need no more of one than
its diagonal and its margins, a `Tally`: memory then grows with the number of classes, not with its square. Every
function of a tally takes counts (or weights) of shape (..., classes) and returns shape (...) or, per class,
(..., classes): one matrix and thousands of resampled ones go the same way.

Undefined values are NaN, never a silent 0 or 1:

============================  ==============================================================
recall, balanced accuracy     a class without samples has no recall; the mean leaves it out
precision                     a class that is never predicted has no precision
specificity                   undefined when every sample belongs to the class
negative predictive value     undefined when every sample is predicted to be of the class
F1, macro F1                  a class neither present nor predicted has no F1; the mean leaves it out.
                              A class that is predicted but absent has F1 = 0 and counts
MCC                           0 when the truth or the predictions are of one class only
kappa                         undefined when truth and predictions are of one and the same class only
============================  ==============================================================

The means, the MCC and kappa follow scikit-learn's ``balanced_accuracy_score``, ``f1_score(average="macro")``,
``matthews_corrcoef`` and ``cohen_kappa_score``; where it reports 0 for an undefined figure of one class, here it is
NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

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


class Tally(NamedTuple):
    """What the metrics need of a confusion matrix, each of shape (..., classes).

    Attributes
    ----------
    right
        Samples of each class that were given it: the diagonal.
    true, predicted
        Samples of each class, and samples that were given it: sums of rows and of columns.
    """

    right: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def tally(confusion: np.ndarray) -> Tally:
    """Diagonal and margins of confusion matrices of shape (..., classes, classes)."""
    return Tally(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1), confusion.sum(axis=-2))


def accuracy(counts: Tally) -> np.ndarray:
    """Share of right answers, ``Σ right / Σ true``; shape (...)."""
    return ratio(counts.right.sum(axis=-1), counts.true.sum(axis=-1))


def recall(counts: Tally) -> np.ndarray:
    """Sensitivity of each class, ``TP / (TP + FN)``; shape (..., classes)."""
    return ratio(counts.right, counts.true)


def precision(counts: Tally) -> np.ndarray:
    """Positive predictive value of each class, ``TP / (TP + FP)``; shape (..., classes)."""
    return ratio(counts.right, counts.predicted)


def _true_negatives(counts: Tally) -> np.ndarray:
    return counts.true.sum(axis=-1)[..., np.newaxis] - counts.true - counts.predicted + counts.right


def specificity(counts: Tally) -> np.ndarray:
    """Specificity of each class against the rest, ``TN / (TN + FP)``; shape (..., classes)."""
    return ratio(_true_negatives(counts), counts.true.sum(axis=-1)[..., np.newaxis] - counts.true)


def negative_predictive_value(counts: Tally) -> np.ndarray:
    """Of the samples not given a class, the share that is not of it, ``TN / (TN + FN)``; shape (..., classes)."""
    return ratio(_true_negatives(counts), counts.true.sum(axis=-1)[..., np.newaxis] - counts.predicted)


def f1(counts: Tally) -> np.ndarray:
    """F1 of each class, ``2 TP / (2 TP + FP + FN)``; shape (..., classes)."""
    return ratio(2 * counts.right, counts.true + counts.predicted)


def balanced_accuracy(counts: Tally) -> np.ndarray:
    """Mean recall of the classes that have samples; shape (...)."""
    return mean_defined(recall(counts))


def macro_f1(counts: Tally) -> np.ndarray:
    """Mean F1 of the classes that occur in the truth or in the predictions; shape (...)."""
    return mean_defined(f1(counts))


def mcc(counts: Tally) -> np.ndarray:
    """Matthews correlation coefficient for any number of classes; shape (...).

    With ``t`` the samples of each class, ``p`` those given it, ``c`` the right ones and ``s`` all of them:
    ``(c s − p·t) / sqrt((s² − p·p)(s² − t·t))``; Gorodkin, *Computational Biology and Chemistry* 28
    (2004) 367.
    """
    right, true, predicted = (np.asarray(each, dtype=np.float64) for each in counts)
    total = true.sum(axis=-1)
    covariance = right.sum(axis=-1) * total - (true * predicted).sum(axis=-1)
    true_spread = total**2 - (true**2).sum(axis=-1)
    predicted_spread = total**2 - (predicted**2).sum(axis=-1)
    correlation = ratio(covariance, np.sqrt(true_spread) * np.sqrt(predicted_spread))
    # Rounding of the two roots can leave 1.0000000000000002.
    return np.where(np.isnan(correlation) & (total > 0), 0.0, np.clip(correlation, -1.0, 1.0))


def kappa(counts: Tally) -> np.ndarray:
    """Agreement of answers and truth beyond chance; shape (...).

    ``(observed − expected) / (1 − expected)``, with ``expected`` the agreement of the same answers given at random,
    ``p·t / s²``; Cohen, *Educational and Psychological Measurement* 20 (1960) 37.
    """
    right, true, predicted = (np.asarray(each, dtype=np.float64) for each in counts)
    total, by_chance = true.sum(axis=-1), (true * predicted).sum(axis=-1)
    return ratio(right.sum(axis=-1) * total - by_chance, total**2 - by_chance)


def at_prevalence(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """Positive and negative predictive value where a class is as frequent as ``prevalence``, between 0 and 1.

    Bayes' rule: ``se p / (se p + (1 − sp)(1 − p))`` and ``sp (1 − p) / (sp (1 − p) + (1 − se) p)``; Altman & Bland,
    *BMJ* 309 (1994) 102. NaN where nothing would be called so.
    """
    hits, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    rightly_not, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    positive, negative = hits + false_alarms, rightly_not + missed
    return (hits / positive if positive else float("nan"), rightly_not / negative if negative else float("nan"))


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


def sample_brier(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Brier score of each sample, ``Σ_k (p_k − y_k)²`` with ``y`` 1 for the true class and 0 for the others.

    From 0 (certain and right) to 2 (certain and wrong); Brier, *Monthly Weather Review* 78 (1950) 1, whose sum is over
    all classes: for two classes it is twice the one-sided score that scikit-learn gives by default.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes).

    Returns
    -------
    float64 of shape (samples,).
    """
    distance = np.array(probabilities, dtype=np.float64)
    distance[np.arange(len(truth)), truth] -= 1.0
    return (distance**2).sum(axis=1)


def brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of `sample_brier`; NaN without samples."""
    scores = sample_brier(truth, probabilities)
    return float(ratio(scores.sum(), np.asarray(scores.size)))


TALLY_METRICS: Mapping[str, Callable[[Tally], np.ndarray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": mcc,
    "kappa": kappa,
}
