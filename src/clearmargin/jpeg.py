"""With what quality a JPEG was saved, from its quantisation tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@lru_cache(maxsize=1024)
def _closest(table_sum: int) -> int:
    return int(np.abs(_SUMS - table_sum).argmin()) + 1
