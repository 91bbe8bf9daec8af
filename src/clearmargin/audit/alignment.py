"""How alike two miniatures are once brightness, contrast, position and size have been evened out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clearmargin.cores import available_cores
from clearmargin.records import Rows

_SIDE = 32
_PAIRS = 256  # at once: what is computed for them stays in the processor's cache
_STEPS = 3
_RIM = 2  # pixels at the edge, of which a shifted copy knows nothing
_LARGEST_SHIFT = 0.12  # of the side, at the edge
_FINE = 4  # half the window, in pixels, whose mean is taken away
_UNPROMISING = 0.2  # similarity before any alignment below which none is tried
_HOPELESS = 0.5  # similarity after the first step below which no other is taken
_EVEN = 0.5  # of the overall contrast, added to the local one


def similarities(
    miniatures: Rows, rows: np.ndarray, pairs: np.ndarray, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Correlation of the fine structure of pairs after alignment.

    Gauss-Newton steps (Lucas & Kanade 1981) fit brightness, contrast, shift and stretch of the first to the second.
    Then the local mean is taken away and the local contrast evened out: what is left of two strangers' slices, whose
    outlines are alike, does not agree.

    Parameters
    ----------
    miniatures
        uint8 of shape (images, 64, 64).
    rows
        Which image an index in ``pairs`` stands for.
    pairs
        int64 of shape (pairs, 3): first, second, and the orientation of the first.
    progress
        Called with (pairs done, pairs there are).
    """
    blocks = [pairs[start : start + _PAIRS] for start in range(0, len(pairs), _PAIRS)]
    if not blocks:
        return np.empty(0)
    with ThreadPoolExecutor(min(available_cores(), len(blocks))) as pool:  # numpy frees the interpreter
        found = []
        for made in pool.map(lambda block: _block_similarities(miniatures, rows, block), blocks):
            found.append(made)
            if progress is not None:
                progress(min(len(found) * _PAIRS, len(pairs)), len(pairs))
    return np.concatenate(found)


def _block_similarities(miniatures: Rows, rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    first, second = (halved(miniatures.read(rows[pairs[:, side]])) for side in (0, 1))
    for orientation in np.unique(pairs[:, 2]):
        these = pairs[:, 2] == orientation
        turned = first[these][:, :, ::-1] if orientation >= 4 else first[these]
        first[these] = np.rot90(turned, orientation % 4, axes=(1, 2))
    return _aligned_similarity(first, second).astype(np.float64)


def halved(images: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, float32."""
    upper, lower = images[:, ::2].astype(np.float32), images[:, 1::2].astype(np.float32)
    lines = upper + lower
    return (lines[:, :, ::2] + lines[:, :, 1::2]) / 4


def _aligned_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 of shape (pairs,) for images of shape (pairs, 32, 32)."""
    place = np.linspace(-1, 1, _SIDE, dtype=np.float32)
    shift = np.zeros((len(first), 4), np.float32)  # across: constant, growing to the edge; down: the same
    fine = _fine(second)
    best = _correlation(_fine(first), fine)
    left = np.flatnonzero(best >= _UNPROMISING)  # pairs that can still turn out to be copies
    for step in range(_STEPS):
        if not len(left):
            break
        here = first[left] if step == 0 else _moved(first[left], shift[left], place)
        change = _step(here, second[left], place)
        shift[left] = np.clip(shift[left] + change, -_LARGEST_SHIFT * _SIDE, _LARGEST_SHIFT * _SIDE)
        if step != 1:  # after the first step the hopeless are left out, after the last it counts
            reached = _correlation(_fine(_moved(first[left], shift[left], place)), fine[left])
            best[left] = np.maximum(best[left], reached)
            left = left[best[left] >= _HOPELESS]
    return best


def _step(moved: np.ndarray, target: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Least squares of the target on [1, image, slopes, slopes × place]: the shifts, float32 (pairs, 4)."""
    down, across = np.gradient(moved, axis=(1, 2))
    inner = slice(_RIM, -_RIM)
    columns = [moved, across, across * place, down, down * place[:, None]]
    design = np.stack([column[:, inner, inner].reshape(len(moved), -1) for column in columns], axis=1)
    design -= design.mean(axis=2, keepdims=True)
    wanted = target[:, inner, inner].reshape(len(moved), -1, 1)
    normal = design @ design.transpose(0, 2, 1)
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    fit = np.linalg.solve(normal + (1e-4 * scale + 1e-6) * np.eye(5, dtype=np.float32), design @ wanted)[..., 0]
    gain = np.where(np.abs(fit[:, :1]) > 0.2, fit[:, :1], 0.2)
    return np.clip(fit[:, 1:] / gain, -2, 2)


def _moved(images: np.ndarray, shift: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Images read at shifted places, bilinearly; beyond the edge, the edge."""
    across, down = (_reading(shift[:, k], shift[:, k + 1], place) for k in (0, 2))
    return down @ images @ across.transpose(0, 2, 1)


def _reading(constant: np.ndarray, growing: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Matrices of shape (pairs, 32, 32) that read a line of pixels at shifted places."""
    pixels = np.arange(_SIDE, dtype=np.float32)
    at = np.clip(pixels + constant[:, None] + growing[:, None] * place, 0, _SIDE - 1)
    return np.maximum(0, 1 - np.abs(at[:, :, None] - pixels))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    norm = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
    return (first * second).sum(axis=(1, 2)) / np.maximum(norm, 1e-6)


def _fine(images: np.ndarray) -> np.ndarray:
    """What is left without the local mean, over the local contrast, without the rim."""
    fine = images - _WINDOW @ images @ _WINDOW.T
    power = _WINDOW @ (fine * fine) @ _WINDOW.T
    overall = np.sqrt(power.mean(axis=(1, 2), keepdims=True))
    even = fine / (np.sqrt(power) + _EVEN * overall + 1e-3)
    even = even[:, _RIM:-_RIM, _RIM:-_RIM]
    return even - even.mean(axis=(1, 2), keepdims=True)


def _window() -> np.ndarray:
    """Matrix (32, 32) that takes the mean of a window around each pixel; beyond the edge, the edge."""
    at = np.arange(_SIDE)[:, None] + np.arange(-_FINE, _FINE + 1)
    return np.eye(_SIDE, dtype=np.float32)[np.clip(at, 0, _SIDE - 1)].mean(axis=1)


_WINDOW = _window()
