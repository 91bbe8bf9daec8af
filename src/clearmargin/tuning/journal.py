"""The journal of a search: Optuna's, behind locks that end with their process; what is wrong with it, in our words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmargin.errors import ClearmarginError, DiskError, MissingExtraError, RunFolderError
from clearmargin.locks import FileLock, Timeout

if TYPE_CHECKING:
    import optuna

WAIT_SECONDS = 0.5  # between two looks at what another process does
_NAME = "tuning"


def load_optuna() -> Any:
    """Import Optuna, told to keep quiet.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("Tuning", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(folder: Path) -> optuna.Study:
    """Read ``journal.log``, or begin it; a line that a power cut tore is cut off. The caller holds the folder's lock.

    Raises
    ------
    RunFolderError
        When it is damaged.
    OSError
        When the file system refuses.
    """
    _cut_torn_line(folder / "journal.log")
    with replayed(folder):
        study: optuna.Study = load_optuna().create_study(
            storage=_storage(folder), study_name=_NAME, load_if_exists=True, direction="maximize"
        )
    return study


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """What the file system refuses in the folder of a search, as one error.

    Raises
    ------
    DiskError
        In the place of every `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"The search can't be kept in {folder}: {error.strerror or error}. Finished trials are kept: free some "
            "space, and go on with --resume."
        ) from error


@contextmanager
def replayed(folder: Path) -> Iterator[None]:
    """Reading of the journal, and nothing else: what Optuna stumbles over there is damage.

    Raises
    ------
    RunFolderError
        In its place.
    """
    try:
        yield
    except ClearmarginError:
        raise
    except (ValueError, LookupError, TypeError, AssertionError, AttributeError) as error:
        raise RunFolderError(
            f"The journal of the search in {folder} is damaged ({type(error).__name__}: {error}): choose another "
            "folder with --out."
        ) from error


@contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock, which is free as soon as the process that held it is gone; ``waiting`` is called until then.

    Raises
    ------
    DiskError
        When the file system refuses the lock.
    """
    lock = FileLock(path)
    while not _is_taken(lock, path.parent):
        waiting()
        time.sleep(WAIT_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):  # or it would hide what went wrong inside
            lock.release()


def _is_taken(lock: FileLock, folder: Path) -> bool:
    with kept(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
    return True


def _storage(folder: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lock: Any = _Lock(folder / "journal.lock")
    return JournalStorage(JournalFileBackend(str(folder / "journal.log"), lock_obj=lock))


class _Lock:
    """A lock of the journal that ends with its process: Optuna's own stay behind, and are waited for."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_torn_line(path: Path) -> None:
    """Cut the journal back to its last whole line: a power cut or a full disk may leave half of one."""
    if not path.is_file():
        return
    with FileLock(path.with_name("journal.lock")), path.open("r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
