"""Near-duplicates: resized, stored again, brightened, framed, slightly cropped, mirrored or turned copies.

Images are hashed to find pairs that may be copies, each pair is brought into line and compared on its pixels, and
what is alike enough is joined. Everything happens in an order that depends on the pixels only, so that the order of
the samples makes no difference.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter
from scipy.stats import norm

from clearmargin.audit.alignment import halved, similarities
from clearmargin.audit.candidates import BITS, INVERSE, ORIENTATIONS, candidate_pairs
from clearmargin.audit.chains import cluster
from clearmargin.records import Rows

THRESHOLD = 0.9  # of the similarity; docs/copies.md shows what other values would find
_LEAST_DETAIL = 1.5  # grey levels, standard deviation of what is finer than a fifth of the side
_COARSE_PX = 16
_COMPONENTS = 64
_COARSE_ALIKE = 0.68  # cosine; of planted copies 99 % are above 0.7
_FITTED = 1024  # images from which the components are learned
_AT_ONCE = 1024
_FEW = 500  # images below which chance is not estimated
_SAMPLED_PAIRS = 4096
_MOST_ASKED = 0.975
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


def find_near_copies(miniatures: Rows, threshold: float = THRESHOLD) -> NearCopies:
    """Find near-duplicates among images.

    Parameters
    ----------
    miniatures
        uint8 of shape (images, 64, 64), as `clearmargin.miniature` makes them.
    threshold
        Least similarity of a copy, 0 to 1.
    """
    distinct, number = _distinct(miniatures)  # samples that stand for all of equal pixels, in order of content
    telling = _telling(miniatures, distinct)
    rows = np.flatnonzero(telling)
    candidates = _candidates(miniatures, distinct[rows])
    candidates[:, :2] = rows[candidates[:, :2]]
    similarity = similarities(miniatures, distinct, candidates)
    sure = similarity >= max(threshold, strangers_reach(miniatures, distinct[rows]))
    return _named(distinct, number, telling, candidates[sure], similarity[sure])


def strangers_reach(miniatures: Rows, rows: np.ndarray) -> float:
    """Similarity that none of all pairs of strangers is expected to exceed, from a random sample of pairs.

    Plain images, such as digits, are alike by chance more often than rich ones. The tail is extrapolated as normal on
    Fisher's scale. With few images nothing can be said, and 0 is returned.
    """
    if len(rows) < _FEW:
        return 0.0
    random = np.random.default_rng(0)
    first, second = random.integers(len(rows), size=(2, _SAMPLED_PAIRS))
    pairs = np.column_stack((first, second, np.zeros_like(first)))[first != second]
    scale = np.arctanh(np.clip(similarities(miniatures, rows, pairs), -0.999, 0.999))
    middle, upper = np.quantile(scale, (0.5, 0.975))
    away = (upper - middle) / norm.isf(0.025) * norm.isf(1 / (len(rows) ** 2 / 2 * ORIENTATIONS))
    return min(float(np.tanh(middle + away)), _MOST_ASKED)


def _named(
    distinct: np.ndarray, number: np.ndarray, telling: np.ndarray, found: np.ndarray, similarity: np.ndarray
) -> NearCopies:
    """Pairs and clusters of distinct images as such of samples."""
    alike = cluster(len(distinct), found[:, :2], similarity)
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
    # the same pair can be alike in several orientations: the best counts
    order = np.lexsort((orientation, -similarity, pairs[:, 1], pairs[:, 0]))
    pairs, similarity, orientation = pairs[order], similarity[order], orientation[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    numbers, names = pd.factorize(clusters)
    chained = tuple(int(place) for place in np.flatnonzero(np.isin(names, alike.chained)))
    return NearCopies(pairs[first], similarity[first], orientation[first], numbers, chained, alike.parted)


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


def oriented(images: np.ndarray, orientation: int) -> np.ndarray:
    """Images of shape (n, side, side) in one of the eight orientations of a square."""
    return np.rot90(images[:, :, ::-1] if orientation >= 4 else images, orientation % 4, axes=(1, 2))


def _coarse(miniatures: Rows, rows: np.ndarray) -> np.ndarray:
    """float32 of shape (images, 16, 16), mean 0, standard deviation 1."""
    coarse = np.empty((len(rows), _COARSE_PX, _COARSE_PX), np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        coarse[start : start + _AT_ONCE] = halved(halved(miniatures.read(rows[start : start + _AT_ONCE])))
    coarse -= coarse.mean(axis=(1, 2), keepdims=True)
    coarse /= np.maximum(coarse.std(axis=(1, 2), keepdims=True), 1e-3)
    return coarse


def _candidates(miniatures: Rows, rows: np.ndarray) -> np.ndarray:
    """Pairs (first, second, orientation) whose coarse pictures are alike, the usual look of the images aside."""
    if len(rows) < 2:
        return np.empty((0, 3), np.int64)
    coarse = _coarse(miniatures, rows)
    # rows come ordered by a hash: any stretch of them is a random sample
    learned = np.concatenate([oriented(coarse[:_FITTED], turn) for turn in range(ORIENTATIONS)])
    flat = learned.reshape(len(learned), -1)
    middle = flat.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(flat - middle, rowvar=False))
    variance, axes = variance[::-1][:_COMPONENTS], axes[:, ::-1][:, :_COMPONENTS]
    # whitening: what all share counts for no more than what few have; noise is not blown up beyond a floor
    spread = (axes * np.maximum(variance, 1e-3 * variance[0] + 1e-9) ** -0.5).astype(np.float32)
    directions = np.random.default_rng(0).standard_normal((spread.shape[1], BITS), np.float32)
    codes = np.empty((ORIENTATIONS, len(rows), BITS // 8), np.uint8)
    for turn in range(ORIENTATIONS):
        signs = (oriented(coarse, turn).reshape(len(rows), -1) - middle) @ (spread @ directions) > 0
        codes[turn] = np.packbits(signs, axis=1, bitorder="little")
    pairs = candidate_pairs(codes)
    return pairs[_alike(coarse, pairs, middle, spread)]


def _alike(coarse: np.ndarray, pairs: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Which pairs agree in what their hashes only estimate: the cosine of their coarse pictures."""
    views = np.stack([_unit((oriented(coarse, k).reshape(len(coarse), -1) - middle) @ spread) for k in range(8)])
    alike = np.empty(len(pairs), bool)
    for start in range(0, len(pairs), 1 << 16):
        first, second, turn = pairs[start : start + (1 << 16)].T
        alike[start : start + (1 << 16)] = (views[turn, first] * views[0, second]).sum(axis=1) >= _COARSE_ALIKE
    return alike


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
