"""Pixels decoded once: a store on disk, keyed by content and preprocessing, that later runs open at once.

It lies in ``<cache>/pixels/<key>/``; `pixel_store` says what is in it, and how damage is noticed. What is damaged is
made again, from the source.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearmargin.atomic_folder import atomic_folder
from clearmargin.cache import cache_folder, mark_used
from clearmargin.decoding import prepare_all
from clearmargin.errors import DamagedStoreError, ImageError, SourceError, WorkError
from clearmargin.locks import sole_writer_of
from clearmargin.mapped_rows import MappedRows
from clearmargin.pixel_decoding import decode_into
from clearmargin.pixel_store import MendedRows, PixelStore, read_store
from clearmargin.records import Finding, Inputs, Preprocessing, Rows, Source

_FORMAT = 5  # raise it when the files, or the way an image is decoded, change
_KEY = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


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
        When no image could be decoded, or the data changed while they were read.
    DiskError
        When the store can't be written.
    WorkError
        When it is there, and can't be read at the moment.
    """
    state = source.state()  # before the fingerprint: what is written from here on is noticed
    place = _Place(source, preprocessing, cache or cache_folder(), source.fingerprint())
    mark_used(place.folder)
    store = place.opened(state, progress)
    by_name, names = {sample.name: sample for sample in source.samples}, store.facts["name"].tolist()

    def mended(part: Callable[[PixelStore], MappedRows]) -> MendedRows:
        return MendedRows(part(store), lambda damage, rows: place.mended(damage, rows, part, names))

    return Inputs(
        rows=mended(lambda store: store.rows),
        samples=tuple(by_name[name] for name in names),
        facts=store.facts,
        findings=(*source.findings, *_unreadable_finding(store.unreadable, len(source.samples))),
        found=len(source.samples),
        key=place.key,
        preprocessing=preprocessing,
        simulated=source.simulated,
        miniatures=mended(lambda store: store.miniatures),
    )


@dataclass(frozen=True)
class _Place:
    """Where the store of a source lies, and how it is made; ``fingerprint`` is that of the source."""

    source: Source
    preprocessing: Preprocessing
    cache: Path
    fingerprint: str

    @property
    def key(self) -> str:
        content = {"format": _FORMAT, "source": self.fingerprint, "preprocessing": self.preprocessing.as_json()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        return self.cache / "pixels" / self.key

    def opened(self, state: str, progress: Callable[[int, int], None] | None) -> PixelStore:
        """The store, made first where there is none that is whole; ``state`` as `_made` takes it."""
        store = self._found()
        if store is None:
            with self._alone():
                store = self._found(tell=True) or self._made(state, progress)
        return store

    def mended(
        self,
        damage: DamagedStoreError,
        rows: np.ndarray,
        part: Callable[[PixelStore], MappedRows],
        names: Sequence[str],
    ) -> MappedRows:
        """A part of the store in which these rows are sound: it is made again, unless another process did.

        Its rows are those of ``names``, in this order, or a `DamagedStoreError` is raised: which images can be decoded
        may depend on the moment, and whoever reads has their labels by row.
        """
        with self._alone():
            store = self._found()
            if store is None or (_is_of(store, names) and not _are_sound(part(store), rows)):
                store = self._made_again(damage)
            if not _is_of(store, names):
                raise DamagedStoreError(
                    f"{damage.damage} The images were decoded again, and it was not the same ones as before that could "
                    "be: run again, with what is there now."
                ) from damage
            return part(store)

    def _made_again(self, damage: DamagedStoreError) -> PixelStore:
        state = self.source.state()
        if self.source.fingerprint() != self.fingerprint:
            raise DamagedStoreError(
                f"{damage.damage} It can't be made again: the data are not what they were."
            ) from damage
        _log.warning("%s The images are decoded again.", damage.damage)
        return self._made(state, None)

    def _alone(self) -> AbstractContextManager[None]:
        return sole_writer_of(self.cache, f"pixels-{self.key}", "decodes these images")

    def _found(self, *, tell: bool = False) -> PixelStore | None:
        """A store that is whole and fits the source; else None, saying so where it is damaged if asked to ``tell``."""
        try:
            store = read_store(self.folder)
        except DamagedStoreError as damage:
            if tell:
                _log.warning("%s They are decoded again.", damage.damage)
            return None
        if store is None:
            return None
        named = {*store.facts["name"], *store.unreadable}
        fits = named == {sample.name for sample in self.source.samples}
        return store if fits and len(store.facts) + len(store.unreadable) == len(self.source.samples) else None

    def _made(self, state: str, progress: Callable[[int, int], None] | None) -> PixelStore:
        """Decode everything, in place of what is there; ``state`` of the source is that before its fingerprint."""
        with atomic_folder(self.folder) as temporary:
            missed = decode_into(temporary, self.source, self.preprocessing, progress)
            self._require_unchanged(state, missed)
        store = self._found()
        if store is None:
            raise WorkError(f"{self.folder} was written and can't be read back. Delete it and try again.")
        return store

    def _require_unchanged(self, state: str, missed: set[str]) -> None:
        """Refuse to keep what was decoded of other bytes than the fingerprint is of.

        Parameters
        ----------
        missed
            Names of images for which the system is to blame. They are listed as unreadable only if that was so from
            the start, when the fingerprint was taken, and is so still: otherwise it only hesitated.
        """
        if not missed and self.source.state() == state:
            return
        if self.source.fingerprint() != self.fingerprint:
            raise SourceError("The data changed while they were read: leave them alone and run again.")
        there = list(_readable(self.source, self.preprocessing, missed)) if missed else []
        if there:
            raise SourceError(
                f"{len(there):,} of {len(self.source.samples):,} images could not be read for a moment, such as "
                f"{there[0]!r}: run again when their disk can be relied on."
            )


def _is_of(store: PixelStore, names: Sequence[str]) -> bool:
    return store.facts["name"].tolist() == list(names)


def _are_sound(part: MappedRows, rows: np.ndarray) -> bool:
    try:
        part.read(rows)
    except DamagedStoreError:
        return False
    return True


def _readable(source: Source, preprocessing: Preprocessing, missed: set[str]) -> Iterator[str]:
    """Names of those among the missed images that the system reads and decodes now, or finds damaged."""
    for sample, content in zip(source.samples, source.read(), strict=False):
        if sample.name in missed:
            ((_, prepared),) = prepare_all([content], preprocessing)
            if not (isinstance(prepared, ImageError) and prepared.transient):
                yield sample.name


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

    Raises
    ------
    WorkError
        When it can't be read at the moment.
    """
    store = _stored(key, cache)
    return None if store is None else StoredMiniatures(tuple(store.facts["name"]), store.miniatures)


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

    Raises
    ------
    WorkError
        When it can't be read at the moment.
    """
    store = _stored(key, cache)
    channels, *sides = preprocessing.shape
    if store is None or store.rows.shape[1:] != (*sides, channels):
        return None
    return store.facts["name"].tolist(), store.rows


def _stored(key: str, cache: Path | None) -> PixelStore | None:
    if _KEY.fullmatch(key) is None:
        return None  # it comes from a file, and must not lead elsewhere
    folder = (cache or cache_folder()) / "pixels" / key
    mark_used(folder)
    try:
        return read_store(folder)
    except DamagedStoreError:
        return None


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
