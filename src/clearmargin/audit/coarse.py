"""What images look like from afar, the usual look of the data aside: by this, pairs that may be copies are found."""

from __future__ import annotations

import numpy as np

from clearmargin.audit.alignment import halved
from clearmargin.audit.candidates import BITS, ORIENTATIONS
from clearmargin.records import Rows

_SIDE = 16
_COMPONENTS = 64
_FITTED = 1024  # images from which the components are learned
_AT_ONCE = 1024
_BLOCK = 8192


class Coarse:
    """Coarse pictures of images, whitened over the data.

    What all images share, such as the outline of a skull, counts for no more than what few have. Pictures are kept at
    512 bytes an image; whitened ones are made when they are asked for.
    """

    def __init__(self, miniatures: Rows, rows: np.ndarray) -> None:
        """Reduce the miniatures of ``rows``, and learn the components; the first rows must be a random sample."""
        self._pictures = np.empty((len(rows), _SIDE, _SIDE), np.float16)
        for start in range(0, len(rows), _AT_ONCE):
            block = halved(halved(miniatures.read(rows[start : start + _AT_ONCE])))
            block -= block.mean(axis=(1, 2), keepdims=True)
            block /= np.maximum(block.std(axis=(1, 2), keepdims=True), 1e-3)
            self._pictures[start : start + _AT_ONCE] = block
        sample = self._pictures[:_FITTED].astype(np.float32)
        flat = np.concatenate([oriented(sample, turn).reshape(len(sample), -1) for turn in range(ORIENTATIONS)])
        middle = flat.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov(flat - middle, rowvar=False))
        variance, axes = variance[::-1][:_COMPONENTS], axes[:, ::-1][:, :_COMPONENTS]
        # noise is not blown up beyond a floor
        spread = (axes * np.maximum(variance, 1e-3 * variance[0] + 1e-9) ** -0.5).astype(np.float32)
        # turning a picture and weighing its pixels is weighing its pixels with turned weights
        self._spreads = np.empty((ORIENTATIONS, *spread.shape), np.float32)
        for turn in range(ORIENTATIONS):
            places = oriented(np.arange(_SIDE * _SIDE).reshape(1, _SIDE, _SIDE), turn).ravel()
            self._spreads[turn, places] = spread
        self._shift = middle @ spread

    def __len__(self) -> int:
        return len(self._pictures)

    def whitened(self, rows: np.ndarray | slice, turn: int) -> np.ndarray:
        """Unit vectors of some images in one orientation: float32 of shape (rows, 64)."""
        pictures = self._pictures[rows].astype(np.float32).reshape(-1, _SIDE * _SIDE)
        vectors = pictures @ self._spreads[turn] - self._shift
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)

    def codes(self) -> np.ndarray:
        """Signs along random directions (Charikar 2002), packed: uint8 of shape (8, images, 16)."""
        directions = np.random.default_rng(0).standard_normal((self._spreads.shape[2], BITS), np.float32)
        codes = np.empty((ORIENTATIONS, len(self), BITS // 8), np.uint8)
        for start in range(0, len(self), _AT_ONCE):
            block = slice(start, start + _AT_ONCE)
            for turn in range(ORIENTATIONS):
                signs = self.whitened(block, turn) @ directions > 0
                codes[turn, block] = np.packbits(signs, axis=1, bitorder="little")
        return codes

    def cosines(self, pairs: np.ndarray) -> np.ndarray:
        """Cosine of each pair (first, second, orientation of the first): float32 of shape (pairs,)."""
        result = np.empty(len(pairs), np.float32)
        for turn in range(ORIENTATIONS):
            these = np.flatnonzero(pairs[:, 2] == turn)
            for start in range(0, len(these), 8 * _AT_ONCE):
                some = these[start : start + 8 * _AT_ONCE]
                first, second = self.whitened(pairs[some, 0], turn), self.whitened(pairs[some, 1], 0)
                result[some] = (first * second).sum(axis=1)
        return result

    def nearest(self, rows: np.ndarray, number: int) -> np.ndarray:
        """For each row the images most like it from afar, in any orientation: (row, other, orientation) of it.

        int64 of shape (rows, number, 3); ``number`` must be less than there are images.
        """
        asked = np.stack([self.whitened(rows, turn) for turn in range(ORIENTATIONS)], axis=1)  # (rows, 8, 64)
        best = np.full((len(rows), number), -2.0, np.float32)
        place = np.zeros((len(rows), number), np.int64)  # other · 8 + orientation
        for start in range(0, len(self), _BLOCK):
            block = self.whitened(slice(start, start + _BLOCK), 0)
            cosine = (block @ asked.reshape(-1, block.shape[1]).T).reshape(len(block), len(rows), ORIENTATIONS)
            own = (rows >= start) & (rows < start + len(block))
            cosine[rows[own] - start, np.flatnonzero(own)] = -2
            flat = np.ascontiguousarray(cosine.transpose(1, 0, 2)).reshape(len(rows), -1)
            both = np.concatenate((best, flat), axis=1)
            where = np.argpartition(-both, number - 1, axis=1)[:, :number]
            fresh = start * ORIENTATIONS + where - number
            place = np.where(where < number, np.take_along_axis(place, np.minimum(where, number - 1), axis=1), fresh)
            best = np.take_along_axis(both, where, axis=1)
        other, turn = np.divmod(place, ORIENTATIONS)
        return np.stack((np.broadcast_to(rows[:, None], other.shape), other, turn), axis=2)


def oriented(images: np.ndarray, orientation: int) -> np.ndarray:
    """Images of shape (n, side, side) in one of the eight orientations of a square."""
    return np.rot90(images[:, :, ::-1] if orientation >= 4 else images, orientation % 4, axes=(1, 2))
