"""Decoding all images of a source into the files of a store, on all cores, with few of them in memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import FileIO
from itertools import zip_longest
from pathlib import Path

import numpy as np

from clearmargin.atomic_folder import disk_errors
from clearmargin.cores import available_cores
from clearmargin.decoding import Facts, prepare_all
from clearmargin.errors import ImageError, SourceError
from clearmargin.miniature import SIDE_PX
from clearmargin.pixel_store import MINIATURES, PIXELS, row_checksums, write_facts
from clearmargin.records import Preprocessing, Source

_CHUNK_IMAGES, _CHUNK_TINY = 32, 256  # decoded by one task; tiny ones are measured together
_CHUNK_BYTES = 8 << 20
_TINY_BYTES = 4096  # below, handing the interpreter from thread to thread costs more than it gains

_Contents = list[tuple[str, bytes | np.ndarray | ImageError]]


@dataclass(frozen=True)
class _Decoded:
    """One chunk: pixels of shape (images, size_px, size_px, channels), miniatures, names and facts; reasons by name.

    Attributes
    ----------
    of_pixels, of_miniatures
        Checksum of each row.
    missed
        Names of those that the system could not read or decode.
    """

    pixels: np.ndarray
    miniatures: np.ndarray
    of_pixels: list[int]
    of_miniatures: list[int]
    names: list[str]
    facts: list[Facts]
    unreadable: dict[str, str]
    missed: set[str]


def decode_into(
    folder: Path,
    source: Source,
    preprocessing: Preprocessing,
    progress: Callable[[int, int], None] | None,
) -> set[str]:
    """Write the files of a store into a folder; names of the images that the system missed.

    Parameters
    ----------
    progress
        Called with (images done, images there are).

    Raises
    ------
    SourceError
        When no image can be decoded, or there are more or fewer than were listed.
    DiskError
        When the folder can't be written.
    """
    of_pixels: list[int] = []
    of_miniatures: list[int] = []
    missed: set[str] = set()
    names: list[str] = []
    facts: list[Facts] = []
    unreadable: dict[str, str] = {}
    found = len(source.samples)
    shape = (preprocessing.size_px, preprocessing.size_px, preprocessing.channels)
    with disk_errors(folder):
        file = (folder / PIXELS).open("wb", buffering=0)
        small = (folder / MINIATURES).open("wb", buffering=0)
    with file, small, closing(_decoded_in_order(_chunks(source, math.prod(shape)), preprocessing)) as chunks:
        for chunk in chunks:
            with disk_errors(folder):
                _write(file, chunk.pixels)
                _write(small, chunk.miniatures)
            of_pixels += chunk.of_pixels
            of_miniatures += chunk.of_miniatures
            names += chunk.names
            facts += chunk.facts
            unreadable |= chunk.unreadable
            missed |= chunk.missed
            if progress is not None:
                progress(len(names) + len(unreadable), found)
    if not names:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in list(unreadable.items())[:3])
        raise SourceError(f"None of the {found:,} images could be read: {reasons or 'there are none'}.")
    rows = [fact.as_columns() for fact in facts]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    page = {"shape": (len(names), *shape), "facts": {"name": names, **columns}, "unreadable": unreadable}
    with disk_errors(folder):
        write_facts(folder, page, of_pixels, of_miniatures)
    return missed


def _write(file: FileIO, pixels: np.ndarray) -> None:
    rest = pixels.reshape(-1).data
    while rest:  # a nearly full disk takes a part, and says so only the next time
        rest = rest[file.write(rest) :]


def _chunks(source: Source, row_bytes: int) -> Iterator[_Contents]:
    """What the source holds, by name, in portions bounded by number and by bytes."""
    fit = max(1, _CHUNK_BYTES // row_bytes)
    chunk: _Contents = []
    size = 0
    for sample, content in zip_longest(source.samples, source.read()):
        if sample is None or content is None:
            raise SourceError(
                f"The data changed while they were read: {len(source.samples):,} images were listed, "
                f"and {'more' if sample is None else 'fewer'} were there. Leave them alone and run again."
            )
        chunk.append((sample.name, content))
        size += _content_bytes(content)
        most = _CHUNK_TINY if size < len(chunk) * _TINY_BYTES else _CHUNK_IMAGES
        if len(chunk) >= min(most, fit) or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _content_bytes(content: bytes | np.ndarray | ImageError) -> int:
    if isinstance(content, ImageError):
        return 0
    return content.nbytes if isinstance(content, np.ndarray) else len(content)


def _decoded_in_order(chunks: Iterator[_Contents], preprocessing: Preprocessing) -> Generator[_Decoded]:
    """Decode on all cores (Pillow frees the interpreter) while this thread reads; few chunks are under way."""
    cores = available_cores()
    pending: deque[Future[_Decoded]] = deque()
    pool = ThreadPoolExecutor(cores)
    try:
        for chunk in chunks:
            pending.append(pool.submit(_decode_chunk, chunk, preprocessing))
            tiny = sum(_content_bytes(content) for _, content in chunk) < len(chunk) * _TINY_BYTES
            while len(pending) > (0 if tiny else 2 * cores):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_chunk(chunk: _Contents, preprocessing: Preprocessing) -> _Decoded:
    shape = (preprocessing.size_px, preprocessing.size_px, preprocessing.channels)
    pixels = np.empty((len(chunk), *shape), np.uint8)
    miniatures = np.empty((len(chunk), SIDE_PX, SIDE_PX), np.uint8)
    facts: dict[int, Facts] = {}
    unreadable: dict[str, str] = {}
    missed: set[str] = set()
    for place, prepared in prepare_all((content for _, content in chunk), preprocessing):
        if isinstance(prepared, ImageError):
            unreadable[chunk[place][0]] = str(prepared)  # the error itself holds on to the whole file
            if prepared.transient:
                missed.add(chunk[place][0])
        else:
            pixels[place], miniatures[place], facts[place] = prepared.pixels, prepared.miniature, prepared.facts
    there = sorted(facts)
    if unreadable:
        pixels, miniatures = pixels[there], miniatures[there]
    return _Decoded(
        pixels,
        miniatures,
        row_checksums(pixels),
        row_checksums(miniatures),
        [chunk[place][0] for place in there],
        [facts[place] for place in there],
        unreadable,
        missed,
    )
