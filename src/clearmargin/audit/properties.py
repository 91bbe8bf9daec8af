"""Properties of a file that are not its content, cut into categories: image size, colour mode, border …"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clearmargin.audit.told_apart import Categories

_FREQUENT = 0.02  # a value this common is a category of its own
_LEAST = 5  # samples in such a category
_MOST_BINS = 8
_SAMPLES_PER_BIN = 20
_EDGE_LEVELS = (0.2, 16, 64, 128, 192, 240)  # air in a scan is hardly ever exactly 0, a painted frame is
_WIDEST_FRAME = 8  # pixels that are told one by one
COLOURED = 3.0  # colourfulness above which an image is not grey; JPEG noise stays below


def image_size(facts: pd.DataFrame) -> Categories | None:
    """Frequent sizes as they are; the others by area and shape."""
    width, height = facts["width_px"].to_numpy(np.int64), facts["height_px"].to_numpy(np.int64)
    size = np.array([f"{w} × {h}" for w, h in zip(width, height, strict=True)], dtype=object)
    area = _binned(width * height, lambda low, high: f"{low:.0f} to {high:.0f} pixels")
    shape = np.select([width > 1.1 * height, height > 1.1 * width], ["wide", "tall"], "about square")
    rest = np.array([f"{one}, {other}" for one, other in zip(area, shape, strict=True)], dtype=object)
    return _categories(np.where(_frequent(size), size, rest))


def colour_mode(facts: pd.DataFrame) -> Categories | None:
    """How pixels are stored, and whether there is colour in them."""
    coloured = np.where(facts["colourfulness"].to_numpy() > COLOURED, ", coloured", "")
    return _categories(facts["mode"].to_numpy(dtype=object) + coloured.astype(object))


def file_format(facts: pd.DataFrame) -> Categories | None:
    """JPEG, PNG …"""
    return _categories(facts["format"].to_numpy(dtype=object))


def jpeg_quality(facts: pd.DataFrame) -> Categories | None:
    """Quality setting; files that are no JPEG have none."""
    return _categories(_binned(facts["jpeg_quality"].to_numpy(), lambda low, high: f"{low:.0f} to {high:.0f}"))


def file_size(facts: pd.DataFrame) -> Categories | None:
    """Bytes per pixel."""
    per_pixel = facts["bytes"].to_numpy(np.float64) / (facts["width_px"] * facts["height_px"]).to_numpy(np.float64)
    return _categories(_binned(per_pixel.round(4), lambda low, high: f"{low:.2f} to {high:.2f} bytes per pixel"))


def border(facts: pd.DataFrame) -> Categories | None:
    """Width of a frame, equally wide all around, and how bright the outermost pixels are."""
    sides = facts[[f"border_{side}_px" for side in ("left", "top", "right", "bottom")]].to_numpy(np.int64)
    narrowest = sides.min(axis=1)
    frame = (narrowest > 0) & (sides.max(axis=1) - narrowest <= 1)
    words = ("pure black", "black", "dark", "rather dark", "rather bright", "bright", "white")
    edge = [words[place] for place in np.digitize(facts["edge_level"].to_numpy(np.float64), _EDGE_LEVELS)]
    widths = [f"{width} pixels wide" if width <= _WIDEST_FRAME else "wide" for width in narrowest]
    told = [
        f"a frame {width}, {level}" if framed else f"no frame, {level} edge"
        for framed, width, level in zip(frame, widths, edge, strict=True)
    ]
    return _categories(np.array(told, dtype=object))


def margin(facts: pd.DataFrame) -> Categories | None:
    """Share of the image that is left without its blank margins."""
    left, top, right, bottom = (
        facts[f"margin_{side}"].to_numpy(np.float64) for side in ("left", "top", "right", "bottom")
    )
    content = np.clip(1 - left - right, 0, 1) * np.clip(1 - top - bottom, 0, 1)
    return _categories(_binned((100 * content).round(1), lambda low, high: f"content on {low:.0f} to {high:.0f} %"))


def _measured(column: str) -> Callable[[pd.DataFrame], Categories | None]:
    def property_(facts: pd.DataFrame) -> Categories | None:
        return _categories(_binned(facts[column].to_numpy(np.float64), lambda low, high: f"{low:.3g} to {high:.3g}"))

    return property_


brightness, contrast, sharpness = (_measured(column) for column in ("brightness", "contrast", "sharpness"))


def _categories(values: np.ndarray) -> Categories | None:
    """None when there is only one."""
    numbers, names = pd.factorize(pd.Series(values, dtype=object), sort=True)
    return Categories(numbers.astype(np.int64), tuple(names)) if len(names) > 1 else None


def _frequent(values: np.ndarray) -> np.ndarray:
    numbers, _ = pd.factorize(values)
    counts = np.bincount(numbers[numbers >= 0], minlength=1)[numbers]
    return (numbers >= 0) & (counts >= max(_LEAST, _FREQUENT * len(values)))


def _without_range(named: Callable[[float, float], str], value: float) -> str:
    text = named(value, value)
    first, _, rest = text.partition(" to ")
    return f"{first}{rest[len(first.split()[-1]) :]}"


def _binned(values: np.ndarray, named: Callable[[float, float], str]) -> np.ndarray:
    """Frequent values as they are, the rest in ranges of about equally many; what is no number apart."""
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    own = known & _frequent(np.where(known, values, np.nan))
    result = np.full(len(values), "unknown", dtype=object)
    result[own] = [_without_range(named, value) for value in values[own]]
    rest = np.flatnonzero(known & ~own)
    bins = int(np.clip(len(rest) // _SAMPLES_PER_BIN, 1, _MOST_BINS))
    place = np.searchsorted(np.quantile(values[rest], np.arange(1, bins) / bins), values[rest]) if len(rest) else rest
    for number in range(bins):
        members = rest[place == number]
        if len(members):
            result[members] = named(values[members].min(), values[members].max())
    return result


@dataclass(frozen=True)
class Property:
    """What is looked at.

    Attributes
    ----------
    categories
        From the facts; None where it never varies.
    needs
        Columns of the facts.
    of_file
        Whether anatomy can't explain it.
    remedy
        What helps when the class can be told from it.
    """

    name: str
    categories: Callable[[pd.DataFrame], Categories | None]
    needs: tuple[str, ...]
    of_file: bool
    remedy: str


_BORDER_COLUMNS = ("border_left_px", "border_top_px", "border_right_px", "border_bottom_px", "edge_level")
_MARGIN_COLUMNS = ("margin_left", "margin_top", "margin_right", "margin_bottom")
_INTENSITY_REMEDY = (
    'Brightness and contrast can belong to the disease, or to the scanner: intensity = "standardised" in [data] takes '
    "away much of what whole images differ in."
)
PROPERTIES = (
    Property(
        "image size",
        image_size,
        ("width_px", "height_px"),
        True,
        "Every image is brought to size_px, which hides the size but not its traces: enlarged images are softer, and "
        'fit = "pad" shows the proportions as black bars (fit = "crop" or "stretch" does not).',
    ),
    Property(
        "colour mode",
        colour_mode,
        ("mode", "colourfulness"),
        True,
        'color = "gray" in [data] removes the colours.',
    ),
    Property(
        "file format",
        file_format,
        ("format",),
        True,
        "Traces of a format stay in the pixels: take all classes from the same export.",
    ),
    Property(
        "JPEG quality",
        jpeg_quality,
        ("jpeg_quality",),
        True,
        "Traces of the compression stay in the pixels: take all classes from the same export.",
    ),
    Property(
        "file size in bytes per pixel",
        file_size,
        ("bytes", "width_px", "height_px"),
        False,
        "The bytes of a file depend on its compression, and also on how much there is to be seen.",
    ),
    Property(
        "border",
        border,
        _BORDER_COLUMNS,
        True,
        "trim = true in [data] cuts frames and blank margins off.",
    ),
    Property(
        "margin around the content",
        margin,
        _MARGIN_COLUMNS,
        False,
        "Margins come from the framing, and also from the size of what is shown: trim = true in [data] cuts them off.",
    ),
    Property(
        "mean brightness",
        brightness,
        ("brightness",),
        False,
        _INTENSITY_REMEDY,
    ),
    Property(
        "contrast",
        contrast,
        ("contrast",),
        False,
        _INTENSITY_REMEDY,
    ),
    Property(
        "sharpness",
        sharpness,
        ("sharpness",),
        False,
        "Sharpness can belong to what is shown, or to scanner, enlargement and compression.",
    ),
)
