"""The image the page is about: the reader's own, or a simulated slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearmargin.decoding import prepare
from clearmargin.errors import ImageError, SourceError
from clearmargin.records import Preprocessing
from clearmargin.sources.phantom import PhantomSource
from clearmargin.trained import read_image_file

SIDE_PX = 128  # enough to see what a filter does, small enough for a page and a script
SMALLEST_SIDE_PX = 16
_SLICE = "patient-005/slice-3.png"  # with a lesion that has a rim: edges in all directions


@dataclass(frozen=True)
class Subject:
    """One image.

    Attributes
    ----------
    name
        The file's name without folders.
    content
        The file's bytes.
    pixels
        uint8, (side, side), grey: at most `SIDE_PX`, and not enlarged, so that a digit of 28 x 28 keeps its pixels.
    width_px, height_px
        Of the file, upright.
    simulated
        True when the image is made up.
    """

    name: str
    content: bytes
    pixels: np.ndarray
    width_px: int
    height_px: int
    simulated: bool

    @property
    def side_px(self) -> int:
        return len(self.pixels)


def read_subject(path: Path | None) -> Subject:
    """Read an image file; a simulated slice of a head when None.

    Raises
    ------
    SourceError
        When the file is not there or can't be decoded.
    """
    name, content = ("simulated slice", _simulated_slice()) if path is None else (path.name, _read(path))
    try:
        prepared = prepare(content, Preprocessing(SIDE_PX, "pad", "gray"))
        longest = max(prepared.facts.width_px, prepared.facts.height_px)
        if longest < SIDE_PX:
            prepared = prepare(content, Preprocessing(max(longest, SMALLEST_SIDE_PX), "pad", "gray"))
    except ImageError as error:
        raise SourceError(f"{path} can't be used: {error}.") from error
    facts = prepared.facts
    return Subject(name, content, prepared.pixels[..., 0], facts.width_px, facts.height_px, path is None)


def _read(path: Path) -> bytes:
    try:
        return read_image_file(path)
    except ImageError as error:
        raise SourceError(f"The image {path} can't be read: {error}. Give one image file.") from error


def _simulated_slice() -> bytes:
    source = PhantomSource(seed=0, patients=8, size_px=SIDE_PX)
    return next(content for sample, content in zip(source.samples, source.read(), strict=True) if sample.name == _SLICE)
