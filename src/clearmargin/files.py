"""Writing that is whole or not there: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from clearmargin.errors import DiskError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it becomes ``path``, on failure it goes.

    Raises
    ------
    DiskError
        When the file system refuses: full, read-only, no permission.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise DiskError(
            f"Could not write {path.name} in {path.parent}: {error.strerror or error}. "
            "What was there before is untouched; free some space or choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to sync
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    r"""Write ``content`` to ``path`` as UTF-8 with ``\n`` line ends, whole or not at all."""
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON; not-a-number is refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as `table_text` makes it, whole or not at all."""
    write_text(path, table_text(frame))


def table_text(frame: pd.DataFrame) -> str:
    """A table as CSV in which no text cell can start a formula in a spreadsheet.

    A text cell that begins with ``= + - @``, a tab, a carriage return or an apostrophe gets an apostrophe in
    front; `read_table` takes it off again. Floats are written with all their digits.
    """
    safe = frame.copy()
    for column in safe.columns:
        if not (is_numeric_dtype(safe[column]) or is_bool_dtype(safe[column])):
            safe[column] = [_defused(cell) for cell in safe[column]]
    safe.columns = [_defused(name) for name in safe.columns]
    return str(safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC))


def read_table(path: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read what `write_table` wrote; the columns named in ``text`` are never taken for numbers.

    An empty text cell comes back as the empty string, and a class named ``NA`` as ``"NA"``.
    """
    frame = pd.read_csv(
        path, dtype=dict.fromkeys(text, object), keep_default_na=False, encoding_errors="surrogateescape"
    )
    for column in frame.columns:
        if not (is_numeric_dtype(frame[column]) or is_bool_dtype(frame[column])):
            frame[column] = [_armed(cell) for cell in frame[column]]
    frame.columns = [_armed(name) for name in frame.columns]
    return frame


def _defused(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _armed(cell: str) -> str:
    return cell.removeprefix("'")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
