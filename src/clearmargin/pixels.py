"""Pixels decoded once: a file of rows, keyed by content and preprocessing, that later runs open at once.

In ``<cache>/pixels/<key>/`` lie ``pixels.bin``, uint8, one row after the other; ``miniatures.bin``, the same of small
grey pictures; and ``facts.json``, what is known of every row and what could not be read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import FileIO
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from clearmargin.atomic_folder import atomic_folder, disk_errors
from clearmargin.cache import cache_folder, mark_used
from clearmargin.cores import available_cores
from clearmargin.decoding import Facts, prepare_all
from clearmargin.errors import ImageError, SourceError, WorkError
from clearmargin.mapped_rows import MappedRows
from clearmargin.miniature import SIDE_PX
from clearmargin.records import Finding, Inputs, Preprocessing, Rows, Source

_FORMAT = 4  # raise it when the files, or the way an image is decoded, change
_CHUNK_IMAGES, _CHUNK_TINY = 32, 256  # decoded by one task; tiny ones are measured together
_CHUNK_BYTES = 8 << 20
_KEY = re.compile(r"[0-9a-f]{64}")
_TINY_BYTES = 4096  # below, handing the interpreter from thread to thread costs more than it gains


def open_pixels(
    source: Source,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inputs:
    """Open the decoded images of a source, decoding them first if nobody has yet.

    Parameters
    ----------
    cache
        Folder for the store; `cache_folder` when None.
    progress
        Called with (images done, images there are) while decoding; not at all when the store is there.

    Raises
    ------
    SourceError
        When no image could be decoded.
    DiskError
        When the store can't be written.
    """
    content = {"format": _FORMAT, "source": source.fingerprint(), "preprocessing": preprocessing.as_json()}
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    folder = (cache or cache_folder()) / "pixels" / key
    mark_used(folder)
    stored = _stored(folder, source)
    if stored is None:
        with atomic_folder(folder, lambda: _stored(folder, source) is not None) as temporary:
            _decode(source, preprocessing, temporary, progress)
        stored = _stored(folder, source)
    if stored is None:
        raise WorkError(f"{folder} was written and can't be read back. Delete it and try again.")
    rows, miniatures, facts, unreadable = stored
    by_name = {sample.name: sample for sample in source.samples}
    return Inputs(
        rows=rows,
        samples=tuple(by_name[name] for name in facts["name"]),
        facts=facts,
        findings=(*source.findings, *_unreadable_finding(unreadable, len(source.samples))),
        found=len(source.samples),
        key=key,
        preprocessing=preprocessing,
        simulated=source.simulated,
        miniatures=miniatures,
    )


def _stored(folder: Path, source: Source) -> tuple[MappedRows, MappedRows, pd.DataFrame, dict[str, str]] | None:
    """Rows, miniatures, facts and reasons of a store that is whole and fits the source; else None."""
    try:
        page = json.loads((folder / "facts.json").read_bytes())
        names = pd.Series(page["facts"]["name"], dtype=object)  # a name that is not Unicode must pass
        facts = pd.DataFrame(page["facts"] | {"name": names})
        rows = MappedRows(folder / "pixels.bin", page["shape"], np.uint8)
        miniatures = MappedRows(folder / "miniatures.bin", (len(facts), SIDE_PX, SIDE_PX), np.uint8)
        named = {*facts["name"], *page["unreadable"]}
        counts = (len(facts), len(facts) + len(page["unreadable"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, WorkError):
        return None  # missing or damaged: both mean decoding again
    fits = named == {sample.name for sample in source.samples}
    whole = counts == (rows.shape[0], len(source.samples))
    return (rows, miniatures, facts, page["unreadable"]) if fits and whole else None


@dataclass(frozen=True)
class StoredMiniatures:
    """Small pictures of a store, uint8 of shape (images, side, side), and the names of their images."""

    names: tuple[str, ...]
    miniatures: Rows

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Rows (int64) of these images.

        Raises
        ------
        WorkError
            When one is not there.
        """
        place = {name: row for row, name in enumerate(self.names)}
        try:
            return np.array([place[name] for name in names], dtype=np.int64)
        except KeyError as error:
            raise WorkError(f"There is no small picture of {error.args[0]!r} in the cache.") from error


def stored_miniatures(key: str, *, cache: Path | None = None) -> StoredMiniatures | None:
    """Small pictures of a store by its key, whatever source it was made from; None when it is not whole or not there.

    Parameters
    ----------
    key
        That of `records.Inputs`.
    """
    if _KEY.fullmatch(key) is None:
        return None  # it comes from a file, and must not lead elsewhere
    folder = (cache or cache_folder()) / "pixels" / key
    mark_used(folder)
    try:
        names = tuple(json.loads((folder / "facts.json").read_bytes())["facts"]["name"])
        miniatures = MappedRows(folder / "miniatures.bin", (len(names), SIDE_PX, SIDE_PX), np.uint8)
    except (OSError, ValueError, LookupError, TypeError, WorkError):
        return None
    return StoredMiniatures(names, miniatures)


def stored_pixels(
    key: str, preprocessing: Preprocessing, *, cache: Path | None = None
) -> tuple[list[str], Rows] | None:
    """Names and decoded images of a store by its key; None when it is not whole, not there, or decoded otherwise.

    Parameters
    ----------
    key
        That of `records.Inputs`.
    preprocessing
        Whose shape the images must have.
    """
    if _KEY.fullmatch(key) is None:
        return None
    folder = (cache or cache_folder()) / "pixels" / key
    mark_used(folder)
    try:
        page = json.loads((folder / "facts.json").read_bytes())
        names = [str(name) for name in page["facts"]["name"]]
        rows = MappedRows(folder / "pixels.bin", page["shape"], np.uint8)
    except (OSError, ValueError, LookupError, TypeError, WorkError):
        return None
    channels, *sides = preprocessing.shape
    return (names, rows) if rows.shape == (len(names), *sides, channels) else None


def _unreadable_finding(unreadable: dict[str, str], found: int) -> tuple[Finding, ...]:
    if not unreadable:
        return ()
    listed = [f"{name} ({reason})" for name, reason in list(unreadable.items())[:10]]
    more = len(unreadable) - len(listed)
    message = f"{len(unreadable):,} of {found:,} images could not be read and are left out: " + "; ".join(listed)
    finding = Finding(
        kind="unreadable-images",
        severity="serious" if len(unreadable) > found / 20 else "warning",
        message=message + (f"; and {more:,} more." if more else "."),
        remedy="Mend or replace these files, or take them out of the data; the rest is used without them.",
        samples=tuple(unreadable),
    )
    return (finding,)


_Contents = list[tuple[str, bytes | np.ndarray | ImageError]]


@dataclass(frozen=True)
class _Decoded:
    """One chunk: pixels of shape (images, size_px, size_px, channels), miniatures, names and facts; reasons by name."""

    pixels: np.ndarray
    miniatures: np.ndarray
    names: list[str]
    facts: list[Facts]
    unreadable: dict[str, str]


def _decode(
    source: Source,
    preprocessing: Preprocessing,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write pixels.bin, miniatures.bin and facts.json of a source into a folder."""
    names: list[str] = []
    facts: list[Facts] = []
    unreadable: dict[str, str] = {}
    found = len(source.samples)
    shape = (preprocessing.size_px, preprocessing.size_px, preprocessing.channels)
    with disk_errors(folder):
        file = (folder / "pixels.bin").open("wb", buffering=0)
        small = (folder / "miniatures.bin").open("wb", buffering=0)
    with file, small, closing(_decoded_in_order(_chunks(source, math.prod(shape)), preprocessing)) as chunks:
        for chunk in chunks:
            with disk_errors(folder):
                _write(file, chunk.pixels)
                _write(small, chunk.miniatures)
            names += chunk.names
            facts += chunk.facts
            unreadable |= chunk.unreadable
            if progress is not None:
                progress(len(names) + len(unreadable), found)
    if not names:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in list(unreadable.items())[:3])
        raise SourceError(f"None of the {found:,} images could be read: {reasons or 'there are none'}.")
    rows = [fact.as_columns() for fact in facts]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    page = {"shape": (len(names), *shape), "facts": {"name": names, **columns}, "unreadable": unreadable}
    with disk_errors(folder):
        (folder / "facts.json").write_text(json.dumps(page), encoding="ascii")


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
    for place, prepared in prepare_all((content for _, content in chunk), preprocessing):
        if isinstance(prepared, ImageError):
            unreadable[chunk[place][0]] = str(prepared)
        else:
            pixels[place], miniatures[place], facts[place] = prepared.pixels, prepared.miniature, prepared.facts
    there = sorted(facts)
    if unreadable:
        pixels, miniatures = pixels[there], miniatures[there]
    return _Decoded(
        pixels, miniatures, [chunk[place][0] for place in there], [facts[place] for place in there], unreadable
    )
