"""Folds for questions about the data: groups stay together, and every class is spread evenly."""

from __future__ import annotations

import numpy as np


def stratified_folds(classes: np.ndarray, groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal groups out to folds, the large ones first, each to the fold that has least of what it brings.

    As scikit-learn's StratifiedGroupKFold, greedily; but a class may have fewer groups than there are folds (its share
    is then zero in some), and 100,000 groups take a second.

    Parameters
    ----------
    classes, groups
        int64 of shape (samples,); classes are numbered from 0.

    Returns
    -------
    numpy.ndarray
        int64 of shape (samples,), from 0 to ``folds`` - 1; each fold gets a group while there are enough of them.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    n_classes = int(classes.max()) + 1
    counts = np.zeros((len(names), n_classes), np.int64)
    np.add.at(counts, (group_of, classes), 1)
    # within a size, in random order; the classes that a group has most of are dealt out by turns
    order = np.lexsort((rng.random(len(names)), counts.argmax(axis=1), -counts.sum(axis=1)))
    share = 1 / np.maximum(counts.sum(axis=0), 1)  # a rare class weighs as much as a common one
    filled = np.zeros((folds, n_classes))
    samples = np.zeros(folds)
    fold_of = np.empty(len(names), np.int64)
    priority = rng.random(folds)  # otherwise the first fold would always begin
    for group in order:
        brought = counts[group] * share
        cost = filled @ brought / max(brought.sum(), 1e-12)
        fold = int(np.lexsort((priority, samples, cost.round(12)))[0])
        fold_of[group] = fold
        filled[fold] += brought
        samples[fold] += counts[group].sum()
    return fold_of[group_of]


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
