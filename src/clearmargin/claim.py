"""A run folder belongs to one run: what is in it already, and who is writing now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clearmargin.errors import DiskError, RunFolderError
from clearmargin.locks import FileLock, Timeout, let_go
from clearmargin.recipe import Recipe, ReportSettings, load_stored_recipe
from clearmargin.runs import is_finished
from clearmargin.unfinished import is_unfinished

LOCK = ".lock"
TUNING = "tuning"  # folder of a search for settings, within that of the run that is made of it
AUDIT_FILES = {"audit.json", "audit.html", "figures", "figures/audit"}


def check_claim(folder: Path, recipe: Recipe, resume: bool, *, tuned: bool = False) -> None:
    """Refuse a folder that holds something which this run would spoil or could not go on with.

    With ``tuned``, a search for settings lies there already: it is what the run is made of.

    Raises
    ------
    RunFolderError
        When the folder can't be made or read, holds other files, or holds a run that may not be gone on with.
    """
    holds = _holds(folder) - ({TUNING} if tuned else set())
    if not holds:
        _check_makeable(folder)
        return
    if "recipe.toml" not in holds:
        raise RunFolderError(f"{folder} holds other files: choose a new or empty folder with --out.")
    if not resume:
        state = "a finished run" if is_finished(folder) else "a run that was interrupted"
        advice = "" if is_finished(folder) else "go on with it by --resume, or "
        raise RunFolderError(f"{folder} holds {state}: {advice}choose another folder with --out.")
    if _of_the_work(load_stored_recipe(folder / "recipe.toml")) != _of_the_work(recipe):
        raise RunFolderError(
            f"The run in {folder} was started with another recipe: resume with the same recipe, settings and seed, "
            "or choose another folder with --out."
        )


def check_search_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder in which a search for settings can't be begun, or gone on with.

    Raises
    ------
    RunFolderError
        When the folder can't be made or read, holds other files, or holds a search and ``resume`` is False.
    """
    holds = _holds(folder)
    if not holds:
        _check_makeable(folder)
    elif TUNING not in holds:
        raise RunFolderError(f"{folder} holds other files: choose a new or empty folder with --out.")
    elif not resume:
        raise RunFolderError(
            f"{folder} holds a search: go on with it by --resume, or choose another folder with --out."
        )


def check_audit_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier audit, which is replaced.

    Raises
    ------
    RunFolderError
        When the folder can't be made or read, or holds other files.
    """
    holds = _holds(folder)
    _check_makeable(folder)
    if "figures" in holds:
        holds |= {f"figures/{name}" for name in _holds(folder / "figures")}
    if holds - AUDIT_FILES or ("audit.html" in holds and "audit.json" not in holds):
        raise RunFolderError(f"{folder} holds other files: choose a new or empty folder with --out.")


def _holds(folder: Path) -> set[str]:
    """Names of what is in a folder, the lock and what was never finished aside; nothing when it is not there."""
    try:
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        return {name for name in names if name != LOCK and not is_unfinished(name)}
    except NotADirectoryError as error:
        raise RunFolderError(f"{folder} is a file: --out needs a folder that is new or empty.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else None
        raise RunFolderError(f"{folder} can't be used as --out: {reason or error}.") from error


def _check_makeable(folder: Path) -> None:
    """Refuse a folder that can't be made or written to; what is made to find that out is removed again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    above = folder.parents[len(missing) - 1] if missing else folder
    if not above.is_dir():
        raise RunFolderError(f"{above} is a file, so that {folder} can't be made: choose another folder with --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "no permission to write there")
    except OSError as error:
        reason = error.strerror or error
        raise RunFolderError(f"{folder} can't be used as --out ({reason}): choose another folder.") from error
    finally:
        for place in missing:
            with suppress(OSError):
                place.rmdir()


def check_apart(out: Path, data: str | None) -> None:
    """Refuse an output inside the data, where it could replace a sample or be taken for one by the next study.

    Raises
    ------
    RunFolderError
        When it lies there.
    """
    if data is not None and Path(data).is_dir() and out.resolve().is_relative_to(Path(data).resolve()):
        raise RunFolderError(f"{out} lies inside the data ({data}): choose a place outside with --out.")


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make the folder and hold its lock; the lock of a process that died is free.

    Raises
    ------
    RunFolderError
        When another process is writing there.
    DiskError
        When the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(
            f"Another process is writing to {folder}: wait for it, or choose another folder with --out."
        ) from None
    except OSError as error:
        raise DiskError(f"The run folder {folder} can't be made: {error.strerror or error}.") from error
    try:
        yield
    finally:
        let_go(lock)


def _of_the_work(recipe: Recipe) -> Recipe:
    """What a run depends on: neither where its data lie, nor the language of its report."""
    return recipe.without_paths().model_copy(update={"report": ReportSettings()})
