"""From stored values to grey levels: rescale or modality LUT, then VOI LUT or window, after PS3.3 C.11.1 and C.11.2.

The formulas are evaluated once for every value that occurs, not for every pixel.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from clearmargin.dicom.header import (
    CENTER,
    FUNCTION,
    INTERCEPT,
    LUT_DATA,
    LUT_DESCRIPTOR,
    MODALITY_LUT,
    PADDING,
    PADDING_LIMIT,
    PALETTE_DATA,
    PALETTE_DESCRIPTORS,
    SEGMENTED_PALETTE,
    SLOPE,
    STORED,
    VOI_LUT,
    WIDTH,
    Header,
    Raw,
    Values,
)
from clearmargin.errors import ImageError
from clearmargin.records import Window

AUTO_ENDS = (0.005, 0.995)  # quantiles that become black and white
_EIGHT_BITS = 8


class Table(NamedTuple):
    """A lookup table: the value its first entry stands for, its entries (float64), and the largest they could be."""

    first: int
    entries: np.ndarray
    largest: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Entries for values; those outside get the first or the last."""
        return self.entries[np.clip(values - self.first, 0, len(self.entries) - 1).astype(np.int64)]


def grey_levels(stored: np.ndarray, header: Header, window: Window, *, inverted: bool) -> np.ndarray:
    """Grey as it is shown, uint8 of the same shape.

    Parameters
    ----------
    stored
        Whole numbers of shape (height, width).
    window
        As `records.Preprocessing` has it.
    inverted
        True for MONOCHROME1, where the smallest value is white.

    Raises
    ------
    ImageError
        When what it takes is damaged.
    """
    distinct, place, counts = _distinct(stored)
    padded = _padded(distinct, header)
    levels = _levels(distinct.astype(np.float64), np.where(padded, 0, counts), header, window)
    if inverted:
        levels = 1 - levels
    levels[padded] = 0  # black, whatever the window
    shades = np.round(levels * 255).astype(np.uint8)
    return shades[place].reshape(stored.shape)


def _distinct(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values that can occur, for each pixel the place of its value, and how often each occurs."""
    flat = stored.reshape(-1)
    if stored.dtype.itemsize > 2:
        return np.unique(flat, return_inverse=True, return_counts=True)
    low = int(flat.min())
    place = (flat.astype(np.int32) - low).astype(np.uint16)
    counts = np.bincount(place)
    return np.arange(low, low + len(counts)), place, counts


def _padded(values: np.ndarray, header: Header) -> np.ndarray:
    """Whether a value stands for no measurement (PS3.3 C.7.5.1.1.2), bool."""
    if PADDING not in header.values:
        return np.zeros(len(values), dtype=bool)
    kind = f"{header.encoding.order}{'h' if header.signed else 'H'}"
    ends = [
        struct.unpack_from(kind, header.values[tag].value)[0]
        for tag in (PADDING, PADDING_LIMIT)
        if tag in header.values and len(header.values[tag].value) >= 2
    ]
    return (values >= min(ends)) & (values <= max(ends)) if ends else np.zeros(len(values), dtype=bool)


def _levels(stored: np.ndarray, counts: np.ndarray, header: Header, window: Window) -> np.ndarray:
    """Levels from 0 (lowest) to 1 for stored values, float64."""
    values = _rescaled(stored, header)
    if not isinstance(window, str):
        return windowed(values, *window, "LINEAR")
    if window == "file":
        if VOI_LUT in header.tables:
            table = _table(header.tables[VOI_LUT], LUT_DESCRIPTOR, LUT_DATA, header, signed=_below_zero(header))
            return table.look_up(np.round(values)) / table.largest
        centers, widths = header.numbers(CENTER), header.numbers(WIDTH)
        function = header.text(FUNCTION) or "LINEAR"
        if centers and widths and _is_window(widths[0], function):
            return windowed(values, centers[0], widths[0], function)
        if header.integer(STORED, 16) <= _EIGHT_BITS:
            return _whole_range(values, header)
    return _stretched(values, counts)


def _is_window(width: float, function: str) -> bool:
    return function in _FUNCTIONS and width >= (1 if function == "LINEAR" else 1e-9)


_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Levels from 0 to 1 of values in a window (PS3.3 C.11.2.1.2, C.11.2.1.3).

    Parameters
    ----------
    function
        ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _whole_range(values: np.ndarray, header: Header) -> np.ndarray:
    """All that the bits can hold, from black to white: as a picture without a window is meant."""
    return _between(values, *_ends(header))


def _ends(header: Header) -> tuple[float, float]:
    """The lowest and the highest value, in the unit of the modality, that the bits can hold."""
    bits = header.integer(STORED)
    lowest = -(1 << bits - 1) if header.signed else 0
    ends = _rescaled(np.array([lowest, lowest + (1 << bits) - 1], dtype=np.float64), header)
    return float(ends.min()), float(ends.max())


def _below_zero(header: Header) -> bool:
    """Whether values can be negative once they are rescaled, as those of a CT that stores none."""
    return header.signed or _ends(header)[0] < 0


def _stretched(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Levels so that the `AUTO_ENDS` of the pixels that are no padding become 0 and 1."""
    if not counts.any():
        return np.zeros(len(values))
    order = np.argsort(values, kind="stable")
    shares = np.cumsum(counts[order]) / counts.sum()
    low, high = values[order][np.searchsorted(shares, AUTO_ENDS)]
    return _between(values, low, high)


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros(len(values))


def _rescaled(stored: np.ndarray, header: Header) -> np.ndarray:
    """Values in the unit of the modality, such as Hounsfield's."""
    if MODALITY_LUT in header.tables:
        table = _table(header.tables[MODALITY_LUT], LUT_DESCRIPTOR, LUT_DATA, header, signed=header.signed)
        return table.look_up(stored)
    slope, intercept = header.numbers(SLOPE), header.numbers(INTERCEPT)
    if (header.text(SLOPE) and not slope) or (header.text(INTERCEPT) and not intercept):
        raise ImageError("damaged DICOM: its rescale slope or intercept is no number")
    with np.errstate(over="ignore"):
        values = stored * (slope[0] if slope else 1.0) + (intercept[0] if intercept else 0.0)
    if not np.isfinite(values).all():
        raise ImageError("damaged DICOM: its rescale slope or intercept is beyond all measure")
    return values


def colours(stored: np.ndarray, header: Header) -> np.ndarray:
    """Colours of a palette, uint8 of shape (height, width, 3) (PS3.3 C.7.6.3.1.5).

    Raises
    ------
    ImageError
        When the palette is missing, damaged, or in segments.
    """
    if SEGMENTED_PALETTE in header.values:
        raise ImageError("its DICOM palette is in segments, which are not read here")
    tables = [
        _table(header.values, descriptor, data, header, signed=header.signed)
        for descriptor, data in zip(PALETTE_DESCRIPTORS, PALETTE_DATA, strict=True)
    ]
    # Some programs say 16 bits and write 8.
    eight = max(table.entries.max() for table in tables) < 1 << _EIGHT_BITS
    places = stored.astype(np.int64)
    channels = []
    for table in tables:
        # The upper byte of 16 bits: programs write 0xFF00 as well as 0xFFFF for the brightest.
        lower = 0 if eight else max(0, table.largest.bit_length() - _EIGHT_BITS)
        channels.append(Table(table.first, table.entries.astype(np.int64) >> lower, 255).look_up(places))
    return np.stack(channels, axis=-1).astype(np.uint8)


def _table(values: Values, descriptor: int, data: int, header: Header, *, signed: bool) -> Table:
    """A lookup table; ``signed`` tells whether its first value can be negative, where the file does not."""
    said, raw = values.get(descriptor, Raw(b"", b"")), values.get(data, Raw(b"", b""))
    if len(said.value) < 6:
        raise ImageError("damaged DICOM: a lookup table without a description")
    order = header.encoding.order
    signed = said.vr == b"SS" or (said.vr != b"US" and signed)
    length, _, bits = struct.unpack_from(f"{order}HHH", said.value)
    first = struct.unpack_from(f"{order}{'h' if signed else 'H'}", said.value, 2)[0]
    length = length or 65536
    if not 1 <= bits <= 16:
        raise ImageError(f"damaged DICOM: a lookup table of {bits} bits")
    packed = bits <= _EIGHT_BITS and len(raw.value) < 2 * length
    kind = np.dtype(np.uint8 if packed else f"{order}u2")
    if len(raw.value) < length * kind.itemsize:
        raise ImageError("damaged DICOM: a lookup table with fewer entries than it says")
    entries = np.frombuffer(raw.value, kind, length).astype(np.float64)
    # Some programs write entries of 16 bits and say 8.
    largest = (1 << bits) - 1 if entries.max() < 1 << bits else 65535
    return Table(first, entries, largest)
