"""Writing that is whole or not there: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from clearmargin.errors import DiskError, UsageError
from clearmargin.unfinished import temporary_beside

if TYPE_CHECKING:
    import torch

_ENCODING_ERRORS = "surrogatepass"  # file names and foreign arrays may hold what is not Unicode: it is kept


def check_output_file(out: Path, example: str, source: Path | None, what: str) -> None:
    """Refuse, before any work is done, an ``--out`` that can't become a file or that is the ``source`` itself.

    Parameters
    ----------
    example
        A file name, to suggest one within a folder.
    source, what
        What is read, and in words what it is.

    Raises
    ------
    UsageError
        Saying what to do.
    """
    try:
        if out.is_dir():
            raise UsageError(f"{out} is a folder: --out needs the name of a file, such as {out / example}.")
        if source is not None and out.exists() and source.exists() and out.samefile(source):
            raise UsageError(f"--out {out} is the {what} itself, which would be lost: choose another name.")
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{out} can't be used as --out: {reason or error}.") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it becomes ``path``, on failure it goes.

    Raises
    ------
    DiskError
        When the file system refuses: full, read-only, no permission.
    """
    if path.is_symlink():
        path = path.resolve()  # the link stays, what it points to is replaced
    if path.exists() and not path.is_file():
        raise DiskError(f"{path} is not a regular file: choose another name.")
    temporary = temporary_beside(path)
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


def sweep(folder: Path) -> None:
    """Remove what a process that was killed had not finished writing, here and below; nobody else may be writing."""
    for left in folder.rglob(".*.tmp"):
        with suppress(OSError):
            left.unlink()


def move_into_place(source: Path, target: Path) -> None:
    """Give a file that is whole another name in its folder, in place of what has that name.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    try:
        source.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise DiskError(f"Could not rename {source.name} in {source.parent}: {error.strerror or error}.") from error


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"Could not remove {path.name} in {path.parent}: {error.strerror or error}.") from error


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
    r"""Write ``content`` to ``path`` as UTF-8 with its own line ends, whole or not at all."""
    write_bytes(path, content.encode("utf-8", _ENCODING_ERRORS))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as readable JSON, always valid UTF-8.

    Raises
    ------
    ValueError
        For a number that is not finite, since JSON has none.
    """
    write_bytes(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """What `write_json` writes."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # what UTF-8 does not have, a lone surrogate, becomes \udc80: just what JSON wants
    return text.encode("utf-8", "backslashreplace")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with ``content_sha256``, by which `is_sealed` notices that a figure was edited."""
    return {**content, "content_sha256": _content_sha256(content)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether ``content_sha256`` is that of the rest."""
    try:
        return content.get("content_sha256") == _content_sha256(content)
    except RecursionError:  # nested more deeply than anything that is written here
        return False


def _content_sha256(content: Mapping[str, Any]) -> str:
    bare = {key: value for key, value in content.items() if key != "content_sha256"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata=dict(metadata or {}) or None)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(str(error)) from error


# As OWASP lists them, with the full-width signs that East Asian spreadsheets take for the plain ones; and the
# apostrophe, so that a cell which had one keeps it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as `table_text` makes it, whole or not at all."""
    write_text(path, table_text(frame))


def table_text(frame: pd.DataFrame) -> str:
    """A table as CSV in which no text cell can start a formula in a spreadsheet.

    A text cell that begins with ``= + - @`` (of any width), a tab, a line end or an apostrophe gets an apostrophe in
    front; `read_table` takes it off again. Floats are written with all their digits, a missing one as ``nan``.
    """
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]  # by place: two may have the same name
    safe = [column if _is_number(column) else column.map(_defused).astype(object) for column in columns]
    table = pd.concat(safe, axis=1) if safe else frame
    table.columns = pd.Index([_defused(name) for name in frame.columns], dtype=object)
    return str(table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC, na_rep="nan"))


def rows_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as `table_text` writes them, to be put behind others."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows([cell if isinstance(cell, bool | int | float) else _defused(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def read_table(path: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read what `write_table` wrote; the columns named in ``text`` are never taken for numbers.

    An empty text cell comes back as the empty string, and a class named ``NA`` as ``"NA"``.

    Raises
    ------
    OSError, ValueError
        When there is no such file, or it is not a table in UTF-8.
    """
    frame = pd.read_csv(
        path,
        dtype=dict.fromkeys(text, object),
        keep_default_na=False,
        encoding_errors=_ENCODING_ERRORS,
    )
    for name in frame.columns:
        if not _is_number(frame[name]):
            frame[name] = _numbers_with_gaps(frame[name]) if name not in text else frame[name].map(_armed)
    frame.columns = pd.Index([_armed(name) for name in frame.columns], dtype=object)
    return frame


def _is_number(column: pd.Series) -> bool:
    return bool(is_numeric_dtype(column) or is_bool_dtype(column))


def _numbers_with_gaps(column: pd.Series) -> pd.Series:
    """A column of numbers and ``nan`` as numbers; any other as the text it is."""
    gaps = column == "nan"
    numbers = pd.to_numeric(column.mask(gaps), errors="coerce")
    return numbers if (numbers.isna() == gaps).all() and not gaps.all() else column.map(_armed)


def _defused(cell: object) -> str:
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _armed(cell: str) -> str:
    return cell.removeprefix("'")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
