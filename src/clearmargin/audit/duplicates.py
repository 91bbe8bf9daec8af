"""Which samples are copies of one another, and what must stay together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


def exact_copies(pixel_sha256: Sequence[str]) -> np.ndarray:
    """Number the sets of samples whose decoded pixels are identical.

    Parameters
    ----------
    pixel_sha256
        Hash of the decoded pixels of each sample.

    Returns
    -------
    numpy.ndarray
        int64 of shape (samples,): equal hashes share a number, counted from 0 in order of first sight.
    """
    numbers, _ = pd.factorize(np.array(pixel_sha256, dtype=object))
    return numbers.astype(np.int64)


def number_known(values: Sequence[str | None]) -> np.ndarray:
    """Number equal values; None says nothing, and is alone with its own number: int64 of shape (samples,)."""
    numbers, _ = pd.factorize(np.array(list(values), dtype=object))
    alone = numbers < 0
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
    return numbers.astype(np.int64)


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Sets of two or more different names that differ in case or white space only, each sorted."""
    sets: dict[str, set[str]] = {}
    for name in names:
        sets.setdefault("".join(name.casefold().split()), set()).add(name)
    return sorted(sorted(alike) for alike in sets.values() if len(alike) > 1)


def join_groups(*clusterings: np.ndarray) -> np.ndarray:
    """Unite clusterings: samples that share a cluster in any of them, or through others, get one number.

    Parameters
    ----------
    clusterings
        One or more integer arrays of shape (samples,): a cluster number for each sample.

    Returns
    -------
    numpy.ndarray
        int64 of shape (samples,): numbers counted from 0 in order of first sight.

    Raises
    ------
    ValueError
        When there is no clustering, or they are of different length.
    """
    lengths = {len(clustering) for clustering in clusterings}
    if len(lengths) != 1:
        raise ValueError(f"Expected clusterings of one length, got lengths {sorted(lengths)}.")
    samples = lengths.pop()
    # A graph of samples and clusters: each sample is tied to its cluster in every clustering.
    ties, nodes = [], samples
    for clustering in clusterings:
        numbers, clusters = pd.factorize(np.asarray(clustering))
        ties.append(numbers + nodes)
        nodes += len(clusters)
    rows = np.tile(np.arange(samples), len(clusterings))
    graph = csr_array((np.ones(len(rows), np.int8), (rows, np.concatenate(ties))), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    joined, _ = pd.factorize(component[:samples])
    return joined.astype(np.int64)
