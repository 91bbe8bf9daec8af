"""Folds for questions about the data: groups stay together, and every class is spread evenly."""

from __future__ import annotations

import numpy as np

from clearmargin.allotment import counted
from clearmargin.fold_allotment import allot_folds


def stratified_folds(classes: np.ndarray, groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal groups out to folds as a split does (`fold_allotment`); but a class may have fewer groups than folds.

    Parameters
    ----------
    classes, groups
        int64 of shape (samples,).

    Returns
    -------
    numpy.ndarray
        int64 of shape (samples,), from 0 to ``folds`` - 1.
    """
    group_of, counts = counted(groups, classes)
    return allot_folds(counts, folds, rng, every_class=False)[group_of]


def enough_groups(labels: np.ndarray, groups: np.ndarray, fewest: int) -> np.ndarray:
    """Which samples are of a class with at least ``fewest`` groups: bool of shape (samples,).

    Parameters
    ----------
    labels, groups
        Of shape (samples,): class names or numbers, and int64.
    """
    names, class_of = np.unique(labels, return_inverse=True)
    number = np.unique(groups, return_inverse=True)[1]
    pairs = np.unique(np.column_stack([class_of, number]), axis=0)
    return (np.bincount(pairs[:, 0], minlength=len(names)) >= fewest)[class_of]
