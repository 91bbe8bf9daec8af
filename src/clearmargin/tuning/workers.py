"""The processes that take part in a search: a lock file each, which is free as soon as its process is gone."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

from clearmargin.locks import FileLock, Timeout


class Workers:
    """The process that this is, and whether the others are there.

    Attributes
    ----------
    own
        Name of this process in the search.

    Raises
    ------
    OSError
        From here and from every method but `leave`: when the file system refuses.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.own = folder, uuid.uuid4().hex
        self._lock = FileLock(self._path(self.own))
        self._lock.acquire(timeout=0)

    def leave(self) -> None:
        """Take part no more. What the file system refuses is passed over, or it would hide why this process leaves."""
        with suppress(OSError):
            self._remove_and_release(self.own, self._lock)

    def say_done(self) -> None:
        """Tell the others that this process begins no trial of its own any more."""
        self._done(self.own).touch()

    def others_want_more(self) -> bool:
        """Whether another process is there that has not said it is done."""
        there = [name for name in self._names() if name != self.own and self.is_there(name)]
        return any(not self._done(name).exists() for name in there)

    def is_there(self, name: str) -> bool:
        """Whether a process is still there; files of one that is gone are removed."""
        if name == self.own:
            return True
        path = self._path(name)
        if not name.isalnum() or not path.exists():  # a name comes from a file
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        self._remove_and_release(name, lock)
        return False

    def _names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.lock"))

    def _remove_and_release(self, name: str, lock: FileLock) -> None:
        """Remove the files of a process that is gone or leaves; those that stay are removed by who looks next."""
        try:
            with suppress(OSError):
                self._remove(name)  # still held: nobody else takes it meanwhile
        finally:
            lock.release()
        with suppress(OSError):
            self._remove(name)  # Windows removes no file that is open

    def _remove(self, name: str) -> None:
        self._done(name).unlink(missing_ok=True)
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _done(self, name: str) -> Path:
        return self._folder / f"{name}.done"
