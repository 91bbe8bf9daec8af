"""What an image looks like in a few numbers, measured once while it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from clearmargin.lettering import text_marks

UNIFORM = 12  # grey levels within which a line of pixels counts as blank, JPEG noise included
DARK, BRIGHT = 8, 247  # grey levels: at or below, at or above
_SHARPNESS_PX = 256  # sharpness is judged at about the size a network sees
_COLOUR_PX = 128
_LEVELS = np.arange(256, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Appearance:
    """Measured on the upright 8-bit image at its original size.

    Attributes
    ----------
    brightness, contrast
        Mean and standard deviation of the pixels, grey levels from 0 to 255.
    sharpness
        Root mean square of the Laplacian over the contrast, after shrinking to at most about 256 pixels: about 4.5 for
        noise, 0 for a plain or wholly blurred image.
    dark_share, bright_share
        Share of pixels that are nearly black (at most 8) and nearly white (at least 247).
    border_left_px, border_top_px, border_right_px, border_bottom_px
        Lines of one grey level, the same in all of them, at each side.
    edge_level
        Mean grey level of the outermost ring of pixels.
    margin_left, margin_top, margin_right, margin_bottom
        Blank lines at each side, in whatever brightness, as a share of the width or height.
    colourfulness
        Mean difference between the largest and smallest of red, green and blue; 0 for a grey image, however stored.
    text_marks
        How many letter-like marks stand in lines, as `lettering.text_marks` says.
    """

    brightness: float
    contrast: float
    sharpness: float
    dark_share: float
    bright_share: float
    border_left_px: int
    border_top_px: int
    border_right_px: int
    border_bottom_px: int
    edge_level: float
    margin_left: float
    margin_top: float
    margin_right: float
    margin_bottom: float
    colourfulness: float
    text_marks: int


def appearance(grey: Image.Image, colour: Image.Image | None = None) -> Appearance:
    """Measure an image.

    Parameters
    ----------
    grey
        Mode L, upright, at its original size.
    colour
        The same image in mode RGB, when it is stored so.
    """
    pixels = np.asarray(grey)
    height, width = pixels.shape
    counts = np.array(grey.histogram(), dtype=np.float64) / pixels.size
    mean = float(counts @ _LEVELS)
    contrast = max(0.0, float(counts @ _LEVELS**2) - mean**2) ** 0.5
    left, right, margin_left, margin_right = _sides(pixels, 0)
    top, bottom, margin_top, margin_bottom = _sides(pixels, 1)
    ring = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    return Appearance(
        brightness=round(mean, 3),
        contrast=round(contrast, 3),
        sharpness=round(_sharpness(grey), 4),
        dark_share=round(float(counts[: DARK + 1].sum()), 5),
        bright_share=round(float(counts[BRIGHT:].sum()), 5),
        border_left_px=left,
        border_top_px=top,
        border_right_px=right,
        border_bottom_px=bottom,
        edge_level=round(float(ring.mean()), 2),
        margin_left=round(margin_left / width, 4),
        margin_top=round(margin_top / height, 4),
        margin_right=round(margin_right / width, 4),
        margin_bottom=round(margin_bottom / height, 4),
        colourfulness=0.0 if colour is None else round(_colourfulness(colour), 3),
        text_marks=text_marks(pixels),
    )


def margins(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Blank lines at the left, the top, the right and the bottom, each in whatever brightness.

    Parameters
    ----------
    pixels
        uint8 of shape (height, width). When all is blank, every margin is as wide as the image.
    """
    _, _, left, right = _sides(pixels, 0)
    _, _, top, bottom = _sides(pixels, 1)
    return left, top, right, bottom


def _sides(pixels: np.ndarray, axis: int) -> tuple[int, int, int, int]:
    """Lines across an axis: even in one grey level at the start and at the end, and blank ones at both."""
    low, high = pixels.min(axis=axis), pixels.max(axis=axis)
    busy = (high - low) > UNIFORM
    first = int(busy.argmax())
    if not busy[first]:
        return len(busy), len(busy), len(busy), len(busy)  # nothing but blank lines
    last = int(busy[::-1].argmax())
    if not first and not last:
        return 0, 0, 0, 0
    levels = (low.astype(np.int16) + high) // 2
    return _even(levels[:first]), _even(levels[::-1][:last]), first, last


def _even(levels: np.ndarray) -> int:
    """How many of the first grey levels are like the very first."""
    other = np.abs(levels - levels[:1]) > UNIFORM
    return int(other.argmax()) if other.any() else len(levels)


def _sharpness(grey: Image.Image) -> float:
    factor = max(1, round(max(grey.size) / _SHARPNESS_PX))
    values = np.asarray(grey.reduce(factor) if factor > 1 else grey).astype(np.int16)
    if min(values.shape) < 3:
        return 0.0
    middle = values[1:-1, 1:-1]
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1]
    laplacian += values[1:-1, :-2]
    laplacian += values[1:-1, 2:]
    laplacian -= middle * 4
    flat, around = laplacian.astype(np.float32).ravel(), middle.astype(np.float32).ravel()
    spread = float(around @ around) / around.size - float(around.mean()) ** 2
    return (float(flat @ flat) / flat.size / spread) ** 0.5 if spread > 1 else 0.0


def _colourfulness(colour: Image.Image) -> float:
    factor = max(1, max(colour.size) // _COLOUR_PX)
    red, green, blue = (np.asarray(band) for band in (colour.reduce(factor) if factor > 1 else colour).split())
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((largest - smallest).mean())
