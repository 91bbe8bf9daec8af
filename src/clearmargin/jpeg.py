"""What a JPEG says of itself before its pixels begin: its size, and with what quality it was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# ITU-T T.81 (1992), annex K, table K.1: luminance, row by row.
_STANDARD = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)


def _table_sum(quality: int) -> int:
    """Sum of the table that libjpeg makes for a quality setting (jcparam.c, jpeg_quality_scaling)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(255, max(1, (value * scale + 50) // 100)) for value in _STANDARD)


_SUMS = np.array([_table_sum(quality) for quality in range(1, 101)])


def jpeg_quality(tables: Mapping[int, Sequence[int]] | None) -> int:
    """Quality setting of libjpeg, 1 to 100, whose luminance table comes closest; 0 without a table.

    Parameters
    ----------
    tables
        Quantisation tables by number, 64 values each; number 0 is the luminance.
    """
    luminance = (tables or {}).get(0)
    if luminance is None or len(luminance) != 64:
        return 0
    return _closest(sum(luminance))


# ITU-T T.81, table B.1; JFIF's own segment is APP0.
_START, _MARKER, _FRAME, _SCAN, _TABLES, _APP0 = b"\xff\xd8", 0xFF, 0xC0, 0xDA, 0xDB, 0xE0
_SKIPPED = frozenset((0xC4, 0xDD, 0xFE))  # Huffman tables, restart interval, comment
_JFIF_BYTES = 16
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A baseline JPEG without anything that changes what its pixels mean.

    Attributes
    ----------
    size
        Width and height in pixels.
    mode
        Pillow's word: ``L`` or ``RGB``.
    quality
        As `jpeg_quality` finds it.
    """

    size: tuple[int, int]
    mode: str
    quality: int


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """Read the header of a JPEG; None when there is anything unusual in it, which a full reader has to look at.

    Accepted is what most small JPEG files are: baseline, 8 bits, one or three channels, and no segment besides JFIF's,
    comments and tables; so no orientation, no colour profile, no second picture.
    """
    if content[:2] != _START:
        return None
    place, end = 2, len(content)
    size, mode, table_sum = (0, 0), "", None
    while place + 4 <= end and content[place] == _MARKER:
        marker, length = content[place + 1], content[place + 2] << 8 | content[place + 3]
        start, place = place + 4, place + 2 + length
        if place > end or length < 2:
            return None
        if marker == _TABLES:
            while start < place:
                if content[start] > 15 or start + 65 > place:  # of 16 bits, or cut off
                    return None
                if content[start] == 0:
                    table_sum = sum(content[start + 1 : start + 65])
                start += 65
        elif marker == _FRAME:
            if length < 9 or content[start] != 8 or mode:
                return None
            size = content[start + 3] << 8 | content[start + 4], content[start + 1] << 8 | content[start + 2]
            mode = _MODES.get(content[start + 5], "")
        elif marker == _SCAN:
            sound = mode and 0 not in size
            return PlainJpeg(size, mode, 0 if table_sum is None else _closest(table_sum)) if sound else None
        elif marker == _APP0:
            if length < _JFIF_BYTES or content[start : start + 5] != b"JFIF\0":
                return None
        elif marker not in _SKIPPED:
            return None
    return None


@lru_cache(maxsize=1024)
def _closest(table_sum: int) -> int:
    return int(np.abs(_SUMS - table_sum).argmin()) + 1
