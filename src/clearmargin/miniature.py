"""A small grey picture of an image's content, by which copies of it are found."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE_PX = 64
_UNIFORM = 12  # grey levels within which a line of pixels counts as blank
_BLURRED = 0.03  # of a side: most that goes beside a blank frame
_LEAST_PX = 8  # no side is trimmed below this
_WORKING_PX = 128  # where the content lies is measured at this size or up to twice of it
_LEFT_OUT = 0.01  # of all contrast, at each end of each side
MOST_TOGETHER_PX = 64  # up to here the sums over an image of `content_box` are whole numbers that float32 holds


def miniature(grey: Image.Image) -> np.ndarray:
    """Cut a blank frame off, find where the content is, and stretch that to a square.

    Parameters
    ----------
    grey
        Mode L, upright, at its original size.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (64, 64).
    """
    inner = _cropped(grey, frameless_box(np.asarray(grey)))
    factor = min(inner.size) // _WORKING_PX
    if factor > 1:
        inner = inner.reduce(factor)
    return _stretched(inner, content_box(np.asarray(inner)))


def miniatures(pixels: np.ndarray) -> np.ndarray:
    """`miniature` of tiny images of one size, measured together: the same to the bit, in a fraction of the time.

    Parameters
    ----------
    pixels
        Grey, uint8 of shape (images, height, width), neither side above `MOST_TOGETHER_PX`.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (images, 64, 64).
    """
    images, height, width = pixels.shape
    frames = _frameless_boxes(pixels)
    contents = _content_boxes(pixels, frames)
    frames += np.arange(images)[:, None] * (0, height, 0, height)
    all_of_them = Image.fromarray(pixels.reshape(images * height, width))  # one below the other
    made = Image.new("L", (SIDE_PX, images * SIDE_PX))
    for place, (frame, content) in enumerate(zip(frames.tolist(), contents.tolist(), strict=True)):
        small = all_of_them.crop(frame).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=content)
        made.paste(small, (0, place * SIDE_PX))
    return np.frombuffer(made.tobytes(), np.uint8).reshape(images, SIDE_PX, SIDE_PX)


def _cropped(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    return image if box == (0, 0, *image.size) else image.crop(box)


def _stretched(image: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    small = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, box=box)
    return np.frombuffer(small.tobytes(), np.uint8).reshape(SIDE_PX, SIDE_PX)


def frameless_box(grey: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is left without a blank frame: pixels, the end ones excluded.

    A frame is blank when every line of it is, in whatever brightness; frames within frames go too. Where one was, the
    lines beside it that are mostly of its colour go as well: lossy storing blurs the inner edge of a frame.

    Parameters
    ----------
    grey
        uint8 of shape (height, width).
    """
    box = _trimmed(grey, (0, 0, grey.shape[1], grey.shape[0]))
    for turns in range(4):  # each side in turn is made the first
        turned, sides = np.rot90(grey, turns), _turned(box, grey.shape, turns)
        blurred = _blurred_lines(turned[:, sides[0] : sides[2]], sides[1])
        if blurred:
            box = _turned((sides[0], sides[1] + blurred, *sides[2:]), turned.shape, 4 - turns)
    return _trimmed(grey, box)


def _frameless_boxes(pixels: np.ndarray) -> np.ndarray:
    """`frameless_box` of every image, int64 of shape (images, 4).

    What a first look at all lines cuts is final where the outermost lines left are busy, and images are small enough to
    have no blurred lines. The others, which are few, are looked at one by one.
    """
    images, height, width = pixels.shape
    above, below = _all_ends(np.ptp(pixels, axis=2) > _UNIFORM)
    before, behind = _all_ends(np.ptp(pixels, axis=1) > _UNIFORM)
    boxes = np.stack([before, above, behind, below], axis=1)
    every = np.arange(images)
    across, down = np.arange(width), np.arange(height)
    in_columns = (across >= before[:, None]) & (across < behind[:, None])  # (images, width)
    in_rows = (down >= above[:, None]) & (down < below[:, None])
    settled = np.ones(images, dtype=bool)
    for lines, inside in (
        (pixels[every, above], in_columns), (pixels[every, below - 1], in_columns),
        (pixels[every, :, before], in_rows), (pixels[every, :, behind - 1], in_rows),
    ):  # fmt: skip
        low, high = np.where(inside, lines, 255).min(axis=1), np.where(inside, lines, 0).max(axis=1)
        settled &= high.astype(np.int16) - low > _UNIFORM
    whole = (boxes == (0, 0, width, height)).all(axis=1)
    blurs = int(height * _BLURRED) > 0 or int(width * _BLURRED) > 0
    for row in np.flatnonzero(~settled | (~whole & blurs)):
        boxes[row] = frameless_box(pixels[row])
    return boxes


def _all_ends(busy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_ends` of every line of bool (images, lines)."""
    length = busy.shape[1]
    first, last = busy.argmax(axis=1), length - busy[:, ::-1].argmax(axis=1)
    few = ~busy.any(axis=1) | (last - first < _LEAST_PX)
    return np.where(few, 0, first), np.where(few, length, last)


def _trimmed(grey: np.ndarray, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Take blank lines off the sides of a box until there are none."""
    left, top, right, bottom = box
    while True:
        inner = grey[top:bottom, left:right]
        above, below = _ends(inner.max(axis=1) - inner.min(axis=1) > _UNIFORM)
        before, behind = _ends(inner.max(axis=0) - inner.min(axis=0) > _UNIFORM)
        if (behind - before, below - above) == (right - left, bottom - top):
            return left, top, right, bottom
        left, top, right, bottom = left + before, top + above, left + behind, top + below


def _ends(busy: np.ndarray) -> tuple[int, int]:
    """First busy line and the one after the last; all of them when too few would be left."""
    places = busy.nonzero()[0]
    if len(places) == 0 or places[-1] + 1 - places[0] < _LEAST_PX:
        return 0, len(busy)
    return int(places[0]), int(places[-1]) + 1


def _blurred_lines(lines: np.ndarray, top: int) -> int:
    """How many lines from ``top`` on are mostly of the colour of the frame above them, and two more for the blur."""
    most = int(len(lines) * _BLURRED)
    if top == 0 or most == 0:
        return 0
    colour = np.median(lines[top - 1])
    if colour - lines.min() <= 2 * _UNIFORM:
        return 0  # a dark frame and the dark margin of a scan are one
    away = np.abs(np.median(lines[top : top + most], axis=1) - colour)
    like = int((away <= _UNIFORM).cumprod().sum())
    return min(like + 2, most)


def _turned(box: tuple[int, int, int, int], shape: tuple[int, ...], turns: int) -> tuple[int, int, int, int]:
    """A box after `numpy.rot90` of an array of a shape."""
    left, top, right, bottom = box
    height, width = shape
    for _ in range(turns % 4):
        left, top, right, bottom = top, width - right, bottom, width - left
        height, width = width, height
    return left, top, right, bottom


def content_box(grey: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom between which nearly all contrast lies, in fractions of pixels.

    Contrast is the squared gradient. Its quantiles move little when an image is brightened, stored again with loss or
    given a margin, unlike the outermost pixel above a threshold.

    Parameters
    ----------
    grey
        uint8 of shape (height, width).
    """
    height, width = grey.shape
    if min(height, width) < _LEAST_PX:
        return 0, 0, width, height
    values = grey.astype(np.float32)
    across, down = values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1]
    contrast = across * across + down * down
    left, right = _quantiles(contrast.sum(axis=0), width)
    top, bottom = _quantiles(contrast.sum(axis=1), height)
    return left, top, right, bottom


def _content_boxes(pixels: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """`content_box` of every image in its frame, float64 of shape (images, 4), counted from the frame's corner.

    Contrast is a whole number here, and its sums over up to `MOST_TOGETHER_PX` lines are exact in float32: what lies
    outside a frame adds nothing to them.
    """
    images, height, width = pixels.shape
    left, top, right, bottom = frames.T[:, :, None]
    sizes = np.stack([right - left, bottom - top], axis=0)[..., 0]  # (2, images)
    boxes = np.zeros((images, 4))
    boxes[:, 2:] = sizes.T
    if min(height, width) < _LEAST_PX:
        return boxes
    values = pixels.astype(np.float32)
    across = values[:, 1:-1, 2:] - values[:, 1:-1, :-2]
    down = values[:, 2:, 1:-1] - values[:, :-2, 1:-1]
    contrast = across * across + down * down  # of the places from 1 to the last but one
    x, y = np.arange(1, width - 1), np.arange(1, height - 1)
    contrast *= ((y > top) & (y < bottom - 1))[:, :, None]
    contrast *= ((x > left) & (x < right - 1))[:, None, :]
    enough = sizes.min(axis=0) >= _LEAST_PX
    for axis, start, end in ((1, left, right), (2, top, bottom)):
        first, last = _all_quantiles(contrast.sum(axis=axis), start[:, 0], end[:, 0])
        boxes[:, axis - 1] = np.where(enough, first, boxes[:, axis - 1])
        boxes[:, axis + 1] = np.where(enough, last, boxes[:, axis + 1])
    return boxes


def _all_quantiles(contrast: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_quantiles` of every image, of the lines from ``start`` to ``end``, counted from there."""
    images = len(contrast)
    grown = np.concatenate([np.zeros((images, 1)), contrast.cumsum(axis=1, dtype=np.float64)], axis=1)
    total = grown[:, -1]
    first, last = (_crossing(grown, share * total, start, end) for share in (_LEFT_OUT, 1 - _LEFT_OUT))
    good = (total > 0) & (last - first >= _LEAST_PX / 2)
    return np.where(good, first, 0.0), np.where(good, last, (end - start).astype(np.float64))


def _crossing(grown: np.ndarray, wanted: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Where growing sums reach a value, as `numpy.interp` finds it among the lines of each image."""
    every = np.arange(len(grown))
    place = (grown <= wanted[:, None]).sum(axis=1) - 1
    place = np.minimum(place, end - 2)  # beyond the last line of its frame nothing grows
    after = np.minimum(place + 1, grown.shape[1] - 1)
    step = grown[every, after] - grown[every, place]
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.where(step > 0, 1 / step * (wanted - grown[every, place]), 0.0)
    return within + (place + 1 - start)


def _quantiles(contrast: np.ndarray, length: int) -> tuple[float, float]:
    """Where the inner part of the contrast begins and ends; all of the length when there is next to nothing."""
    grown = np.concatenate(([0.0], contrast.cumsum(dtype=np.float64)))
    total = float(grown[-1])
    start, end = np.interp((_LEFT_OUT * total, (1 - _LEFT_OUT) * total), grown, np.arange(1.0, length))
    return (float(start), float(end)) if total > 0 and end - start >= _LEAST_PX / 2 else (0.0, float(length))
