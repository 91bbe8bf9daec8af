"""Confirmed pairs become clusters; one that grows by chaining is noticed, and parted where it hangs by weak links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

_CHAIN = 20  # images from which a cluster may be one
_SAMPLED = 20  # pairs of a cluster that are compared directly
_ALIKE = 0.7  # similarity from which these count as alike
_MOSTLY = 0.5  # share of them that must be
_LARGE = 0.2  # of all images: a chain that swallows more is parted
_STRICTER = (0.93, 0.95, 0.97)  # what links must reach in a chain that is too large; stronger ones are never cut


@dataclass(frozen=True)
class Clusters:
    """Which images belong together.

    Attributes
    ----------
    numbers
        int64 of shape (images,).
    kept
        bool of shape (pairs,): links that were not cut.
    chained
        Numbers of clusters in which most images are not like most others.
    parted
        How many chains were parted because they held too much of the data.
    """

    numbers: np.ndarray
    kept: np.ndarray
    chained: tuple[int, ...]
    parted: int


def cluster(
    images: int, pairs: np.ndarray, similarity: np.ndarray, directly: Callable[[np.ndarray], np.ndarray]
) -> Clusters:
    """Unite what is linked, directly or through others.

    Parameters
    ----------
    images
        How many there are.
    pairs
        int64 of shape (pairs, 2).
    similarity
        float64 of shape (pairs,).
    directly
        Gives the similarity of any pairs: from it, a large cluster of real copies is told from a chain.
    """
    kept = np.ones(len(pairs), bool)
    numbers = _components(images, pairs)
    chained = _chains(numbers, directly)
    parted = 0
    for least in _STRICTER:
        too_large = chained[np.bincount(numbers)[chained] > max(_CHAIN, _LARGE * images)]
        if not len(too_large):
            break
        parted = max(parted, len(too_large))
        kept &= ~(np.isin(numbers[pairs[:, 0]], too_large) & (similarity < least))
        numbers = _components(images, pairs[kept])
        chained = _chains(numbers, directly)
    return Clusters(numbers, kept, tuple(chained.tolist()), parted)


def _chains(numbers: np.ndarray, directly: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Numbers of the clusters of which random pairs are mostly not alike."""
    sizes = np.bincount(numbers)
    large = np.flatnonzero(sizes >= _CHAIN)
    if not len(large):
        return large
    members = np.argsort(numbers, kind="stable")
    start = np.cumsum(sizes) - sizes
    random = np.random.default_rng(0)
    first = random.integers(sizes[large][:, None], size=(len(large), _SAMPLED))
    step = random.integers(1, sizes[large][:, None], size=(len(large), _SAMPLED))
    second = (first + step) % sizes[large][:, None]
    pairs = np.stack([members[start[large][:, None] + place].ravel() for place in (first, second)], axis=1)
    alike = (directly(np.sort(pairs, axis=1)) >= _ALIKE).reshape(first.shape)
    return large[alike.mean(axis=1) < _MOSTLY]


def _components(images: int, pairs: np.ndarray) -> np.ndarray:
    graph = csr_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    _, component = connected_components(graph, directed=False)
    return pd.factorize(component)[0].astype(np.int64)
