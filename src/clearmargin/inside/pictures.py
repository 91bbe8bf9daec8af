"""Filters, maps and overlays as small pictures in the bytes of a PNG or JPEG file."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

TILE_PX = 84  # of a feature map
FILTER_PX = 36
LOOK_PX = 168
MOST_FILTERS = 64
_GAP_PX = 4
_FILTERS_A_ROW = 16
_CLEAR = 0  # palette place of what is transparent


def filters_png(weights: np.ndarray) -> bytes:
    """Kernels side by side, each stretched alike in both directions: mid-grey is zero, bright positive, dark negative.

    Parameters
    ----------
    weights
        float, (filters, channels, height, width). Three channels are drawn as red, green and blue; of any other
        number the mean is drawn.
    """
    shown = weights[:MOST_FILTERS]
    kernels = shown if shown.shape[1] == 3 else shown.mean(axis=1, keepdims=True)
    largest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    scaled = 0.5 + kernels / (2 * np.where(largest > 0, largest, 1))  # (filters, channels, height, width)
    tiles = np.round(255 * scaled).astype(np.uint8).transpose(0, 2, 3, 1).repeat(4 - scaled.shape[1], axis=3)[..., :3]
    times = max(1, FILTER_PX // max(tiles.shape[1:3]))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    opaque = np.concatenate([tiles, np.full((*tiles.shape[:3], 1), 255, np.uint8)], axis=3)
    return _png(Image.fromarray(_sheet(opaque, min(_FILTERS_A_ROW, len(opaque)))))


def maps_png(maps: np.ndarray) -> bytes:
    """Feature maps side by side in the colours of viridis, each stretched from its smallest to its largest value.

    Parameters
    ----------
    maps
        float, (channels, height, width).
    """
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    levels = 1 + np.round(254 * (maps - low) / np.where(high > low, high - low, 1))
    tiles = np.stack([_tile(level.astype(np.uint8)) for level in levels])
    image = Image.fromarray(_sheet(tiles[..., None], len(tiles))[..., 0])
    image.putpalette([0, 0, 0, *_colors("viridis")[1:].ravel().tolist()])
    return _png(image, transparency=_CLEAR)


def _tile(level: np.ndarray) -> np.ndarray:
    """Bring a map to about `TILE_PX`: small ones by whole factors, so that their values stay visible squares."""
    side = max(level.shape)
    if side > TILE_PX:
        scale = TILE_PX / side
        size = max(1, round(level.shape[1] * scale)), max(1, round(level.shape[0] * scale))
        return np.asarray(Image.fromarray(level).resize(size, Image.Resampling.BOX))
    times = TILE_PX // side
    return level.repeat(times, axis=0).repeat(times, axis=1)


def _sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Put tiles (n, height, width, channels) on one sheet, with clear gaps between them."""
    count, height, width, channels = tiles.shape
    lines = -(-count // columns)
    shape = (lines * (height + _GAP_PX) - _GAP_PX, columns * (width + _GAP_PX) - _GAP_PX, channels)
    sheet = np.zeros(shape, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + _GAP_PX), place % columns * (width + _GAP_PX)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def picture_png(pixels: np.ndarray, most_px: int = LOOK_PX) -> bytes:
    """An image, uint8 (height, width, 1 or 3), made smaller when it is larger than ``most_px``."""
    image = _image(pixels)
    image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    return _png(image)


def overlay_jpeg(pixels: np.ndarray, heat: np.ndarray) -> bytes:
    """An image in grey under a map of heat, which runs from clear over violet and orange to yellow.

    Parameters
    ----------
    pixels
        uint8, (height, width, 1 or 3).
    heat
        float, not negative, of any smaller size; stretched to its largest value.
    """
    image = _image(pixels).convert("L")
    side = max(image.size)
    scale = LOOK_PX / side if side > LOOK_PX else LOOK_PX // side
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    gray = np.asarray(image.resize(size, smooth), dtype=np.float64)[..., None]
    largest = heat.max()
    share = _enlarged(heat / largest if largest > 0 else heat, size)
    color = _colors("inferno")[np.round(255 * share).astype(int)]
    weight = 0.85 * np.sqrt(share)[..., None]  # what is cold stays clear
    mixed = (1 - weight) * 0.8 * gray + weight * color
    buffer = io.BytesIO()
    Image.fromarray(np.round(mixed).astype(np.uint8)).save(buffer, "JPEG", quality=88, optimize=True)
    return buffer.getvalue()


def heat_webp(heat: np.ndarray, size: tuple[int, int]) -> bytes:
    """A map of heat to lay over a picture: clear where it is cold, over violet and orange to yellow.

    Parameters
    ----------
    heat
        float, not negative, of any smaller size; stretched to its largest value, which must be above zero.
    size
        (width, height) of the picture, pixels.
    """
    share = _enlarged(heat / heat.max(), size)
    clear = np.round(255 * np.sqrt(share)).astype(np.uint8)[..., None]
    color = _colors("inferno")[np.round(255 * share).astype(int)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([color, clear], axis=2)).save(buffer, "WEBP", quality=88)
    return buffer.getvalue()


def _enlarged(share: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map of values from 0 to 1, smoothly enlarged: float64, (height, width)."""
    smooth = Image.fromarray(share.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(smooth, dtype=np.float64).clip(0, 1)


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


@cache
def _colors(name: str) -> np.ndarray:
    """uint8, (256, 3)."""
    from matplotlib import colormaps

    return np.round(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()
