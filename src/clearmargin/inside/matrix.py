"""An image as the numbers it is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SIDE = 32  # more numbers in a row can't be read; a larger image is averaged


def image_matrix(pixels: np.ndarray) -> dict[str, Any]:
    """The numbers of an image, from 0 (black) to 255 (white).

    Parameters
    ----------
    pixels
        uint8, (height, width, 1 or 3).

    Returns
    -------
    ``block_px``: 1, or the side of the squares of pixels that were averaged, for an image of more than `SIDE` pixels;
    ``channels``: a list of ``name`` and ``rows`` (lists of whole numbers). One channel ``gray`` when all channels
    are equal or pixels were averaged, else ``red``, ``green`` and ``blue``.
    """
    side = max(pixels.shape[:2])
    block = _block(side)
    if block > 1:
        brightness = pixels.mean(axis=2, dtype=np.float64)
        height, width = (length // block for length in brightness.shape)
        squares = brightness[: height * block, : width * block].reshape(height, block, width, block)
        return {"block_px": block, "channels": [_channel("gray", np.round(squares.mean(axis=(1, 3))))]}
    if (pixels == pixels[..., :1]).all():
        return {"block_px": 1, "channels": [_channel("gray", pixels[..., 0])]}
    names = ("red", "green", "blue")
    return {"block_px": 1, "channels": [_channel(name, pixels[..., place]) for place, name in enumerate(names)]}


def _block(side: int) -> int:
    """The smallest block that leaves at most `SIDE` numbers; one that divides the side when there is one near."""
    smallest = math.ceil(side / SIDE)
    return next((block for block in range(smallest, 2 * smallest) if side % block == 0), smallest)


def _channel(name: str, values: np.ndarray) -> dict[str, Any]:
    return {"name": name, "rows": values.astype(int).tolist()}
