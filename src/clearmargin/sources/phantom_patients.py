"""Who the phantom's patients are: anatomy, lesion and slices, drawn at random from a seed.

Simulated, no clinical meaning. Lengths are in units of half the image's side; intensities run from 0 (black) to
1 (white).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter

Kind = Literal["no lesion", "rim lesion", "diffuse lesion", "nodule"]
KINDS: tuple[Kind, ...] = ("no lesion", "rim lesion", "diffuse lesion", "nodule")


@dataclass(frozen=True)
class Anatomy:
    """What all slices of one patient share; ``folds`` and ``texture`` are pairs of smooth noise fields."""

    half_width: float
    half_length: float
    tilt: float
    shift: tuple[float, float]
    outline: np.ndarray  # (3, 2): cosine and sine of two, three and four bulges around the head
    scalp: float
    skull: float
    gap: float
    scalp_light: float
    white: float
    grey: float
    fluid: float
    ventricles: float
    lopsided: float
    bias: np.ndarray  # (5,): x, y, xy, x squared, y squared
    noise: float
    blur_px: float
    gain: float
    folds: np.ndarray  # (2, size_px, size_px)
    texture: np.ndarray  # (2, size_px, size_px)
    spots: np.ndarray  # (spots, 4): x, y, radius, brightness


@dataclass(frozen=True)
class Lesion:
    """One lesion, in the middle of its extent."""

    kind: Kind
    x: float
    y: float
    radius: float
    bulges: np.ndarray  # (4, 2): cosine and sine of two to five bulges around it
    light: float
    core: float
    softness: float
    ragged: float
    halo: float


def _draw_anatomy(random: np.random.Generator, size_px: int) -> Anatomy:
    """Draw one patient's anatomy and the scanner's manner."""
    white = random.uniform(0.48, 0.64)
    half_length = random.uniform(0.84, 0.93)
    count = random.integers(0, 3)
    spots = np.column_stack(
        [
            random.uniform(-0.5, 0.5, count),
            random.uniform(-0.6, 0.6, count),
            random.uniform(0.02, 0.045, count),
            random.uniform(0.05, 0.2, count),
        ]
    )
    return Anatomy(
        half_width=half_length * random.uniform(0.76, 0.88),
        half_length=half_length,
        tilt=random.normal(0, 0.09),
        shift=(random.normal(0, 0.025), random.normal(0, 0.025)),
        outline=random.normal(0, 0.012, (3, 2)) / [[1], [1.5], [2.5]],
        scalp=random.uniform(0.04, 0.08),
        skull=random.uniform(0.035, 0.06),
        gap=random.uniform(0.015, 0.05),
        scalp_light=random.uniform(0.6, 0.95),
        white=white,
        grey=white - random.uniform(0.12, 0.2),
        fluid=random.uniform(0.08, 0.2),
        ventricles=random.uniform(0.75, 1.35),
        lopsided=random.normal(0, 0.12),
        bias=random.normal(0, 0.07, 5),
        noise=random.uniform(0.015, 0.045),
        blur_px=random.uniform(0.45, 0.9) * size_px / 128,
        gain=random.uniform(0.9, 1.1),
        folds=np.stack([smooth_noise(random, size_px, 0.022) for _ in range(2)]),
        texture=np.stack([smooth_noise(random, size_px, 0.05) for _ in range(2)]),
        spots=spots,
    )


# Lowest and highest value of each field of a lesion. The kinds overlap on purpose: a small ring with little of
# a core looks like a nodule, a dense diffuse lesion like a blurred ring.
_LESIONS: dict[Kind, dict[str, tuple[float, float]]] = {
    "rim lesion": {
        "radius": (0.13, 0.25),
        "light": (0.2, 0.44),
        "core": (0.25, 1.0),
        "softness": (0.15, 0.3),
        "ragged": (0.0, 0.1),
        "halo": (-0.16, -0.04),
    },
    "diffuse lesion": {
        "radius": (0.2, 0.36),
        "light": (0.16, 0.32),
        "core": (0.0, 0.0),
        "softness": (0.4, 1.1),
        "ragged": (0.15, 0.4),
        "halo": (-0.06, 0.0),
    },
    "nodule": {
        "radius": (0.08, 0.16),
        "light": (0.2, 0.46),
        "core": (0.0, 0.2),
        "softness": (0.1, 0.25),
        "ragged": (0.0, 0.0),
        "halo": (-0.08, 0.0),
    },
}
_BULGES: dict[Kind, float] = {"rim lesion": 0.06, "diffuse lesion": 0.12, "nodule": 0.025}


def _draw_lesion(random: np.random.Generator, kind: Kind) -> Lesion | None:
    """Draw the lesion of one patient: most nodules near the midline, everything else within one half."""
    if kind == "no lesion":
        return None
    if kind == "nodule" and random.random() < 0.75:
        x, y = random.normal(0, 0.07), random.uniform(-0.35, 0.3)
    else:
        side, away, angle = random.integers(2) * 2 - 1, random.uniform(0.3, 0.52), random.uniform(-1.2, 1.2)
        x, y = float(side * away * math.cos(angle)), 1.15 * away * math.sin(angle)
    fields = {name: random.uniform(low, high) for name, (low, high) in _LESIONS[kind].items()}
    if kind == "diffuse lesion" and random.random() < 0.2:
        fields["light"] *= -0.8  # darker than what surrounds it
    return Lesion(kind, x, y, bulges=random.normal(0, _BULGES[kind], (4, 2)) / [[1.0], [1.4], [1.9], [2.5]], **fields)


@dataclass(frozen=True)
class Patient:
    """One simulated patient; ``levels`` and ``reaches`` as `draw_slice` wants them, for every slice."""

    anatomy: Anatomy
    lesion: Lesion | None
    levels: list[float]
    reaches: list[float]


@lru_cache(maxsize=8)
def draw_patient(seed: int, patient: int, size_px: int, kind: Kind, count: int) -> Patient:
    """Draw patient number ``patient`` of a phantom, with ``count`` slices (at least 2)."""
    random = np.random.default_rng([seed, patient])
    anatomy = _draw_anatomy(random, size_px)
    lesion = _draw_lesion(random, kind)
    lowest, spacing = random.uniform(0.15, 0.45), random.uniform(0.05, 0.09)
    middle = random.uniform(0.3, 0.7) * (count - 1)
    farthest = max(middle, count - 1 - middle)
    return Patient(
        anatomy,
        lesion,
        levels=[lowest + number * spacing for number in range(count)],
        reaches=[abs(number - middle) / farthest for number in range(count)],
    )


def smooth_noise(random: np.random.Generator, size_px: int, width: float) -> np.ndarray:
    """Noise of unit variance whose grain is ``width`` of the image's side: float32 of shape (size_px, size_px)."""
    sigma = width * size_px
    noise = gaussian_filter(random.standard_normal((size_px, size_px), np.float32), sigma, mode="wrap")
    # White noise of unit variance comes out of the filter with a deviation of 1 / (2 sqrt(pi) sigma).
    return noise * (2 * math.sqrt(math.pi) * sigma)
