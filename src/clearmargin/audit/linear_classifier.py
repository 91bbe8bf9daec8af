"""A cheap classifier for questions about the data: logistic regression on standardised features."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

NAME = "logistic regression on standardised features"
STRENGTH = 0.03  # scikit-learn's C; of 0.001 to 1, on VGG16's features of 3,264 MRI slices, among the best
_MOST_ITERATIONS = 200
_TOLERANCE = 1e-3
_LEAST_DEVIATION = 1e-6
_AT_ONCE = 8192  # samples that are told of: standardising copies them


def class_probabilities(
    features: np.ndarray, classes: np.ndarray, asked: np.ndarray, n_classes: int, strength: float = STRENGTH
) -> np.ndarray:
    """Learn from some samples, say of others how probable each class is.

    Mean and standard deviation come from the samples that are learned from. A class none of them has gets probability
    zero; learned from no sample, all classes are equally probable.

    Parameters
    ----------
    features, asked
        float32 of shape (samples, features), to learn from and to be told of.
    classes
        int64 of shape (samples,), from 0 to ``n_classes`` - 1.
    strength
        How closely the samples are fitted: scikit-learn's C.

    Returns
    -------
    numpy.ndarray
        float64 of shape (samples asked, classes).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    probabilities = np.zeros((len(asked), n_classes))
    known = np.unique(classes)
    if len(known) == 0:
        return probabilities + 1 / n_classes
    if len(known) == 1:
        probabilities[:, known[0]] = 1
        return probabilities
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation < _LEAST_DEVIATION, 1, deviation)
    model = LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS, tol=_TOLERANCE)
    # products this small gain nothing from a second thread, and wait for it many times where cores are busy
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum is good enough here
        model.fit((features - mean) / deviation, classes)
        for start in range(0, len(asked), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            said = model.predict_proba((asked[rows] - mean) / deviation).astype(np.float64)
            probabilities[rows, known] = said / said.sum(axis=1, keepdims=True)
    return probabilities


def out_of_fold(
    features: np.ndarray,
    classes: np.ndarray,
    folds: np.ndarray,
    n_classes: int,
    *,
    strength: float = STRENGTH,
    most: int | None = None,
    rng: np.random.Generator | None = None,
    after_each: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Probabilities of every sample, from a classifier that learned without its fold.

    Parameters
    ----------
    folds
        Fold of each sample, integers of shape (samples,); at least two different ones.
    most, rng
        Learn from no more samples than this, drawn at random.
    after_each
        Called when a fold is done.

    Returns
    -------
    numpy.ndarray
        float64 of shape (samples, classes).
    """
    probabilities = np.empty((len(classes), n_classes))
    for fold in np.unique(folds):
        learned, told = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if most is not None and rng is not None and len(learned) > most:
            learned = np.sort(rng.choice(learned, most, replace=False))
        known = features[learned], classes[learned]
        probabilities[told] = class_probabilities(*known, features[told], n_classes, strength)
        after_each()
    return probabilities


def agreement_by_chance(truth: np.ndarray, said: np.ndarray) -> float:
    """Accuracy of answers that know nothing of the truth: Σ over classes of (share of it) · (share of the answers).

    As in the kappa of Cohen, *Educational and Psychological Measurement* 20 (1960) 37. An answer that is always the
    commonest class is right as often as that class is, and no better than chance.

    Parameters
    ----------
    truth, said
        int64 of shape (samples,), classes numbered from 0.
    """
    n_classes = 1 + int(max(truth.max(), said.max()))
    shares = (np.bincount(each, minlength=n_classes) / len(each) for each in (truth, said))
    return float(np.dot(*shares))
