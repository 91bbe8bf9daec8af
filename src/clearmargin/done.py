"""Contenders that are done: what they left, by hash, so that a run that goes on believes no file that was damaged."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from clearmargin.errors import DiskError, WorkError
from clearmargin.files import file_sha256, is_sealed, remove, sealed, write_json
from clearmargin.unfinished import is_unfinished

RECORD = "done.json"
_log = logging.getLogger(__name__)


def write_done(folder: Path) -> None:
    """Write down what a contender left, once all of it is on the disk: names and SHA-256, sealed.

    Parameters
    ----------
    folder
        Of the contender.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    try:
        left = [path for path in sorted(folder.iterdir()) if path.is_file() and not is_unfinished(path.name)]
        files = {path.name: file_sha256(path) for path in left if path.name != RECORD}
    except OSError as error:
        raise DiskError(f"What was written in {folder} can't be read back: {error.strerror or error}.") from error
    _write(folder, files)


def is_done(folder: Path, name: str) -> bool:
    """Whether a contender got to its end, and all that it left is as it was then.

    Where a file is not, the log says so and the record goes: the contender is to be trained again.

    Raises
    ------
    WorkError
        When a file can't be read at the moment.
    DiskError
        When the record can't be removed.
    """
    record = folder / RECORD
    try:
        if not record.is_file():
            return False
        changed = _changed(folder, record.read_bytes())
    except OSError as error:
        raise _unreadable(folder, error) from error
    if changed is None:
        return True
    _log.warning("'%s' was done, but its %s was damaged or changed since: it is trained again.", name, changed)
    remove(record)
    return False


def leave_out(folder: Path, names: Collection[str]) -> None:
    """Remove files of a contender that is done; it stays done without them.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    try:
        files = _files((folder / RECORD).read_bytes()) or {}
    except OSError as error:
        raise _unreadable(folder, error) from error
    kept = {name: sha256 for name, sha256 in files.items() if name not in names}
    if kept != files:
        _write(folder, kept)  # first: killed in between, it must not look damaged
    for name in names:
        remove(folder / name)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    write_json(folder / RECORD, sealed({"format": 1, "files": files}))


def _changed(folder: Path, record: bytes) -> str | None:
    """Name of the first file that is not as it was left; None when all are."""
    files = _files(record)
    if files is None:
        return RECORD
    for name, sha256 in files.items():
        try:
            found = file_sha256(folder / name)
        except FileNotFoundError:
            return name
        if found != sha256:
            return name
    return None


def _files(record: bytes) -> dict[str, str] | None:
    """SHA-256 by name; None when the record is damaged."""
    try:
        content = json.loads(record)
        return dict(content["files"]) if is_sealed(content) else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _unreadable(folder: Path, error: OSError) -> WorkError:
    return WorkError(
        f"What the contender in {folder} left can't be read at the moment ({error.strerror or error}): nothing was "
        "removed. Resume when it can."
    )
