"""Confirmed pairs become clusters; one that grows by chaining is noticed, and parted where it hangs by weak links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

_CHAIN = 20  # images from which a cluster may be one
_SPARSE = 0.2  # share of its pairs that are alike, below which a cluster is a chain
_LARGE = 0.2  # of all images: a cluster that swallows more is parted
_STRICTER = (0.93, 0.95, 0.97)  # what links must reach in a cluster that is too large; stronger ones are never cut


@dataclass(frozen=True)
class Clusters:
    """Which images belong together.

    Attributes
    ----------
    numbers
        int64 of shape (images,).
    chained
        Numbers of clusters in which most images are not like most others.
    parted
        How many clusters were parted because they held too much of the data.
    """

    numbers: np.ndarray
    chained: tuple[int, ...]
    parted: int


def cluster(images: int, pairs: np.ndarray, similarity: np.ndarray) -> Clusters:
    """Unite what is linked, directly or through others.

    Parameters
    ----------
    images
        How many there are.
    pairs
        int64 of shape (pairs, 2).
    similarity
        float64 of shape (pairs,).
    """
    kept = np.ones(len(pairs), bool)
    numbers = _components(images, pairs)
    parted = 0
    for least in _STRICTER:
        sizes = np.bincount(numbers, minlength=1)
        too_large = sizes > max(_CHAIN, _LARGE * images)
        if not too_large.any():
            break
        parted = max(parted, int(too_large.sum()))
        kept &= ~(too_large[numbers[pairs[:, 0]]] & (similarity < least))
        numbers = _components(images, pairs[kept])
    sizes = np.bincount(numbers, minlength=1)
    links = np.bincount(numbers[pairs[kept, 0]], minlength=len(sizes))
    share = links / np.maximum(sizes * (sizes - 1) / 2, 1)
    chained = np.flatnonzero((sizes >= _CHAIN) & (share < _SPARSE))
    return Clusters(numbers, tuple(chained.tolist()), parted)


def _components(images: int, pairs: np.ndarray) -> np.ndarray:
    graph = csr_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    _, component = connected_components(graph, directed=False)
    return pd.factorize(component)[0].astype(np.int64)
