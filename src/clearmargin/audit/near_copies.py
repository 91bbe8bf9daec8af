"""Near-duplicates: resized, stored again, brightened, framed, slightly cropped, mirrored or turned copies.

Images are hashed to find pairs that may be copies, each pair is brought into line and compared on its pixels, and
what is alike enough is joined. Everything happens in an order that depends on the pixels only, so that the order of
the samples makes no difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from clearmargin.audit.alignment import halved, similarities
from clearmargin.audit.candidates import INVERSE, ORIENTATIONS, candidate_pairs
from clearmargin.audit.chains import cluster
from clearmargin.audit.coarse import Coarse
from clearmargin.audit.crowding import crowded, strangers_reach
from clearmargin.records import Rows

THRESHOLD = 0.9  # of the similarity; docs/copies.md shows what other values would find
_LEAST_DETAIL = 1.5  # grey levels, standard deviation of what is finer than a fifth of the side
_COARSE_ALIKE = 0.68  # cosine below which no pair is compared on its pixels
_COARSE_ALIKE_IN_A_CROWD = 0.84
_CROWDED_FROM = 0.95
_AT_ONCE = 1024
# What an image must undergo to look like another: turns are against the clock.
ORIENTATION_WORDS = (
    "as it is",
    "turned by 90°",
    "turned by 180°",
    "turned by 270°",
    "mirrored",
    "mirrored and turned by 90°",
    "upside down",
    "mirrored and turned by 270°",
)


@dataclass(frozen=True)
class NearCopies:
    """Pairs that were confirmed, and what they amount to.

    Attributes
    ----------
    pairs
        int64 of shape (pairs, 2): two samples each, the smaller number first, ascending.
    similarity
        float64 of shape (pairs,): correlation after alignment, from `THRESHOLD` to 1.
    orientation
        int64 of shape (pairs,): which of `ORIENTATION_WORDS` brings the first to the second.
    clusters
        int64 of shape (samples,): samples that must stay together share a number, counted from 0 by first sight.
    chained
        Numbers of the clusters that hang together by chains rather than by likeness.
    parted
        How many clusters were parted at weak links because they held too much of the data.
    """

    pairs: np.ndarray
    similarity: np.ndarray
    orientation: np.ndarray
    clusters: np.ndarray
    chained: tuple[int, ...]
    parted: int


def find_near_copies(
    miniatures: Rows, threshold: float | None = None, progress: Callable[[int, int], None] | None = None
) -> NearCopies:
    """Find near-duplicates among images.

    Parameters
    ----------
    miniatures
        uint8 of shape (images, 64, 64), as `clearmargin.miniature` makes them.
    threshold
        Least similarity of a copy, 0 to 1. When None it is `THRESHOLD`, or more where strangers are as alike as that,
        and pairs in a crowd of strangers are left out.
    progress
        Called with (pairs compared, pairs to compare).
    """
    distinct, number = _distinct(miniatures)  # samples that stand for all of equal pixels, in order of content
    telling = _telling(miniatures, distinct)
    rows = np.flatnonzero(telling)
    if len(rows) < 2:
        return _named(distinct, number, telling, np.empty((0, 3), np.int64), np.empty(0), _no_pairs)
    coarse = Coarse(miniatures, distinct[rows])
    least = threshold
    if least is None:
        least = max(THRESHOLD, strangers_reach(miniatures, distinct[rows], coarse))
    found, similarity = _compared(miniatures, distinct[rows], coarse, least, progress)
    sure = similarity >= least
    if threshold is None:
        sure[sure] = ~crowded(len(rows), found[:, :2], similarity, np.flatnonzero(sure))
    found, similarity = found[sure], similarity[sure]
    found[:, :2] = rows[found[:, :2]]

    def directly(pairs: np.ndarray) -> np.ndarray:
        """Similarity of any pairs of distinct images, in the orientation in which they are most alike from afar."""
        place = np.searchsorted(rows, pairs)
        turned = [np.column_stack((place, np.full(len(place), turn))) for turn in range(ORIENTATIONS)]
        best = np.argmax([coarse.cosines(each) for each in turned], axis=0)
        return similarities(miniatures, distinct, np.column_stack((pairs, best)))

    return _named(distinct, number, telling, found, similarity, directly)


def _compared(
    miniatures: Rows,
    rows: np.ndarray,
    coarse: Coarse,
    least: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (first, second, orientation) that look alike from afar, and how alike they are on their pixels."""
    pairs = candidate_pairs(coarse.codes())
    # where more is asked of a copy, less need be looked at
    pairs = pairs[coarse.cosines(pairs) >= (_COARSE_ALIKE if least < _CROWDED_FROM else _COARSE_ALIKE_IN_A_CROWD)]
    similarity = similarities(miniatures, rows, pairs, progress)
    # the same pair can be alike in several orientations: the best counts
    order = np.lexsort((pairs[:, 2], -similarity, pairs[:, 1], pairs[:, 0]))
    pairs, similarity = pairs[order], similarity[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:, :2] != pairs[:-1, :2]).any(axis=1)
    return pairs[first], similarity[first]


def _no_pairs(pairs: np.ndarray) -> np.ndarray:
    return np.ones(len(pairs))


def _named(
    distinct: np.ndarray,
    number: np.ndarray,
    telling: np.ndarray,
    found: np.ndarray,
    similarity: np.ndarray,
    directly: Callable[[np.ndarray], np.ndarray],
) -> NearCopies:
    """Pairs and clusters of distinct images as such of samples."""
    alike = cluster(len(distinct), found[:, :2], similarity, directly)
    found, similarity = found[alike.kept], similarity[alike.kept]
    # images without detail are like many others: each stays alone
    alone = ~telling[number]
    clusters = np.where(alone, len(distinct) + np.arange(len(number)), alike.numbers[number])
    again = np.flatnonzero((distinct[number] != np.arange(len(number))) & ~alone)
    pairs = np.concatenate((distinct[found[:, :2]], np.column_stack((distinct[number[again]], again))))
    similarity = np.concatenate((similarity, np.ones(len(again))))
    orientation = np.concatenate((found[:, 2], np.zeros(len(again), np.int64)))
    swapped = pairs[:, 0] > pairs[:, 1]
    pairs[swapped] = pairs[swapped, ::-1]
    orientation = np.where(swapped, INVERSE[orientation], orientation)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    numbers, names = pd.factorize(clusters)
    chained = tuple(int(place) for place in np.flatnonzero(np.isin(names, alike.chained)))
    return NearCopies(pairs[order], similarity[order], orientation[order], numbers, chained, alike.parted)


def _distinct(miniatures: Rows) -> tuple[np.ndarray, np.ndarray]:
    """One sample of each set of equal miniatures, ordered by their hash; and the set of each sample."""
    digests = []
    for start in range(0, miniatures.shape[0], _AT_ONCE):
        block = miniatures.read(np.arange(start, min(start + _AT_ONCE, miniatures.shape[0])))
        digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in block]
    _, first, number = np.unique(np.array(digests, dtype="V16"), return_index=True, return_inverse=True)
    return first, number


def _telling(miniatures: Rows, rows: np.ndarray) -> np.ndarray:
    """Whether there is enough in an image to tell a copy from a stranger."""
    telling = np.empty(len(rows), bool)
    for start in range(0, len(rows), _AT_ONCE):
        block = halved(halved(miniatures.read(rows[start : start + _AT_ONCE])))
        fine = block - uniform_filter(block, (0, 3, 3), mode="nearest")
        telling[start : start + _AT_ONCE] = fine.std(axis=(1, 2)) >= _LEAST_DETAIL
    return telling
