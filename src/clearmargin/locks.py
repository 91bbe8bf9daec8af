"""One process at a time: locks that the system frees when their owner is gone, however it ended."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
from filelock import Timeout

from clearmargin.errors import DiskError

__all__ = ["FileLock", "Timeout", "let_go", "sole_writer_of"]

_log = logging.getLogger(__name__)
# What file systems answer that know no locks, or whose server keeps none
_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class FileLock(filelock.FileLock):
    """A lock on a file by the system itself, never by the mere existence of the file.

    A file that exists says nothing of whether its maker is still there: after a crash nobody could begin, or two would.
    `acquire` raises `DiskError` where the file system has no locks; `Timeout` when another has it for too long.
    """

    def __init__(self, path: str | Path, timeout: float = -1) -> None:
        super().__init__(path, timeout=timeout, fallback_to_soft=False)

    def acquire(self, *words: Any, **named: Any) -> Any:
        """As `filelock.BaseFileLock.acquire`.

        Raises
        ------
        DiskError
            When the file system has no locks.
        """
        try:
            return super().acquire(*words, **named)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            raise DiskError(
                f"{Path(self.lock_file).parent} lies on a file system that has no locks ({error.strerror}), so that "
                "two processes could write there at once: choose a folder on another disk (the cache's is named by "
                "the environment variable CLEARMARGIN_CACHE)."
            ) from error


@contextmanager
def sole_writer_of(cache: Path, entry: str, doing: str) -> Iterator[None]:
    """Be the only process that makes an entry of the cache; wait for another that is at it, and say so.

    What the other made is there then: look again before making anything.

    Parameters
    ----------
    entry
        Kind and key, such as ``pixels-0123abcd``.
    doing
        What another process does, in words: ``decodes these images``.

    Raises
    ------
    DiskError
        When the cache can't be written, or its file system has no locks.
    """
    path = cache / "locks" / f"{entry}.lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("Another process %s: waiting for it.", doing)
            lock.acquire()
    except OSError as error:
        raise DiskError(
            f"Could not write in {path.parent}: {error.strerror or error}. Free some space, or choose another folder "
            "with the environment variable CLEARMARGIN_CACHE."
        ) from error
    try:
        yield
    finally:
        let_go(lock)


def let_go(lock: FileLock) -> None:
    """Remove the file of a lock that is held, and let others have it.

    A disk that refuses is no error: of that, the work that was done under the lock has told.
    """
    try:
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)  # still held: nobody else can have it meanwhile
    finally:
        with suppress(OSError):
            lock.release()
