"""Pairs of images that may be copies of one another, found by hashing: not every image is compared with every other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BITS = 128
ORIENTATIONS = 8  # the first four are turns by 90° each, the others the same of the mirror image
# Turning by 270° finds from the other side what turning by 90° finds; all others are their own inverse.
_ASKED = (0, 1, 2, 4, 5, 6, 7)
INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])
_LEAST_TABLES, _MOST_TABLES = 32, 128  # more for more images, as keys are longer then and hit less often
_MOST_DIFFERING = 36  # bits: strangers differ in 64 on average, pairs of cosine 0.7 in 32
_LEAST_DIFFERING = 12
_BUCKET = 128  # most that is looked at in one bucket for one image
_USUAL = 16  # pairs per image in one table; where there are more, buckets are looked at less closely
_PAIRS_AT_ONCE = 1 << 21


def candidate_pairs(codes: np.ndarray) -> np.ndarray:
    """Find pairs whose codes agree in most bits, in any orientation.

    Locality-sensitive hashing (Charikar 2002): in each of several tables a random choice of bits is the key, and only
    images with equal keys are compared. Time and memory grow with n log n.

    Parameters
    ----------
    codes
        uint8 of shape (8, images, 16): 128 bits for every orientation of an image.

    Returns
    -------
    numpy.ndarray
        int64 of shape (pairs, 3), sorted: first, second (larger), and the orientation in which the first is like the
        second.
    """
    images = codes.shape[1]
    if images < 2:
        return np.empty((0, 3), np.int64)
    words = np.ascontiguousarray(codes).view(np.uint64)  # (8, images, 2)
    found, most = np.empty(0, np.int64), _MOST_DIFFERING
    for keys in _keys(codes, images):
        order = np.argsort(keys[0], kind="stable")
        sorted_keys = keys[0][order]
        new = [_table_pairs(sorted_keys, order, keys[orientation], words, orientation, most) for orientation in _ASKED]
        found = _union(found, np.concatenate(new))
        while len(found) > _USUAL * images and most > _LEAST_DIFFERING:
            most -= 4  # plain pictures are alike in the coarse: only the nearest are looked at
            first, second, orientation_found = _parts(found, images)
            found = found[_differing(words, orientation_found, first, second) <= most]
    return np.column_stack(_parts(found, images))


def _union(found: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Sorted numbers, each once, of ``found``, which is so already, and ``new``.

    `numpy.union1d` hashes both anew each time (numpy 2.3), which took 54 of 139 s among 70,000 digits; here sorted runs
    are merged.
    """
    both = np.concatenate((found, np.sort(new)))
    both.sort(kind="stable")
    first = np.ones(len(both), bool)
    np.not_equal(both[1:], both[:-1], out=first[1:])
    return both[first]


def _parts(pairs: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First, second and orientation of pairs that are one number each."""
    first, rest = np.divmod(pairs, images * ORIENTATIONS)
    second, orientation = np.divmod(rest, ORIENTATIONS)
    return first, second, orientation


def _differing(words: np.ndarray, orientation: int | np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """In how many bits the first, turned, differs from the second."""
    return np.bitwise_count(words[orientation, first] ^ words[0, second]).sum(axis=1, dtype=np.uint8)


def _keys(codes: np.ndarray, images: int) -> Iterator[np.ndarray]:
    """Keys (uint64) of shape (8, images) for each table, and at last the whole codes."""
    width = int(np.clip(round(1.25 * np.log2(images)) - 1, 10, 30))  # buckets of a few strangers
    random = np.random.default_rng(0)
    tables = int(np.clip(16 * np.log2(images / 7500), _LEAST_TABLES, _MOST_TABLES))
    for _ in range(tables):
        keys = np.zeros(codes.shape[:2], np.uint32)
        for bit in random.choice(BITS, width, replace=False).tolist():
            keys = (keys << np.uint32(1)) | ((codes[..., bit // 8] >> (bit % 8)) & 1)
        yield keys
    whole = np.ascontiguousarray(codes).view(np.uint64)
    yield whole[..., 0] ^ (whole[..., 1] * np.uint64(0x9E3779B97F4A7C15))


def _table_pairs(
    sorted_keys: np.ndarray, order: np.ndarray, asked: np.ndarray, words: np.ndarray, orientation: int, limit: int
) -> np.ndarray:
    """Pairs of equal key and near code, each as one number: (first · images + second) · 8 + orientation."""
    images = len(order)
    turn = np.argsort(asked, kind="stable")  # neighbours in memory are asked for one after the other
    start = np.searchsorted(sorted_keys, asked[turn], "left")
    count = np.searchsorted(sorted_keys, asked[turn], "right") - start
    # Of an overfull bucket every image sees another stretch, so that all of it is seen by some.
    most = _BUCKET if np.minimum(count, _BUCKET).sum() <= _USUAL * images else _USUAL // 2
    excess = np.maximum(count - most, 0)
    start, count = start + (np.arange(images) * 7919) % (excess + 1), np.minimum(count, most)
    pairs = []
    ends = np.cumsum(count)
    cuts = 1 + np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, ends[-1] + _PAIRS_AT_ONCE, _PAIRS_AT_ONCE), "left")
    for low, high in zip([0, *cuts.tolist()], [*cuts.tolist(), images], strict=True):
        number = count[low:high]
        if number.sum() == 0:
            continue
        asking = np.repeat(turn[low:high], number)
        place = np.arange(len(asking)) - np.repeat(np.cumsum(number) - number, number)
        other = order[np.repeat(start[low:high], number) + place]
        pairs.append(_near(asking, other, words, orientation, limit))
    return np.concatenate(pairs) if pairs else np.empty(0, np.int64)


def _near(asking: np.ndarray, other: np.ndarray, words: np.ndarray, orientation: int, limit: int) -> np.ndarray:
    images = words.shape[1]
    near = (_differing(words, orientation, asking, other) <= limit) & (asking != other)
    asking, other = asking[near], other[near]
    how = np.where(asking < other, orientation, INVERSE[orientation])
    first, second = np.minimum(asking, other).astype(np.int64), np.maximum(asking, other).astype(np.int64)
    return (first * images + second) * ORIENTATIONS + how
