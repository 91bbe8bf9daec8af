"""A folder that is whole or not there: written beside its place, synced, renamed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clearmargin.errors import DiskError

_DAY_SECONDS = 86_400
# A process number means something on one machine only, and a cache folder may be shared.
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into a `DiskError` that names the folder."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"Could not write in {folder.parent}: {error.strerror or error}. What was there before is untouched; "
            "free some space, or choose another folder with the environment variable CLEARMARGIN_CACHE."
        ) from error


@contextmanager
def atomic_folder(target: Path, is_good: Callable[[], bool]) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; on success it becomes ``target``, on failure it goes.

    Parameters
    ----------
    is_good
        Whether what lies at ``target`` can be used. When another process was quicker and its folder is
        good, that one stays; anything else is replaced.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    # Leading dot, target, machine, process, anything, "tmp": `_is_stale` reads it back.
    temporary = target.parent / f".{target.name}.{_MACHINE}.{os.getpid()}.{uuid.uuid4().hex}.tmp"
    try:
        with disk_errors(target):
            temporary.mkdir(parents=True)
            for other in target.parent.glob(".*.tmp"):
                if _is_stale(other):
                    shutil.rmtree(other, ignore_errors=True)
        yield temporary
        with disk_errors(target):
            for path in (*temporary.iterdir(), temporary):
                _sync(path)
            _put(temporary, target, is_good)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, target: Path, is_good: Callable[[], bool]) -> None:
    try:
        temporary.rename(target)
    except OSError:
        if not target.exists():
            raise
        if is_good():
            return
        damaged = temporary.with_name(f"{temporary.name.removesuffix('.tmp')}-damaged.tmp")
        target.rename(damaged)
        temporary.rename(target)
        shutil.rmtree(damaged, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows has no handle on a folder to sync
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_being_written(path: Path) -> bool:
    """True for what lies beside its place until it is whole, unless it was left there."""
    return path.name.startswith(".") and path.suffix == ".tmp" and not _is_stale(path)


def _is_stale(temporary: Path) -> bool:
    """True when the process that wrote it is gone, or nothing was written for a day."""
    with suppress(OSError):  # it may vanish while we look
        inside = temporary.iterdir() if temporary.is_dir() else ()
        newest = max(path.stat().st_mtime for path in (temporary, *inside))
        if time.time() - newest > _DAY_SECONDS:
            return True
    parts = temporary.name.rsplit(".", 4)  # target, machine, process, anything, "tmp"
    ours = len(parts) == 5 and parts[1] == _MACHINE and parts[2].isdecimal()
    return ours and not _is_running(int(parts[2]))


def _is_running(process: int) -> bool:
    if os.name == "nt":  # there, os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # someone else's, or no number of ours
        return True
    return True
