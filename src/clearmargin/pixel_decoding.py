"""Decoding all images of a source into the files of a store, on all cores, with few of them in memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from io import FileIO
from itertools import zip_longest
from pathlib import Path

import numpy as np

from clearmargin.atomic_folder import disk_errors
from clearmargin.chunk_decoding import Chunk, DecodedChunk, decode_chunk
from clearmargin.chunk_processes import ChunkProcesses
from clearmargin.cores import available_cores
from clearmargin.errors import ImageError, SourceError
from clearmargin.pixel_store import MINIATURES, PIXELS, write_facts
from clearmargin.records import Preprocessing, Source

_CHUNK_IMAGES, _CHUNK_TINY = 32, 256  # decoded by one task; tiny ones are measured together
_CHUNK_BYTES = 8 << 20
_TINY_BYTES = 4096  # below, handing the interpreter from thread to thread costs more than it gains
_IMAGES_A_PROCESS = 4096  # fewer gain less than its start costs
_MOST_PROCESSES = 8  # more than one thread can read for


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
    facts: dict[str, list[str | int | float]] = {}
    unreadable: dict[str, str] = {}
    found = len(source.samples)
    shape = (preprocessing.size_px, preprocessing.size_px, preprocessing.channels)
    with disk_errors(folder):
        file = (folder / PIXELS).open("wb", buffering=0)
        small = (folder / MINIATURES).open("wb", buffering=0)
    with file, small, closing(_decoded_in_order(_chunks(source, math.prod(shape)), found, preprocessing)) as chunks:
        for chunk in chunks:
            with disk_errors(folder):
                _write(file, chunk.pixels)
                _write(small, chunk.miniatures)
            of_pixels += chunk.of_pixels
            of_miniatures += chunk.of_miniatures
            names += chunk.names
            for column, values in chunk.facts.items():
                facts.setdefault(column, []).extend(values)
            unreadable |= chunk.unreadable
            missed |= chunk.missed
            if progress is not None:
                progress(len(names) + len(unreadable), found)
    if not names:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in list(unreadable.items())[:3])
        raise SourceError(f"None of the {found:,} images could be read: {reasons or 'there are none'}.")
    page = {"shape": (len(names), *shape), "facts": {"name": names, **facts}, "unreadable": unreadable}
    with disk_errors(folder):
        write_facts(folder, page, of_pixels, of_miniatures)
    return missed


def _write(file: FileIO, pixels: np.ndarray) -> None:
    rest = pixels.reshape(-1).data
    while rest:  # a nearly full disk takes a part, and says so only the next time
        rest = rest[file.write(rest) :]


def _chunks(source: Source, row_bytes: int) -> Iterator[Chunk]:
    """What the source holds, by name, in portions bounded by number and by bytes."""
    fit = max(1, _CHUNK_BYTES // row_bytes)
    chunk: Chunk = []
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


def _decoded_in_order(chunks: Iterator[Chunk], images: int, preprocessing: Preprocessing) -> Generator[DecodedChunk]:
    """Decode on all cores while this thread reads; few chunks are under way.

    Threads do it, since Pillow frees the interpreter; but tiny images wait for each other, or have processes, as it
    pays.
    """
    cores = available_cores()
    wanted = min(cores, images // _IMAGES_A_PROCESS, _MOST_PROCESSES)
    pending: deque[Future[DecodedChunk]] = deque()
    pool = ThreadPoolExecutor(cores)
    processes = None
    try:
        for chunk in chunks:
            tiny = sum(_content_bytes(content) for _, content in chunk) < len(chunk) * _TINY_BYTES
            if tiny and processes is None and wanted > 1:
                processes = ChunkProcesses(wanted)
            elsewhere = tiny and processes is not None and processes.alive
            decode = processes.decode if processes is not None and elsewhere else decode_chunk
            pending.append(pool.submit(decode, chunk, preprocessing))
            while len(pending) > (0 if tiny and not elsewhere else 2 * cores):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        try:
            if processes is not None:
                processes.close()  # first: a thread may be waiting for one of them
        finally:
            pool.shutdown(cancel_futures=True)
