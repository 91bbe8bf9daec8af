"""Arrays become pictures inside the page: PNG as data URIs, curves as SVG paths."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Scale = Literal["pixels", "signed", "positive"]
MIDDLE = 128  # the grey of zero on a signed scale


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, its size in pixels, and the range of the values it shows."""

    uri: str
    width: int
    height: int
    low: float
    high: float


def picture(values: np.ndarray, scale: Scale) -> Picture:
    """Encode values as a PNG.

    Parameters
    ----------
    values
        (height, width), or (height, width, 3) for colour.
    scale
        ``pixels``: 0 is black and 255 white, what lies outside is cut. ``signed``: 0 is mid-grey, the largest
        magnitude is black or white. ``positive``: 0 is black, the largest value white.
    """
    buffer = io.BytesIO()
    Image.fromarray(grey_levels(values, scale)).save(buffer, "PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(uri, values.shape[1], values.shape[0], float(values.min()), float(values.max()))


def grey_levels(values: np.ndarray, scale: Scale) -> np.ndarray:
    """uint8 of the same shape; the script of the page computes the same."""
    largest = float(np.abs(values).max()) or 1.0
    if scale == "signed":
        values = MIDDLE + 127 * values / largest
    elif scale == "positive":
        values = 255 * values / largest
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def scale_of(values: np.ndarray) -> Scale:
    """``signed`` as soon as a value is negative."""
    return "signed" if values.min() < 0 else "positive"


def svg_path(x: np.ndarray, y: np.ndarray) -> str:
    """The ``d`` of an SVG path through points, y upwards."""
    return "M" + "L".join(f"{across:g} {-up:.4g}" for across, up in zip(x, y, strict=True))
