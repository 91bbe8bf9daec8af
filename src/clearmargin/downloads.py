"""Files from the network, only when somebody asked: whole and right, or not there.

What has come of a file lies beside its place as ``.NAME.part`` and is gone on with, also by a later process; only a
file with the pinned SHA-256 gets its name. pooch, which gives the cache folder, starts every transfer anew, so the
transfer is done with requests, which pooch brings along.
"""

from __future__ import annotations

import gzip
import hashlib
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearmargin.errors import DiskError, DownloadError
from clearmargin.files import atomic_path, file_sha256
from clearmargin.transfer import BrokenOffError, Patience, host_of, size_of, transfer

_PIECE_BYTES: Final = 1 << 20
_MOST_TIMES_THE_SIZE: Final = 2  # a mirror may have compressed it anew, a little worse
_MOST_TIMES_UNPACKED: Final = 100


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server, and how to know that it is right.

    Attributes
    ----------
    name
        What it is called here.
    urls
        Where it is to be had, the first that works counts; none when it is known by its hash only.
    size_bytes
        Its published size; a transfer of more than twice as much is stopped.
    sha256
        Published hash of the file, hex.
    content_sha256
        Hash of what a ``.gz`` holds, hex: a copy that somebody unpacked or compressed anew is right too.
    """

    name: str
    urls: tuple[str, ...]
    size_bytes: int
    sha256: str
    content_sha256: str | None = None


Progress = Callable[[str, int, int], None]


def download(
    remote: RemoteFile,
    folder: Path,
    *,
    otherwise: str = "",
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Put a file into a folder, unless the right one is there already.

    Parameters
    ----------
    otherwise
        A sentence that ends every error: the other ways to get the file.
    progress
        Called with (name, bytes done, bytes in all).

    Returns
    -------
    Path
        The file, its hash checked.

    Raises
    ------
    DownloadError
        No network, refused, not found, broken off too often, too large, or not the pinned content.
    DiskError
        When the file system refuses.
    """
    report = progress or (lambda name, done, total: None)
    try:
        return _download(remote, folder, otherwise, report, patience or Patience())
    except OSError as error:  # the network's are others by now
        raise DiskError(
            f"Could not write {remote.name} in {folder}: {error.strerror or error}. Free some space, or choose another "
            "folder; what has come so far is kept and gone on with."
        ) from error


def _download(remote: RemoteFile, folder: Path, otherwise: str, report: Progress, patience: Patience) -> Path:
    target = folder / remote.name
    if _is_right(target, remote):
        return target
    report(remote.name, 0, remote.size_bytes)  # also while another process is at it
    folder.mkdir(parents=True, exist_ok=True)
    with _sole_writer(folder / f".{remote.name}.lock"):
        if _is_right(target, remote):  # that other process was quicker
            return target
        part = folder / f".{remote.name}.part"
        if not _is_right(part, remote):
            _try_each_address(remote, part, otherwise, report, patience)
        with atomic_path(target) as temporary:
            part.replace(temporary)
    return target


def mismatch(path: Path, remote: RemoteFile) -> str | None:
    """Say how a file differs from the published one; None when it is right.

    Raises
    ------
    OSError
        When it can't be read.
    """
    expected, got = remote.sha256, file_sha256(path)
    if got in (remote.sha256, remote.content_sha256):
        return None
    if remote.content_sha256 is not None and (content := _unpacked_sha256(path, remote)) is not None:
        if content == remote.content_sha256:
            return None
        expected, got = remote.content_sha256, content
    size = path.stat().st_size
    sizes = f" ({size:,} bytes, {remote.size_bytes:,} are published)" if size != remote.size_bytes else ""
    return f"another hash{sizes}: expected the SHA-256 {expected}, got {got}"


def _unpacked_sha256(path: Path, remote: RemoteFile) -> str | None:
    """Hash of what a gzip file holds; None when it is none, is damaged, or unpacks without end."""
    digest, unpacked = hashlib.sha256(), 0
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
                unpacked += len(piece)
                if unpacked > _MOST_TIMES_UNPACKED * remote.size_bytes:
                    return None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    return digest.hexdigest()


def _is_right(path: Path, remote: RemoteFile) -> bool:
    return path.exists() and mismatch(path, remote) is None


@contextmanager
def _sole_writer(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for whoever has it; a process that died has none."""
    from clearmargin.locks import FileLock

    lock = FileLock(path)
    lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # still held; whoever waits for the removed file looks again
            path.unlink()
        lock.release()


def _try_each_address(remote: RemoteFile, part: Path, otherwise: str, report: Progress, patience: Patience) -> None:
    reasons = []
    for url in remote.urls:
        try:
            return _try_again(url, remote, part, report, patience)
        except DownloadError as error:
            reasons.append(str(error))
    size = size_of(part)
    kept = f" {size:,} bytes have come and are kept: the same command goes on from there." if size else ""
    message = f"Could not download {remote.name}: {'; '.join(reasons)}.{kept} {otherwise}"
    raise DownloadError(message.rstrip())


def _try_again(url: str, remote: RemoteFile, part: Path, report: Progress, patience: Patience) -> None:
    """Fill ``part`` from one address until it is right."""
    most, broken = _MOST_TIMES_THE_SIZE * remote.size_bytes, ""

    def count(done: int, total: int | None) -> None:
        report(remote.name, done, total or max(done, remote.size_bytes))

    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.pause_seconds * 2 ** (attempt - 1))
        resumed = size_of(part) > 0
        try:
            end_is_known = transfer(url, part, most_bytes=most, report=count, patience=patience)
        except BrokenOffError as error:
            broken = str(error)
            continue
        wrong = mismatch(part, remote)
        if wrong is None:
            return
        if not end_is_known and size_of(part) < remote.size_bytes:
            broken = f"{host_of(url)} broke off after {size_of(part):,} of {remote.size_bytes:,} bytes"
            continue
        part.unlink(missing_ok=True)
        broken = f"what {host_of(url)} sent has {wrong}; it was deleted"
        if not resumed:  # otherwise the first piece may be of another day, or damaged since
            raise DownloadError(broken)
    raise DownloadError(f"{broken} ({patience.attempts} attempts)")
