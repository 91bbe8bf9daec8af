"""How a slice of the phantom is drawn: a head seen from above, as simple shapes, noise and one lesion.

Simulated, no clinical meaning. Lengths are in units of half the image's side, from -1 (left, forehead) to 1;
intensities run from 0 (black) to 1 (white). Every array here is of shape (size_px, size_px), float32.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from clearmargin.sources.phantom_patients import Anatomy, Lesion, smooth_noise


def draw_slice(
    random: np.random.Generator, anatomy: Anatomy, lesion: Lesion | None, level: float, reach: float
) -> np.ndarray:
    """Draw one slice: uint8 of shape (size_px, size_px).

    Parameters
    ----------
    level
        Height of the slice, from 0 (base) to 1 (vertex).
    reach
        How far the slice is from the lesion's middle: 0 in the middle, 1 at its end.
    """
    size_px = anatomy.folds.shape[-1]
    x, y = _head_coordinates(random, anatomy, size_px)
    depth = _depth(anatomy, x, y, level)
    turn = 2.2 * level  # neighbouring levels share most of their folds and texture
    folds = math.cos(turn) * anatomy.folds[0] + math.sin(turn) * anatomy.folds[1]
    texture = math.cos(turn) * anatomy.texture[0] + math.sin(turn) * anatomy.texture[1]
    x, y = x + 0.014 * texture, y + 0.014 * folds  # no line inside a head is straight
    image = _brain(anatomy, x, y, depth - anatomy.scalp - anatomy.skull - anatomy.gap, level, folds, texture)
    if lesion is not None:
        image = _with_lesion(image, lesion, anatomy, x, y, reach, smooth_noise(random, size_px, 0.035))
    image = _in_skull(image, anatomy, depth, texture)
    return _scanned(random, image, anatomy)


def _step(distance: np.ndarray, width: float) -> np.ndarray:
    """0 outside, 1 inside, smooth over ``width`` around distance 0."""
    share = np.clip(distance / width + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)  # several times faster than numpy.hypot, which guards against overflow


def _line(size_px: int) -> np.ndarray:
    """Where the middles of the pixels are; everything is drawn in float32, twice as fast as float64."""
    return ((np.arange(size_px) + 0.5) * 2 / size_px - 1).astype(np.float32)


def _head_coordinates(random: np.random.Generator, anatomy: Anatomy, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """X to the right and y to the back of the head, of every pixel."""
    line = _line(size_px)
    x = line[None, :] - anatomy.shift[0] - random.normal(0, 0.008)
    y = line[:, None] - anatomy.shift[1] - random.normal(0, 0.008)
    tilt = anatomy.tilt + random.normal(0, 0.015)
    return math.cos(tilt) * x + math.sin(tilt) * y, math.cos(tilt) * y - math.sin(tilt) * x


def _around(x: np.ndarray, y: np.ndarray, bulges: np.ndarray) -> np.ndarray:
    """Sum over the bulges n = 2, 3, … of a cos(n angle) + b sin(n angle)."""
    length = np.maximum(_length(x, y), 1e-9)
    cosine, sine = x / length, y / length
    turned, total = (cosine, sine), np.zeros_like(length)
    for along, across in bulges.tolist():
        # The angle once more: no trigonometry, and the same bits on every processor.
        turned = turned[0] * cosine - turned[1] * sine, turned[0] * sine + turned[1] * cosine
        total += along * turned[0] + across * turned[1]
    return total


def _depth(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, level: float) -> np.ndarray:
    """Distance below the skin; negative outside the head."""
    scale = 1 - 0.45 * max(0.0, level - 0.45) ** 1.5
    width, length = anatomy.half_width * scale, anatomy.half_length * scale
    # Narrower in front than behind, as heads are.
    across = x / (width * (1 + 0.07 * np.clip(y, -1, 1)))
    radius = _length(across, y / length)
    return (1 + _around(across, y / length, anatomy.outline) - radius) * width


def _ellipse(
    x: np.ndarray, y: np.ndarray, center: tuple[float, float], half: tuple[float, float], lean: float
) -> np.ndarray:
    """Distance inside an ellipse whose lower end leans to the right by ``lean`` (radians)."""
    dx, dy = x - center[0], y - center[1]
    along, across = math.cos(lean) * dy + math.sin(lean) * dx, math.cos(lean) * dx - math.sin(lean) * dy
    return (1 - _length(across / half[0], along / half[1])) * min(half)


def _brain(
    anatomy: Anatomy,
    x: np.ndarray,
    y: np.ndarray,
    depth: np.ndarray,
    level: float,
    folds: np.ndarray,
    texture: np.ndarray,
) -> np.ndarray:
    """Grey and white matter with folds, the fissure between the halves, and the fluid inside."""
    furrow = _step(0.12 - np.abs(folds), 0.2) * _step(0.13 + 0.05 * texture - depth, 0.08)
    # The ribbon of grey matter lines the surface and every furrow.
    ribbon = _step(0.07 + 0.02 * texture - depth, 0.04) + _step(0.42 - np.abs(folds), 0.25) * _step(0.2 - depth, 0.07)
    fissure = _step(0.012 - np.abs(x + 0.006 * folds), 0.025)
    lips = _step(0.065 - np.abs(x), 0.05)
    front, back = _step(-0.36 - y, 0.1), _step(y - 0.46, 0.1)
    split = np.maximum(np.maximum(front, back), _step(np.full(1, level - 0.72, np.float32), 0.2))
    grey = np.clip(ribbon + lips * split, 0, 1)
    for side in (-1, 1):
        nuclei = _ellipse(x, y, (side * 0.15, 0.06), (0.09, 0.15), side * 0.35)
        grey = np.maximum(grey, 0.8 * _step(nuclei, 0.04) * _middle(level, 0.42, 0.2))
    image = anatomy.white + (anatomy.grey - anatomy.white) * grey + 0.012 * texture
    fluid = np.maximum(_ventricles(anatomy, x, y, level), np.maximum(0.85 * furrow, 0.9 * fissure * split))
    fluid = np.maximum(fluid, _base(x, y, level))
    fluid = np.maximum(fluid, 1 - _step(depth, 0.03))
    for spot_x, spot_y, radius, light in anatomy.spots.tolist():
        image = image + light * _step(_ellipse(x, y, (spot_x, spot_y), (radius, radius), 0.0), 0.02)
    return image + (anatomy.fluid - image) * fluid


def _middle(level: float, center: float, half: float) -> float:
    """Fade from 1 at ``center`` to 0 at ``half`` above and below."""
    return max(0.0, 1 - ((level - center) / half) ** 2)


def _ventricles(anatomy: Anatomy, x: np.ndarray, y: np.ndarray, level: float) -> np.ndarray:
    open_ = _middle(level, 0.52, 0.3)
    filled = _step(_ellipse(x, y, (0.0, 0.05), (0.02, 0.1), 0.0), 0.03) * _middle(level, 0.4, 0.2)
    if not open_:
        return filled
    for side in (-1, 1):
        size = anatomy.ventricles * (1 + side * anatomy.lopsided) * math.sqrt(open_)
        front = _ellipse(x, y, (side * 0.075, -0.19), (0.045 * size, 0.13 * size), -side * 0.4)
        body = _ellipse(x, y, (side * 0.06, -0.02), (0.035 * size, 0.17 * size), side * 0.12)
        back = _ellipse(x, y, (side * 0.15, 0.22), (0.045 * size, 0.16 * size), side * 0.55)
        filled = np.maximum(filled, _step(np.maximum(np.maximum(front, back), body), 0.025))
    return filled


def _base(x: np.ndarray, y: np.ndarray, level: float) -> np.ndarray:
    """The cisterns around the brain stem, in low slices only."""
    seen = _middle(level, 0.15, 0.2)
    if not seen:
        return np.zeros_like(x)
    bulges = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.4, 0.5]])
    star = 0.075 * (1 + _around(x, y + 0.1, bulges)) - _length(x, y + 0.1)
    stem = 0.018 - np.abs(_ellipse(x, y, (0.0, 0.15), (0.14, 0.12), 0.0))
    valley = 0.016 + 0.03 * np.abs(x) - np.abs(y + 0.1 + 0.3 * np.abs(x) - 0.25 * x * x)
    valley = np.minimum(valley, np.abs(x) - 0.12)
    tent = np.minimum(0.014 - np.abs(y - 0.28 - 0.5 * np.abs(x)), np.abs(x) - 0.12)
    return seen * _step(np.maximum(np.maximum(star, 0.7 * stem), np.maximum(valley, tent)), 0.03)


def _with_lesion(
    image: np.ndarray, lesion: Lesion, anatomy: Anatomy, x: np.ndarray, y: np.ndarray, reach: float, ragged: np.ndarray
) -> np.ndarray:
    dx, dy = x - lesion.x * anatomy.half_width, y - lesion.y * anatomy.half_length
    radius = lesion.radius * math.sqrt(1 - 0.65 * reach * reach)
    edge = np.maximum(1 + _around(dx, dy, lesion.bulges) + lesion.ragged * ragged, 0.2)
    inside = 1 - _length(dx, dy) / (radius * edge)  # 1 in the middle, 0 at the edge
    image = image + lesion.halo * _step(inside + 0.5, 1.0)
    body = _step(inside, lesion.softness)
    if lesion.kind == "diffuse lesion":
        return np.maximum(image + lesion.light * body * (1 + 0.35 * ragged), 0.5 * anatomy.fluid)
    light = anatomy.white + lesion.light
    hollow = _step(inside - 0.36, 0.24) * lesion.core
    filling = light + (1.2 * anatomy.fluid - light) * hollow
    return image + (filling - image) * body


def _in_skull(image: np.ndarray, anatomy: Anatomy, depth: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Bone is dark with a trace of marrow, fat under the skin is bright, air is black."""
    bone_depth = depth - anatomy.scalp
    marrow = 0.05 + 0.1 * _step(anatomy.skull * 0.2 - np.abs(bone_depth - anatomy.skull * 0.5), 0.03)
    image = marrow + (image - marrow) * _step(bone_depth - anatomy.skull, 0.02)
    fat = anatomy.scalp_light * (1 + 0.08 * texture)
    image = fat + (image - fat) * _step(bone_depth, 0.02)
    return image * _step(depth, 0.025)


def _scanned(random: np.random.Generator, image: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """Blur, uneven coil sensitivity, and the noise of a magnitude image (Rician): uint8."""
    size_px = image.shape[0]
    line = _line(size_px)
    x, y = line[None, :], line[:, None]
    field = 1 + sum(
        weight * term
        for weight, term in zip(anatomy.bias.tolist(), (x, y, x * y, x * x - 0.3, y * y - 0.3), strict=True)
    )
    image = gaussian_filter(image, anatomy.blur_px) * np.maximum(field, 0.3) * anatomy.gain
    real = image + anatomy.noise * random.standard_normal(image.shape, np.float32)
    imaginary = anatomy.noise * random.standard_normal(image.shape, np.float32)
    return np.round(255 * np.clip(np.sqrt(real * real + imaginary * imaginary), 0, 1)).astype(np.uint8)
