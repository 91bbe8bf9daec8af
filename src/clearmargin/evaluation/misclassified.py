"""Which samples were misclassified, and how surely."""

from __future__ import annotations

import numpy as np

from clearmargin.evaluation.metrics import predicted_index
from clearmargin.records import Predictions


def truth_index(predictions: Predictions) -> np.ndarray:
    """Column of the true class, int64 (samples,)."""
    column = {name: place for place, name in enumerate(predictions.classes)}
    return np.array([column[label] for label in predictions.labels], dtype=np.int64)


def confident_mistakes(predictions: Predictions) -> np.ndarray:
    """Rows (int64) of the misclassified samples, the most confident mistake first."""
    said = predicted_index(predictions.probabilities)
    wrong = np.flatnonzero(said != truth_index(predictions))
    return wrong[np.argsort(-predictions.probabilities[wrong, said[wrong]], kind="stable")]


def typical_successes(predictions: Predictions, most: int) -> np.ndarray:
    """At most so many rows (int64) that were classified correctly, the classes in turn.

    Of each class the ones in the middle of its probabilities come first, so that neither the easiest nor the hardest
    stand for all. Of more classes than ``most``, evenly spaced ones.
    """
    truth, probabilities = truth_index(predictions), predictions.probabilities
    right = np.flatnonzero(predicted_index(probabilities) == truth)
    by_class = []
    for column in np.unique(truth[right]):
        rows = right[truth[right] == column]
        rows = rows[np.argsort(probabilities[rows, column], kind="stable")]
        away = np.abs(np.arange(len(rows)) - (len(rows) - 1) / 2)
        by_class.append(rows[np.argsort(away, kind="stable")])
    if len(by_class) > most:
        by_class = [by_class[place] for place in np.linspace(0, len(by_class) - 1, most).round().astype(int)]
    turns = max((len(rows) for rows in by_class), default=0)
    in_turn = [rows[turn] for turn in range(min(turns, most)) for rows in by_class if turn < len(rows)]
    return np.array(in_turn[:most], dtype=np.int64)
