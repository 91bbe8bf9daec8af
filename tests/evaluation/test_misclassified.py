"""Which mistakes come first, and which right answers stand for all."""

import numpy as np

from clearmargin.evaluation.misclassified import confident_mistakes, truth_index, typical_successes
from clearmargin.records import Predictions


def said(probabilities, labels):
    n = len(labels)
    names = np.array([str(k) for k in range(n)], dtype=object)
    table = np.asarray(probabilities, dtype=np.float64)
    classes = tuple("abcdefgh"[: table.shape[1]])
    return Predictions(names, np.array(labels, dtype=object), names, classes, table)


def test_the_most_confident_mistake_comes_first():
    predictions = said([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.95, 0.05]], ["b", "b", "a", "b"])
    assert confident_mistakes(predictions).tolist() == [3, 2, 0]
    assert truth_index(predictions).tolist() == [1, 1, 0, 1]


def test_right_answers_are_typical_and_the_classes_take_turns():
    right = [0.55, 0.6, 0.7, 0.8, 0.99]
    table = [[p, 1 - p] for p in right] + [[0.2, 0.8], [0.9, 0.1]]
    predictions = said(table, ["a"] * 5 + ["b", "b"])  # the last one is wrong
    assert typical_successes(predictions, 1).tolist() == [2]
    assert typical_successes(predictions, 4).tolist() == [2, 5, 1, 3]
    assert sorted(typical_successes(predictions, 40).tolist()) == [0, 1, 2, 3, 4, 5]


def test_no_right_answer_gives_none():
    predictions = said([[0.9, 0.1]], ["b"])
    assert typical_successes(predictions, 12).tolist() == []
