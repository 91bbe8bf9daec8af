"""A zip, read where it lies and never unpacked to disk."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, ClassVar

from clearmargin.errors import SourceError
from clearmargin.records import Finding
from clearmargin.sources.container import (
    DAMAGE,
    Opened,
    damaged,
    file_fingerprint,
    files_state,
    refuse_duplicates,
    refuse_excess,
    safe_name,
    unreadable,
)
from clearmargin.sources.names import is_hidden

_ENCRYPTED = 0x1
_NAME_IS_UTF8 = 0x800
_METHODS = {0: "stored", 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstandard", 95: "xz"}
_READ_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SMALL_BYTES = 1 << 20  # entries up to this are read at once, which takes a third of the time of a stream
_USUAL_FLAGS = _NAME_IS_UTF8 | 0x8 | 0x6  # APPNOTE.TXT 4.4.4: sizes behind the data; how hard it was compressed
_LOCAL_SIGNATURE = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s2xH18xHH")  # APPNOTE.TXT 4.3.7: signature, flags, lengths of name and extra field
_ENTRY_DAMAGE: tuple[type[Exception], ...] = (*DAMAGE, KeyError)  # the zip may be exchanged after it was listed


@dataclass(frozen=True)
class Zip:
    """Files in a zip; see `Container`.

    Attributes
    ----------
    stored
        Names inside the archive.
    directory
        Where its own list of files begins, and the SHA-256 (hex) of all from there on: as long as they are the same, so
        are its names. No digest where the file was written to meanwhile.
    """

    path: Path
    entries: tuple[str, ...]
    stored: Mapping[str, str]
    directory: tuple[int, str]
    findings: tuple[Finding, ...] = ()
    kind: ClassVar[str] = "zip"

    def streams(self, names: Iterable[str]) -> Opened:
        """Each entry opened in turn; see `Container.streams`."""
        try:
            file = self.path.open("rb")
            archive = zipfile.ZipFile(file)
        except DAMAGE as error:
            raise damaged(self.path, error) from error
        with file, archive:
            ends = _ends(archive)
            for name in names:
                try:
                    info = archive.getinfo(self.stored[name])
                    content = _small_entry(file, info, ends[info.header_offset])
                    stream = archive.open(self.stored[name]) if content is None else io.BytesIO(content)
                except _ENTRY_DAMAGE as error:
                    yield name, unreadable(error)
                    continue
                with stream:
                    yield name, stream

    def fingerprint(self, names: Iterable[str]) -> str:
        """SHA-256 (hex) of the zip."""
        return file_fingerprint(self.path)

    def state(self, names: Iterable[str]) -> str:
        """Of the archive file; see `Container.state`."""
        return files_state([self.path])


def _ends(archive: zipfile.ZipFile) -> dict[int, int]:
    """Where the entry that begins at an offset ends at the latest: where the next one, or the directory, begins."""
    begin = sorted(info.header_offset for info in archive.infolist())
    return dict(pairwise([*begin, archive.start_dir]))


def _small_entry(file: IO[bytes], info: zipfile.ZipInfo, end: int) -> bytes | None:
    """A small entry, whole and checked; None for any other, and where anything is odd, which a stream then says."""
    if max(info.file_size, info.compress_size) > _SMALL_BYTES or info.flag_bits & ~_USUAL_FLAGS:
        return None
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        return None
    signature, flags, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    name = file.read(name_bytes + extra_bytes)[:name_bytes]
    same = signature == _LOCAL_SIGNATURE and flags == info.flag_bits
    begin = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    if not same or name != info.orig_filename.encode(_encoding(info)) or begin + info.compress_size > end:
        return None
    content = file.read(info.compress_size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflate.decompress(content, info.file_size + 1)
        except zlib.error:
            return None
        if not inflate.eof:
            return None
    return content if len(content) == info.file_size and zlib.crc32(content) == info.CRC else None


def _encoding(info: zipfile.ZipInfo) -> str:
    return "utf-8" if info.flag_bits & _NAME_IS_UTF8 else "cp437"


def is_zip(path: Path) -> bool:
    """Whether the file is a zip, whatever its name; also one that is cut short."""
    try:
        with path.open("rb") as file:
            return file.read(len(_LOCAL_SIGNATURE)) == _LOCAL_SIGNATURE or zipfile.is_zipfile(file)
    except DAMAGE:
        return False


def list_zip(path: Path) -> Zip:
    """List the files in a zip, sorted by name.

    Raises
    ------
    SourceError
        Damaged; encrypted; holds links, names that point outside, the same name twice, compression other
        than deflate, or more than is reasonable.
    """
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                digest = directory_digest(file, archive.start_dir)
                now = os.fstat(file.fileno())
                same = (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns)
                directory = archive.start_dir, digest if same else ""
    except DAMAGE as error:
        raise damaged(path, error) from error
    refuse_excess(path, len(infos), sum(info.file_size for info in infos))
    pairs = []
    for info in infos:
        name = _name(info)
        clean = safe_name(name, path)
        _refuse_unusual(info, name, path)
        if not name.endswith("/") and not is_hidden(clean):
            pairs.append((clean, info.filename))
    refuse_duplicates([name for name, _ in pairs], path)
    return Zip(path, tuple(sorted(name for name, _ in pairs)), dict(pairs), directory)


def directory_digest(file: io.BufferedReader, begin: int) -> str:
    """SHA-256 (hex) of an open zip from where its list of files begins to the end.

    Raises
    ------
    OSError, ValueError
        When it can't be read.
    """
    file.seek(begin)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _name(info: zipfile.ZipInfo) -> str:
    """Read the name as its maker meant it: macOS stores UTF-8 without saying so, old Windows tools backslashes."""
    name = info.filename
    if not info.flag_bits & _NAME_IS_UTF8:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/")


def _refuse_unusual(info: zipfile.ZipInfo, name: str, path: Path) -> None:
    if stat.S_ISLNK(info.external_attr >> 16):
        problem = "is a link; links in archives are refused"
    elif info.flag_bits & _ENCRYPTED:
        problem = "is encrypted"
    elif info.compress_type not in _READ_METHODS:
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        problem = f"is compressed by {method}; only stored and deflate are read"
    else:
        return
    raise SourceError(
        f"The zip {path} can't be used: its entry {name!r} {problem}. Unpack it yourself and give the folder."
    )
