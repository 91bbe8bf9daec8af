"""Cells of a table become numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clearmargin.errors import SourceError
from clearmargin.sources.delimited import place_columns, require_column

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "."})
LARGEST = 1e100  # squares of larger numbers soon are no numbers any more
_SHOWN = 5
_Cells = Mapping[str, tuple[int, str, int]]  # by column: the first row, its cell, how many such cells


def is_gap(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.strip().casefold() in MISSING


def table_numbers(
    header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str], path: Path
) -> np.ndarray:
    """The named columns of rows of text, float64 (rows, columns), for a model that is finished.

    Raises
    ------
    SourceError
        When a column is missing or there twice, or a cell is no number, or one beyond ``LARGEST``.
    """
    place = place_columns(header, path)
    for name in columns:
        require_column(name, place, path, "inputs of the model")
    numbers, gaps = read_numbers(rows, [place[name] for name in columns], columns, path)
    if gaps.any():
        row, column = np.argwhere(gaps)[0]
        raise SourceError(f"Row {row + 1} of {path} has no {columns[column]!r}: a model needs every input.")
    return numbers


def read_numbers(
    rows: Sequence[Sequence[str]], places: Sequence[int], names: Sequence[str], path: Path, *, choosable: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Cells as float64 (rows, columns), and where there is a gap: bool of the same shape.

    Parameters
    ----------
    choosable
        The names are all inputs there are and, last, the target: a message may advise which to choose.

    Raises
    ------
    SourceError
        When a cell is neither a number nor a gap, or a number beyond ``LARGEST``.
    """
    numbers = np.empty((len(rows), len(places)))
    for column, place in enumerate(places):
        for number, row in enumerate(rows):
            numbers[number, column] = _number(row[place])
    text = _first_cells(np.isinf(numbers), rows, places, names)
    if text:
        raise SourceError(_not_numbers(text, names, path, choosable))
    beyond = _first_cells(np.abs(numbers) > LARGEST, rows, places, names)
    if beyond:
        raise SourceError(
            f"The table {path} has numbers beyond ±{LARGEST:g}, with which nothing can be computed: {_told(beyond)}. "
            "Correct them, or write the column in another unit."
        )
    return numbers, np.isnan(numbers)


def _number(cell: str) -> float:
    """The number in a cell; NaN for a gap, infinity for what is none: a table has no infinite numbers."""
    text = cell.strip()
    if is_gap(text):
        return math.nan
    try:
        value = float(text) if "_" not in text else math.inf
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf


def _first_cells(
    where: np.ndarray, rows: Sequence[Sequence[str]], places: Sequence[int], names: Sequence[str]
) -> _Cells:
    found = {}
    for column in np.flatnonzero(where.any(axis=0)).tolist():
        row = int(where[:, column].argmax())
        found[names[column]] = row + 1, rows[row][places[column]], int(where[:, column].sum())
    return found


def _told(cells: _Cells) -> str:
    told = [
        f"{name!r} has {cell[:40]!r} in row {row}" + (f" and {count - 1:,} more such cells" if count > 1 else "")
        for name, (row, cell, count) in cells.items()
    ]
    return "; ".join(told[:_SHOWN]) + (f"; and {len(told) - _SHOWN} more columns" if len(told) > _SHOWN else "")


def _not_numbers(text: _Cells, names: Sequence[str], path: Path, choosable: bool) -> str:
    rest = [name for name in names[:-1] if name not in text]
    mend = "Write numbers with a decimal point, gaps as empty cells, and classes as 0 and 1"
    if choosable and rest and names[-1] not in text:
        listed = ", ".join(f'"{name}"' for name in rest[:30])
        mend += f"; or leave text out: [data] features = [{listed}{', …' if len(rest) > 30 else ''}]"
    return f"The table {path} has text where a number is needed: {_told(text)}. {mend}."
