"""Which group goes to which fold: every one is tested once, so that balance is all that counts.

1. Groups with the same number of images of every class are dealt evenly to the folds.
2. What is left over goes, the groups that tip the balance most first, each to the fold where it raises the sum of
   squared relative deviations from the targets least: what scikit-learn's ``StratifiedGroupKFold`` does, with another
   measure.
3. Moving and swapping groups of any size mends what that leaves (`clearmargin.allotment`), and a class that is
   missing from a fold gets a group there.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from clearmargin.allotment import deal, kinds_of, mend, represent_every_class
from clearmargin.errors import SourceError

_BLOCK = 10_000  # rows that are made dense at once


def allot_folds(counts: csr_array, folds: int, rng: np.random.Generator, *, every_class: bool = True) -> np.ndarray:
    """Give every group a fold so that each class is divided as evenly as groups allow.

    Parameters
    ----------
    counts
        Images of each class in each group: integers of shape (groups, classes), no row or column empty.
        The outcome depends on the order of the rows.
    every_class
        Refuse what would leave a class out of a fold; False leaves it out.

    Returns
    -------
    numpy.ndarray
        int64 of shape (groups,): the fold, counted from 0.

    Raises
    ------
    SourceError
        With ``every_class``, when no arrangement gives every class a group in every fold.
    """
    counts = csr_array(counts)
    counts.sum_duplicates()
    kinds, kind_of = kinds_of(counts)
    even, left = np.divmod(np.bincount(kind_of), folds)
    numbers = np.repeat(even[:, None], folds, axis=1)
    _place_the_rest(numbers, kinds, left, counts.sum(axis=0), rng)
    parts = deal(kind_of, numbers, rng)
    fractions = np.full(folds, 1 / folds)
    parts = mend(counts, parts, fractions, rng, np.ones(len(parts), dtype=bool))
    try:
        return represent_every_class(counts, parts, folds, rng)
    except SourceError:
        if every_class:
            raise
        return parts


def _place_the_rest(
    numbers: np.ndarray, kinds: csr_array, left: np.ndarray, class_images: np.ndarray, rng: np.random.Generator
) -> None:
    """Add what is left of each kind to ``numbers`` (kinds, folds), in place, greedily."""
    rest = rng.permutation(np.repeat(np.arange(len(left)), left))
    scaled = csr_array(kinds * (1 / class_images))  # shares of each class
    share = np.asarray(scaled.sum(axis=1)).ravel()
    square = np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel()
    uneven = square - share**2 / kinds.shape[1]  # variance over the classes, as StratifiedGroupKFold orders them
    rest = rest[np.lexsort((-square[rest], -np.round(uneven[rest], 12)))]
    held = np.zeros((numbers.shape[1], kinds.shape[1]))
    for start in range(0, len(rest), _BLOCK):
        block = rest[start : start + _BLOCK]
        for kind, images in zip(block.tolist(), scaled[block].toarray(), strict=True):
            rise = np.round(held @ images, 12)  # half of what the sum of squares rises by, but for a constant
            nearest = np.flatnonzero(rise == rise.min())
            fold = nearest[held[nearest].sum(axis=1).argmin()]
            held[fold] += images
            numbers[kind, fold] += 1
