"""A tar, compressed or not, read from front to back and never unpacked to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, cast

from clearmargin.records import Finding
from clearmargin.sources.container import (
    DAMAGE,
    PIECE_BYTES,
    Opened,
    damaged,
    file_fingerprint,
    files_state,
    open_decompressed,
    refuse_duplicates,
    refuse_excess,
    safe_name,
    unreadable,
)
from clearmargin.sources.folder import special_entries
from clearmargin.sources.names import is_hidden

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Tar:
    """Files in a tar; see `Container`."""

    path: Path
    entries: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    kind: ClassVar[str] = "tar"

    def streams(self, names: Iterable[str]) -> Opened:
        """Each entry in turn, in one pass; see `Container.streams`."""
        wanted = list(names)
        position = 0
        error: Exception = FileNotFoundError()
        try:
            for name, stream in self._files():
                if position < len(wanted) and name == wanted[position]:
                    position += 1
                    yield name, stream
        except DAMAGE as damage:
            error = damage
        for name in wanted[position:]:  # the tar was exchanged or damaged since it was listed
            yield name, unreadable(error)

    def _files(self) -> Iterator[tuple[str, IO[bytes]]]:
        with _opened(self.path) as (archive, _):
            for member in _members(archive):
                if _is_file(member):
                    with cast(IO[bytes], archive.extractfile(member)) as stream:
                        yield safe_name(member.name, self.path), stream

    def fingerprint(self, names: Iterable[str]) -> str:
        """SHA-256 (hex) of the tar as it is, compressed or not."""
        return file_fingerprint(self.path)

    def state(self, names: Iterable[str]) -> str:
        """Of the archive file; see `Container.state`."""
        return files_state([self.path])


def is_tar(path: Path) -> bool:
    """Whether the file is a tar, compressed or not, whatever its name."""
    try:
        with open_decompressed(path) as stream:
            block = stream.read(_BLOCK)
        if len(block) == _BLOCK and not block.strip(b"\0"):
            return True  # the end mark of a tar without files
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except DAMAGE:
        return False
    return True


def list_tar(path: Path) -> Tar:
    """List the files in a tar, in the order of the archive.

    Links, devices and sparse files are left out and counted by a finding.

    Raises
    ------
    SourceError
        Damaged or cut short; holds names that point outside, the same name twice, or more than is reasonable.
    """
    names: list[str] = []
    special: list[str] = []
    total = 0
    try:
        with _opened(path) as (archive, reader):
            for member in _members(archive):
                name = safe_name(member.name, path)
                total += member.size
                refuse_excess(path, len(names) + len(special), total)
                if member.isdir() or is_hidden(name):
                    continue
                if _is_file(member):
                    names.append(name)
                else:
                    special.append(name)
            if reader.last.strip(b"\0") or len(reader.last) < _BLOCK:
                raise tarfile.ReadError(f"no end mark after {len(names)} files")
    except DAMAGE as error:
        raise damaged(path, error) from error
    refuse_duplicates(names, path)
    return Tar(path, tuple(names), (special_entries(special),) if special else ())


def _is_file(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.issparse()


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        # tarfile keeps all it has seen; memory must not grow with the archive
        archive.members.clear()  # type: ignore[attr-defined]
        yield member


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, _ForwardReader]]:
    with open_decompressed(path) as stream:
        reader = _ForwardReader(stream)
        with tarfile.TarFile(fileobj=cast(IO[bytes], reader), encoding="utf-8", errors="surrogateescape") as archive:
            yield archive, reader


class _ForwardReader:
    """The part of a file that tarfile needs, without going back and without reading much at once.

    Going back in a compressed stream means starting again from its beginning, and a header may claim
    that gigabytes of names follow it.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self.last = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size > 2 * PIECE_BYTES:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        self.last = self._stream.read(size)
        self._position += len(self.last)
        return self.last

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("its entries are not in order")
        while self._position < position and self.read(min(PIECE_BYTES, position - self._position)):
            pass

    def close(self) -> None:
        self._stream.close()
