"""What a folder, a zip and a tar have in common: named files that are read one after another."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import IO, Protocol, cast

from clearmargin.errors import ImageError, SourceError
from clearmargin.records import Finding

MAX_ENTRIES = 1_000_000
MAX_ENTRY_BYTES = 512 * 2**20
MAX_EXPANSION = 200
EXPANSION_FREE_BYTES = 2**30
PIECE_BYTES = 2**20

# What the standard library raises on damaged files: archives and compressed streams are parsed by
# several modules, and hostile ones reach every branch of them. RuntimeError covers encrypted entries,
# unknown compression methods and the recursion of nested tar headers.
DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)

_COMPRESSIONS: tuple[tuple[bytes, Callable[[Path], object]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


Opened = Generator[tuple[str, IO[bytes] | ImageError], None, None]


class Container(Protocol):
    """Named files, and a way to read some of them once, in order.

    Attributes
    ----------
    kind
        ``folder``, ``zip`` or ``tar``.
    path
        Where it lies; appears in error messages only, never in a finding.
    entries
        Names of all files with ``/`` between folders: sorted in a folder or zip; in a tar in the
        order of the archive, so that one pass reads them.
    findings
        What was noticed while listing.
    """

    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def entries(self) -> tuple[str, ...]: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...

    def streams(self, names: Iterable[str]) -> Opened:
        """Each file opened in turn, or the reason why it can't be; ``names`` in the order of ``entries``.

        A stream is closed when the next one is asked for.
        """
        ...

    def fingerprint(self, names: Iterable[str]) -> str:
        """SHA-256 (hex) over the names and their content, or over the archive file as it is."""
        ...

    def state(self, names: Iterable[str]) -> str:
        """As `clearmargin.records.Source.state`, of some of the files or of the archive file."""
        ...


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip, bzip2 or xz when it begins like one.

    Raises
    ------
    OSError
        When it can't be opened.
    """
    with path.open("rb") as file:
        head = file.read(6)
    for magic, opener in _COMPRESSIONS:
        if head.startswith(magic):
            return cast(IO[bytes], opener(path))
    return path.open("rb")


def read_image(stream: IO[bytes]) -> bytes | ImageError:
    """All bytes of one image file, or the reason why they can't be had (damage, size, permission)."""
    try:
        content = read_exactly(stream, MAX_ENTRY_BYTES + 1)
    except DAMAGE as error:
        return unreadable(error)
    if len(content) > MAX_ENTRY_BYTES:
        return ImageError(f"larger than {MAX_ENTRY_BYTES // 2**20} MiB")
    return content


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or fewer at the end; memory grows with what is there, not with what is asked for."""
    first = stream.read(min(size, PIECE_BYTES))
    if len(first) < PIECE_BYTES:
        return first
    pieces = [first]
    missing = size - len(first)
    while missing and (piece := stream.read(min(missing, PIECE_BYTES))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def unreadable(error: Exception) -> ImageError:
    """Say why a file can't be read, without its name or place; `ImageError.transient` when the system refused."""
    if isinstance(error, FileNotFoundError):
        return ImageError("not there any more", transient=True)
    if isinstance(error, PermissionError):
        return ImageError("no permission to read it", transient=True)
    if isinstance(error, OSError) and error.strerror:
        return ImageError(f"can't be read: {error.strerror}", transient=True)
    return ImageError("damaged in its archive: compressed bytes or checksum are wrong")


def safe_name(stored: str, path: Path) -> str:
    """Name of an archive entry without ``.`` and empty components.

    Raises
    ------
    SourceError
        When the name is absolute or climbs out of the archive: made to overwrite files, or by mistake.
    """
    components = stored.split("/")
    if stored.startswith("/") or re.match(r"[A-Za-z]:/", stored) or ".." in components:
        raise SourceError(
            f"The archive {path} has an entry that points outside it: {stored!r}. Such archives are refused; "
            "make it again from a folder, with relative names."
        )
    return "/".join(component for component in components if component not in ("", "."))


def refuse_excess(path: Path, entries: int, unpacked_bytes: int) -> None:
    """Refuse an archive with too many entries, or one that expands beyond reason.

    Raises
    ------
    SourceError
        Over `MAX_ENTRIES`; over `MAX_EXPANSION` times its size on disk, once that is over 1 GiB.
    """
    if entries > MAX_ENTRIES:
        reason = f"more than {MAX_ENTRIES:,} entries"
    elif unpacked_bytes > EXPANSION_FREE_BYTES and unpacked_bytes > MAX_EXPANSION * path.stat().st_size:
        reason = f"content that unpacks to more than {MAX_EXPANSION} times the size of the archive"
    else:
        return
    raise SourceError(f"The archive {path} is refused: it has {reason}. Unpack it yourself and give the folder.")


def refuse_duplicates(names: Sequence[str], path: Path) -> None:
    """Refuse an archive that holds a name twice: programs disagree on which of the two counts.

    Raises
    ------
    SourceError
        Naming up to five of them.
    """
    twice = [name for name, count in Counter(names).items() if count > 1] if len(set(names)) < len(names) else []
    if twice:
        raise SourceError(
            f"The archive {path} holds {counted(len(twice), 'name')} more than once: {quoted(twice)}. "
            "Make it again from a folder."
        )


def damaged(path: Path, error: Exception) -> SourceError:
    """Say that a whole file can't be used, and why."""
    if isinstance(error, OSError) and error.strerror:
        return SourceError(f"{path} can't be read: {error.strerror}.")
    if isinstance(error, ImageError):
        return SourceError(f"{path} can't be used: {error}.")
    return SourceError(
        f"{path} is damaged or cut short ({str(error) or type(error).__name__}). Copy or download it again."
    )


def file_fingerprint(path: Path) -> str:
    """SHA-256 (hex) of one file's bytes.

    Raises
    ------
    SourceError
        When it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path, error) from error


def files_state(paths: Iterable[Path]) -> str:
    """Digest (hex) of size, times and inode of each file: another one when any was written to or exchanged."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            found = path.stat()
            said = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
        except (OSError, ValueError) as error:
            said = type(error).__name__
        digest.update(said.encode() + b"\n")
    return digest.hexdigest()


def counted(count: int, noun: str) -> str:
    """Number and noun, for a message: ``1 file``, ``1,200 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def quoted(names: Sequence[str], limit: int = 5) -> str:
    """First few names, quoted, for a message."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
