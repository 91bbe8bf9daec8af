"""A small grey picture of an image's content, by which copies of it are found."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE_PX = 64
_UNIFORM = 12  # grey levels within which a line of pixels counts as blank
_LEAST_PX = 8  # no side is trimmed below this


def miniature(grey: Image.Image) -> np.ndarray:
    """Cut off the blank margin and stretch the rest to a square.

    Parameters
    ----------
    grey
        Mode L, upright, at its original size.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (64, 64).
    """
    box = content_box(np.asarray(grey))
    return np.asarray(grey.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0))


def content_box(grey: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is left without a blank margin: pixels, the end ones excluded.

    A margin is blank when every line of it is, in whatever brightness; a white frame around a black margin goes too.

    Parameters
    ----------
    grey
        uint8 of shape (height, width).
    """
    lines, columns = (np.ptp(grey, axis=axis) > _UNIFORM for axis in (1, 0))
    top, bottom = _ends(lines)
    left, right = _ends(columns)
    return left, top, right, bottom


def _ends(busy: np.ndarray) -> tuple[int, int]:
    """First busy line and the one after the last; all of them when too few would be left."""
    places = np.flatnonzero(busy)
    if len(places) == 0 or places[-1] + 1 - places[0] < _LEAST_PX:
        return 0, len(busy)
    return int(places[0]), int(places[-1]) + 1
