"""What an image looks like in a few numbers, measured once while it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from clearmargin.lettering import LEAST_PX, text_marks

UNIFORM = 12  # grey levels within which a line of pixels counts as blank, JPEG noise included
DARK, BRIGHT = 8, 247  # grey levels: at or below, at or above
_SHARPNESS_PX = 256  # sharpness is judged at about the size a network sees
_COLOUR_PX = 128
_HISTOGRAM_PIXELS = 128**2  # from here on Pillow counts faster
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
    pixels = np.asarray(grey)[None]
    large = pixels[0].size > _HISTOGRAM_PIXELS
    counts = np.array([grey.histogram()], dtype=np.float64) if large else _histograms(pixels)
    shrunk = _shrunk(grey, max(1, round(max(grey.size) / _SHARPNESS_PX)))
    rgb = None if colour is None else _shrunk(colour, max(1, max(colour.size) // _COLOUR_PX))
    return _measured(pixels, counts, shrunk, rgb)[0]


def appearances(pixels: np.ndarray, rgb: np.ndarray | None = None) -> list[Appearance]:
    """Measure tiny images of one size together: the same as `appearance` of each, many times faster.

    All sums are of whole numbers below 2^53, so that an image's measures do not depend on what it is measured with.

    Parameters
    ----------
    pixels
        Grey, uint8 of shape (images, height, width), neither side above 128.
    rgb
        The same in colours, uint8 of shape (images, height, width, 3), when they are stored so.
    """
    return _measured(pixels, _histograms(pixels), pixels, rgb)


def _shrunk(image: Image.Image, factor: int) -> np.ndarray:
    """Pixels, uint8 of shape (1, height, width[, 3])."""
    return np.asarray(image.reduce(factor) if factor > 1 else image)[None]


def _measured(pixels: np.ndarray, counts: np.ndarray, shrunk: np.ndarray, rgb: np.ndarray | None) -> list[Appearance]:
    """Appearances by grey pixels, how often each level occurs, pixels to judge sharpness by, and those for colours."""
    height, width = pixels.shape[1:]
    size = height * width
    mean = counts @ _LEVELS / size
    left, right, margin_left, margin_right = _sides(pixels, 1)
    top, bottom, margin_top, margin_bottom = _sides(pixels, 2)
    ring = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    none = np.zeros(len(pixels))
    columns = (
        mean.round(3),
        np.sqrt(np.maximum(0, counts @ _LEVELS**2 / size - mean**2)).round(3),
        _sharpness(shrunk).round(4),
        (counts[:, : DARK + 1].sum(axis=1) / size).round(5),
        (counts[:, BRIGHT:].sum(axis=1) / size).round(5),
        *(left, top, right, bottom),
        (sum(side.sum(axis=1) for side in ring) / (2 * (height + width))).round(2),
        *((margin_left / width).round(4), (margin_top / height).round(4)),
        *((margin_right / width).round(4), (margin_bottom / height).round(4)),
        none if rgb is None else _colourfulness(rgb).round(3),
    )
    marks = [text_marks(one) for one in pixels] if min(width, height) >= LEAST_PX else [0] * len(pixels)
    return [Appearance(*row) for row in zip(*(column.tolist() for column in columns), marks, strict=True)]


def margins(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Blank lines at the left, the top, the right and the bottom, each in whatever brightness.

    Parameters
    ----------
    pixels
        uint8 of shape (height, width). When all is blank, every margin is as wide as the image.
    """
    _, _, left, right = _sides(pixels[None], 1)
    _, _, top, bottom = _sides(pixels[None], 2)
    return int(left[0]), int(top[0]), int(right[0]), int(bottom[0])


def _histograms(pixels: np.ndarray) -> np.ndarray:
    """How often each of the 256 levels occurs in each image, float64 of shape (images, 256)."""
    places = pixels.reshape(len(pixels), -1) + 256 * np.arange(len(pixels))[:, None]
    return np.bincount(places.ravel(), minlength=256 * len(pixels)).reshape(-1, 256).astype(np.float64)


def _sides(pixels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines across an axis: even in one grey level at the start and at the end, and blank ones at both.

    Each int64 of shape (images,); as long as the image where nothing but blank lines is in it.
    """
    low, high = pixels.min(axis=axis), pixels.max(axis=axis)  # (images, lines)
    busy = (high - low) > UNIFORM
    blank = ~busy.any(axis=1)
    first = np.where(blank, busy.shape[1], busy.argmax(axis=1))
    last = np.where(blank, busy.shape[1], busy[:, ::-1].argmax(axis=1))
    levels = (low.astype(np.int16) + high) // 2
    even_first, even_last = np.minimum(_even(levels), first), np.minimum(_even(levels[:, ::-1]), last)
    return np.where(blank, first, even_first), np.where(blank, last, even_last), first, last


def _even(levels: np.ndarray) -> np.ndarray:
    """How many of the first grey levels of each image are like its very first, of shape (images,)."""
    other = np.abs(levels - levels[:, :1]) > UNIFORM
    return np.where(other.any(axis=1), other.argmax(axis=1), levels.shape[1])


def _sharpness(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.int16)
    if min(values.shape[1:]) < 3:
        return np.zeros(len(values))
    middle = values[:, 1:-1, 1:-1]
    laplacian = values[:, :-2, 1:-1] + values[:, 2:, 1:-1]
    laplacian += values[:, 1:-1, :-2]
    laplacian += values[:, 1:-1, 2:]
    laplacian -= middle * 4
    flat, around = (one.reshape(len(values), -1) for one in (laplacian, middle))
    steps, squares = (np.einsum("ij,ij->i", one, one, dtype=np.int64) / one.shape[1] for one in (flat, around))
    spread = squares - (around.sum(axis=1) / around.shape[1]) ** 2
    return np.where(spread > 1, np.sqrt(steps / np.maximum(spread, 1)), 0.0)


def _colourfulness(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = (np.ascontiguousarray(pixels[..., band]) for band in range(3))
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return (largest - smallest).reshape(len(pixels), -1).mean(axis=1)
