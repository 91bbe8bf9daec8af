"""How well a label can be told from one property, out of fold, and how well from shuffled labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

FOLDS = 5
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
    n_units, times = labels.shape
    one_hot = np.zeros((n_units, units.classes, times))
    np.put_along_axis(one_hot, labels[:, None, :], 1.0, axis=1)
    per_class = np.maximum(np.bincount(units.labels, minlength=units.classes), 1)[:, None]  # the same when shuffled
    results = np.empty((len(properties) + 1, times))
    together = np.zeros((len(units.folds), units.classes, times), np.float32)
    for line, categories in enumerate(properties):
        there, cell = np.unique(units.folds * len(categories.names) + categories.of_sample, return_inverse=True)
        in_cell = csr_array((units.weights, (cell, units.of_sample)), shape=(len(there), n_units))
        counts = (in_cell @ one_hot.reshape(n_units, -1)).reshape(len(there), units.classes, times)
        evidence = _evidence(counts, there // len(categories.names), there % len(categories.names))
        told = evidence.argmax(axis=1)  # (cells, times)
        right = np.take_along_axis(counts, told[:, None, :], axis=1)[:, 0]
        hits = np.stack([np.where(told == number, right, 0).sum(axis=0) for number in range(units.classes)])
        results[line] = (hits / per_class).mean(axis=0)
        together += evidence.astype(np.float32)[cell]
    results[-1] = _balanced_accuracy(together.argmax(axis=1), labels, units, per_class)
    return results


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


def _balanced_accuracy(told: np.ndarray, labels: np.ndarray, units: Units, per_class: np.ndarray) -> np.ndarray:
    """Of shape (times,), from what each sample was taken for, shape (samples, times)."""
    truth = labels[units.of_sample]
    right = np.where(told == truth, units.weights[:, None], 0.0)
    hits = np.stack([np.where(truth == number, right, 0.0).sum(axis=0) for number in range(units.classes)])
    return (hits / per_class).mean(axis=0)
