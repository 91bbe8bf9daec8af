"""Letters burnt into an image: small bright marks of one height, in a line, on a dark ground."""

from __future__ import annotations

import numpy as np
import scipy

LEAST_PX = 96  # below, letters can't be told from anything else
_STEP = 110  # grey levels between neighbouring pixels: the edge of a letter
_STEPS_IN_LINE = 8  # a row through four letters crosses so many edges; one through a head crosses few
_LEAST_HEIGHT_PX = 5
_LARGEST_SHARE = 0.08  # of the image's height
LINE_MARKS = 4  # letters that make a line


def text_marks(pixels: np.ndarray) -> int:
    """Count the letter-like marks that stand in lines of `LINE_MARKS` or more.

    A quick pass over all rows finds those with many sharp steps; only there marks are looked for.

    Parameters
    ----------
    pixels
        uint8 of shape (height, width).
    """
    height, width = pixels.shape
    if min(height, width) < LEAST_PX:
        return 0
    steps = np.maximum(pixels[:, 1:], pixels[:, :-1])
    steps -= np.minimum(pixels[:, 1:], pixels[:, :-1])
    crossed = np.count_nonzero(steps > _STEP, axis=1) >= _STEPS_IN_LINE
    if not crossed.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], crossed, [False]))))
    tallest = max(_LEAST_HEIGHT_PX, round(height * _LARGEST_SHARE))
    bands = [
        (max(0, start - tallest // 2), min(height, stop + tallest // 2))
        for start, stop in edges.reshape(-1, 2)
        if _LEAST_HEIGHT_PX - 2 <= stop - start <= 4 * tallest
    ]
    return max((_marks_in_line(pixels[start:stop], tallest) for start, stop in bands), default=0)


def _marks_in_line(band: np.ndarray, tallest: int) -> int:
    """The most marks in one line of a band of rows."""
    labels, _ = scipy.ndimage.label(band > 128, np.ones((3, 3)))
    boxes = [
        (columns.start, columns.stop, rows.start, rows.stop)
        for rows, columns in scipy.ndimage.find_objects(labels)
        if _LEAST_HEIGHT_PX <= rows.stop - rows.start <= tallest
        and columns.stop - columns.start <= 1.6 * (rows.stop - rows.start)
    ]
    best = 0
    marks = sorted(box for box in boxes if _on_dark_ground(band, box))
    for mark in marks:
        best = max(best, _line_from(mark, marks))
    return best if best >= LINE_MARKS else 0


def _on_dark_ground(band: np.ndarray, box: tuple[int, int, int, int]) -> bool:
    """Whether the ring around a mark is dark: letters stand free, anatomy is joined."""
    left, right, top, bottom = box
    around = band[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2]
    return bool(np.median(np.concatenate((around[0], around[-1]))) < 60)


def _line_from(mark: tuple[int, int, int, int], marks: list[tuple[int, int, int, int]]) -> int:
    """How many marks follow one another to the right, of one height, on one level, close together."""
    height, count, right = mark[3] - mark[2], 1, mark[1]
    for left, stop, top, bottom in marks:
        level = abs(bottom - mark[3]) <= max(1, 0.2 * height) and abs(bottom - top - height) <= max(1, 0.25 * height)
        if level and 0 <= left - right <= 1.5 * height:
            count, right = count + 1, stop
    return count
