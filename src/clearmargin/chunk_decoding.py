"""A chunk of images decoded into arrays and columns."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from clearmargin.decoding import prepare_all
from clearmargin.errors import ImageError
from clearmargin.miniature import SIDE_PX
from clearmargin.records import Preprocessing

Chunk = list[tuple[str, bytes | np.ndarray | ImageError]]  # by name


@dataclass(frozen=True)
class DecodedChunk:
    """What became of a chunk; rows in its order, without those that could not be decoded.

    Attributes
    ----------
    pixels
        uint8 of shape (images, size_px, size_px, channels).
    miniatures
        uint8 of shape (images, 64, 64).
    of_pixels, of_miniatures
        CRC-32 of each row.
    names
        One for each row.
    facts
        For each row, by column, as `decoding.Facts` gives them.
    unreadable
        Reasons by name.
    missed
        Names of those that the system could not read or decode.
    """

    pixels: np.ndarray
    miniatures: np.ndarray
    of_pixels: list[int]
    of_miniatures: list[int]
    names: list[str]
    facts: dict[str, list[str | int | float]]
    unreadable: dict[str, str]
    missed: set[str]


def decode_chunk(chunk: Chunk, preprocessing: Preprocessing) -> DecodedChunk:
    """Decode images that are in memory."""
    shape = (preprocessing.size_px, preprocessing.size_px, preprocessing.channels)
    pixels = np.empty((len(chunk), *shape), np.uint8)
    miniatures = np.empty((len(chunk), SIDE_PX, SIDE_PX), np.uint8)
    facts: dict[int, dict[str, str | int | float]] = {}
    unreadable: dict[str, str] = {}
    missed: set[str] = set()
    for place, prepared in prepare_all((content for _, content in chunk), preprocessing):
        if isinstance(prepared, ImageError):
            unreadable[chunk[place][0]] = str(prepared)  # the error itself holds on to the whole file
            if prepared.transient:
                missed.add(chunk[place][0])
        else:
            pixels[place], miniatures[place] = prepared.pixels, prepared.miniature
            facts[place] = prepared.facts.as_columns()
    there = sorted(facts)
    if unreadable:
        pixels, miniatures = pixels[there], miniatures[there]
    return DecodedChunk(
        pixels,
        miniatures,
        _row_checksums(pixels),
        _row_checksums(miniatures),
        [chunk[place][0] for place in there],
        {column: [facts[place][column] for place in there] for column in (facts[there[0]] if there else ())},
        unreadable,
        missed,
    )


def _row_checksums(rows: np.ndarray) -> list[int]:
    return [zlib.crc32(row.data) for row in rows]
