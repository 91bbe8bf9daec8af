"""A folder that is whole or not there: written beside its place, synced, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clearmargin.errors import DiskError
from clearmargin.unfinished import sweep_left, temporary_beside

# What systems answer when something lies at the place that a folder is renamed to; Windows says no permission
_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR} | ({errno.EACCES} if os.name == "nt" else set())


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
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; on success it becomes ``target``, on failure it goes.

    What lies at ``target`` is replaced; that nobody else is making it is up to the caller.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    temporary = temporary_beside(target)
    try:
        with disk_errors(target):
            temporary.mkdir(parents=True)
            sweep_left(target.parent)
        yield temporary
        with disk_errors(target):
            for path in (*temporary.iterdir(), temporary):
                _sync(path)
            _put(temporary, target)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, target: Path) -> None:
    """Rename it to ``target``; what lies there goes when that is done, and is back if it can't be."""
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in _IN_THE_WAY or not target.exists():
            raise
        replaced = temporary.with_name(f"{temporary.name.removesuffix('.tmp')}-replaced.tmp")
        target.rename(replaced)
        try:
            temporary.rename(target)
        except BaseException:
            with suppress(OSError):  # refused also when the new one is in place
                replaced.rename(target)
            raise
        shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows has no handle on a folder to sync
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
