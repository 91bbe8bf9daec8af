"""A small grey picture of an image's content, by which copies of it are found."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE_PX = 64
_UNIFORM = 12  # grey levels within which a line of pixels counts as blank
_BLURRED = 0.03  # of a side: most that goes beside a blank frame
_LEAST_PX = 8  # no side is trimmed below this
_WORKING_PX = 128  # where the content lies is measured at this size or up to twice of it
_LEFT_OUT = 0.01  # of all contrast, at each end of each side


def miniature(grey: Image.Image) -> np.ndarray:
    """Cut a blank frame off, find where the content is, and stretch that to a square.

    Parameters
    ----------
    grey
        Mode L, upright, at its original size.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (64, 64).
    """
    whole = (0, 0, grey.width, grey.height)
    frameless = frameless_box(np.asarray(grey))
    inner = grey if frameless == whole else grey.crop(frameless)
    factor = min(inner.size) // _WORKING_PX
    if factor > 1:
        inner = inner.reduce(factor)
    box = content_box(np.asarray(inner))
    return np.asarray(inner.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box))


def frameless_box(grey: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is left without a blank frame: pixels, the end ones excluded.

    A frame is blank when every line of it is, in whatever brightness; frames within frames go too. Where one was, the
    lines beside it that are mostly of its colour go as well: lossy storing blurs the inner edge of a frame.

    Parameters
    ----------
    grey
        uint8 of shape (height, width).
    """
    box = _trimmed(grey, (0, 0, grey.shape[1], grey.shape[0]))
    for turns in range(4):  # each side in turn is made the first
        turned, sides = np.rot90(grey, turns), _turned(box, grey.shape, turns)
        blurred = _blurred_lines(turned[:, sides[0] : sides[2]], sides[1])
        if blurred:
            box = _turned((sides[0], sides[1] + blurred, *sides[2:]), turned.shape, 4 - turns)
    return _trimmed(grey, box)


def _trimmed(grey: np.ndarray, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Take blank lines off the sides of a box until there are none."""
    left, top, right, bottom = box
    while True:
        inner = grey[top:bottom, left:right]
        above, below = _ends(inner.max(axis=1) - inner.min(axis=1) > _UNIFORM)
        before, behind = _ends(inner.max(axis=0) - inner.min(axis=0) > _UNIFORM)
        if (behind - before, below - above) == (right - left, bottom - top):
            return left, top, right, bottom
        left, top, right, bottom = left + before, top + above, left + behind, top + below


def _ends(busy: np.ndarray) -> tuple[int, int]:
    """First busy line and the one after the last; all of them when too few would be left."""
    places = busy.nonzero()[0]
    if len(places) == 0 or places[-1] + 1 - places[0] < _LEAST_PX:
        return 0, len(busy)
    return int(places[0]), int(places[-1]) + 1


def _blurred_lines(lines: np.ndarray, top: int) -> int:
    """How many lines from ``top`` on are mostly of the colour of the frame above them, and two more for the blur."""
    most = int(len(lines) * _BLURRED)
    if top == 0 or most == 0:
        return 0
    colour = np.median(lines[top - 1])
    if colour - lines.min() <= 2 * _UNIFORM:
        return 0  # a dark frame and the dark margin of a scan are one
    away = np.abs(np.median(lines[top : top + most], axis=1) - colour)
    like = int((away <= _UNIFORM).cumprod().sum())
    return min(like + 2, most)


def _turned(box: tuple[int, int, int, int], shape: tuple[int, ...], turns: int) -> tuple[int, int, int, int]:
    """A box after `numpy.rot90` of an array of a shape."""
    left, top, right, bottom = box
    height, width = shape
    for _ in range(turns % 4):
        left, top, right, bottom = top, width - right, bottom, width - left
        height, width = width, height
    return left, top, right, bottom


def content_box(grey: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom between which nearly all contrast lies, in fractions of pixels.

    Contrast is the squared gradient. Its quantiles move little when an image is brightened, stored again with loss or
    given a margin, unlike the outermost pixel above a threshold.

    Parameters
    ----------
    grey
        uint8 of shape (height, width).
    """
    height, width = grey.shape
    if min(height, width) < _LEAST_PX:
        return 0, 0, width, height
    values = grey.astype(np.float32)
    across, down = values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1]
    contrast = across * across + down * down
    left, right = _quantiles(contrast.sum(axis=0), width)
    top, bottom = _quantiles(contrast.sum(axis=1), height)
    return left, top, right, bottom


def _quantiles(contrast: np.ndarray, length: int) -> tuple[float, float]:
    """Where the inner part of the contrast begins and ends; all of the length when there is next to nothing."""
    grown = np.concatenate(([0.0], contrast.cumsum(dtype=np.float64)))
    total = float(grown[-1])
    start, end = np.interp((_LEFT_OUT * total, (1 - _LEFT_OUT) * total), grown, np.arange(1.0, length))
    return (float(start), float(end)) if total > 0 and end - start >= _LEAST_PX / 2 else (0.0, float(length))
