"""How well a label can be told from one property, out of fold, and how well from shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

FOLDS = 5
_MOST_SCORES = 500_000  # of samples, classes and labellings at once
_PRIOR = 2.0  # units by which a class's shares are drawn towards those of all classes


@dataclass(frozen=True)
class Units:
    """What counts once: the samples of one group that have one label.

    Copies, and the slices of a patient, say one thing many times. Each unit therefore weighs 1, each of its samples a
    part of that, and labels are shuffled from unit to unit.

    Attributes
    ----------
    of_sample
        int64 of shape (samples,): the unit of each sample.
    weights
        float64 of shape (samples,): one over the samples of its unit.
    labels
        int64 of shape (units,): number of the class.
    folds
        int64 of shape (samples,): fold of each sample; a group is in one fold, whatever its labels.
    classes
        How many classes there are.
    """

    of_sample: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    classes: int

    @classmethod
    def gather(cls, labels: np.ndarray, groups: np.ndarray, generator: np.random.Generator) -> Units:
        """From the class number and the group number of each sample; folds are drawn without looking at the labels."""
        group, names = pd.factorize(groups)
        classes = int(labels.max()) + 1
        unit, keys = pd.factorize(group.astype(np.int64) * classes + labels)
        place = generator.permutation(len(names)) % FOLDS
        return cls(
            of_sample=unit,
            weights=1.0 / np.bincount(unit)[unit],
            labels=(keys % classes).astype(np.int64),
            folds=place[group],
            classes=classes,
        )

    def shuffled(self, times: int, generator: np.random.Generator) -> np.ndarray:
        """Labels of shape (units, times) that say nothing."""
        return generator.permuted(np.repeat(self.labels[:, None], times, axis=1), axis=0)


@dataclass(frozen=True)
class Categories:
    """One property as categories.

    Attributes
    ----------
    of_sample
        int64 of shape (samples,): number of the category.
    names
        What each is called.
    """

    of_sample: np.ndarray
    names: tuple[str, ...]


def balanced_accuracies(properties: list[Categories], units: Units, labels: np.ndarray) -> np.ndarray:
    """Out-of-fold balanced accuracy from each property, and from all of them together.

    For each property the classifier is the table of its categories by class, every class being as likely beforehand
    (a Bayes classifier on one discrete input); for all together the logarithms of the tables are added (naive Bayes).

    Parameters
    ----------
    labels
        int64 of shape (units, times): several labellings at once.

    Returns
    -------
    numpy.ndarray
        float64 of shape (properties + 1, times); the last line is all of them together.
    """
    per_class = np.maximum(np.bincount(units.labels, minlength=units.classes), 1)[:, None]  # the same when shuffled
    truth = labels[units.of_sample]  # (samples, times)
    results = np.empty((len(properties) + 1, labels.shape[1]))
    tables = []
    for line, categories in enumerate(properties):
        there, cell = np.unique(units.folds * len(categories.names) + categories.of_sample, return_inverse=True)
        counts = _counts(cell, truth, units, len(there))
        evidence = _evidence(counts, there // len(categories.names), there % len(categories.names))
        right = _right(evidence.argmax(axis=1), counts, units.classes)
        results[line] = (right / per_class).mean(axis=0)
        tables.append((cell, evidence.astype(np.float32)))
    results[-1] = _balanced_accuracy(_most_likely(tables, truth.shape, units.classes), truth, units, per_class)
    return results


def _counts(cell: np.ndarray, truth: np.ndarray, units: Units, cells: int) -> np.ndarray:
    """Weight of each class in each cell, float64 of shape (cells, classes, times)."""
    times = truth.shape[1]
    places = (cell[:, None] * units.classes + truth) * times + np.arange(times)
    weights = np.repeat(units.weights, times)
    return np.bincount(places.ravel(), weights, cells * units.classes * times).reshape(cells, units.classes, times)


def _right(told: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Weight that is told rightly of each class, shape (classes, times), from the class told in each cell."""
    right = np.take_along_axis(counts, told[:, None, :], axis=1)[:, 0]
    return _summed(right, told, classes)


def _summed(values: np.ndarray, classes_of: np.ndarray, classes: int) -> np.ndarray:
    """Sums of each class in each column, shape (classes, times)."""
    times = values.shape[1]
    places = classes_of * times + np.arange(times)
    return np.bincount(places.ravel(), values.ravel(), classes * times).reshape(classes, times)


def _most_likely(tables: list[tuple[np.ndarray, np.ndarray]], shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Class for which the evidence of all properties is largest, of shape (samples, times).

    A few classes at a time, because a table of samples by classes by times does not fit into memory when all are many.
    """
    best, told = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)
    block = max(1, _MOST_SCORES // (shape[0] * shape[1]))
    for first in range(0, classes, block):
        scores = np.zeros((shape[0], min(block, classes - first), shape[1]), np.float32)
        for cell, evidence in tables:
            scores += evidence[:, first : first + block][cell]
        leading = scores.argmax(axis=1)
        score = np.take_along_axis(scores, leading[:, None], axis=1)[:, 0]
        better = score > best
        best[better] = score[better]
        told[better] = first + leading[better]
    return told


def _evidence(counts: np.ndarray, folds: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """Logarithm of how typical each cell's category is of each class, learned in the other folds.

    ``counts`` has shape (cells, classes, times); a cell is one category in one fold.
    """
    everywhere = np.zeros((categories.max() + 1, *counts.shape[1:]))
    np.add.at(everywhere, categories, counts)
    in_fold = np.zeros((folds.max() + 1, *counts.shape[1:]))
    np.add.at(in_fold, folds, counts)
    elsewhere = np.maximum(everywhere[categories] - counts, 0)
    in_class = everywhere.sum(axis=0) - in_fold[folds]
    share = elsewhere.sum(axis=1, keepdims=True) / np.maximum(in_class.sum(axis=1, keepdims=True), 1e-9)
    return np.log((elsewhere + _PRIOR * share + 1e-9) / (in_class + _PRIOR + 1e-9))


def _balanced_accuracy(told: np.ndarray, truth: np.ndarray, units: Units, per_class: np.ndarray) -> np.ndarray:
    """Of shape (times,), from what each sample was taken for and is, both of shape (samples, times)."""
    right = np.where(told == truth, units.weights[:, None], 0.0)
    return (_summed(right, truth, units.classes) / per_class).mean(axis=0)
