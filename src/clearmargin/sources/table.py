"""A table of numbers in a CSV file: one sample a row, one column of them the target."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clearmargin.errors import SourceError
from clearmargin.files import file_sha256
from clearmargin.records import Finding, Part, Sample
from clearmargin.sources.container import counted, damaged, quoted
from clearmargin.sources.manifest import COLUMNS as MANIFEST_COLUMNS
from clearmargin.sources.manifest import is_manifest
from clearmargin.sources.names import PART_NAMES

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "."})
LARGEST_BYTES = 1 << 30
MOST_ROWS = 2_000_000
FEWEST_ROWS = 20
ROLES = ("patient", "part")  # columns that say where a row belongs, called as in a manifest
_SPARSE = 0.5  # a column with fewer values than this is asked to be left out
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Table:
    """Rows of numbers with a target.

    Attributes
    ----------
    samples
        The rows that can be used, in the order of the file: ``row 1`` is the first below the header; labels are
        floats, the targets.
    columns
        Names of the inputs, in the order of ``values``.
    values
        float64 of shape (rows, columns), finite.
    findings
        What was left out, and columns that carry nothing.
    found
        Rows in the file, unusable ones included.
    sha256
        Of the file's bytes.
    meanings
        What columns mean, by name, where the catalogue knows.
    """

    samples: tuple[Sample, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    findings: tuple[Finding, ...]
    found: int
    sha256: str
    meanings: Mapping[str, str] = field(default_factory=dict)
    kind: str = "table"
    simulated: bool = False

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the file."""
        return self.sha256


def open_table(path: Path, target: str, features: Sequence[str] | None = None) -> Table:
    """Read a CSV (``,`` ``;`` or tab; UTF-8; the first line names the columns) whose ``target`` is to be learned.

    A row without a target, or with a gap in any input, is left out and listed. Empty cells, ``NA``, ``NaN``, ``null``,
    ``none``, ``?`` and ``.`` are gaps. Columns called like a patient or a part in a manifest say where a row belongs,
    and are no inputs unless ``features`` names them.

    Raises
    ------
    SourceError
        No such column, text where numbers are needed, a column that is mostly gaps, a target that never changes, too
        few rows, or a file that is no such table.
    """
    header, rows = read_rows(path)
    names = [name.strip() for name in header]
    _refuse_twins(names, path)
    place = {name: number for number, name in enumerate(names)}
    _require(target, names, path, "target")
    roles = _roles(names, target, features or ())
    inputs = list(features) if features is not None else [n for n in names if n != target and n not in roles.values()]
    for name in inputs:
        _require(name, names, path, "features")
    if not inputs:
        raise SourceError(f"The table {path} has no column besides the target {target!r} to learn from.")
    taken = [*inputs, target]
    numbers, gaps = _numbers(rows, [place[name] for name in taken], taken, path, features is None)
    findings = list(_gap_findings(gaps, taken, len(rows)))
    _refuse_sparse(gaps, inputs, path)
    whole = np.flatnonzero(~gaps.any(axis=1))
    if len(whole) < FEWEST_ROWS:
        raise SourceError(
            f"The table {path} has {len(whole)} rows without gaps, of {len(rows)}; at least {FEWEST_ROWS} are needed. "
            "Fill the gaps, or leave out columns that have many with [data] features."
        )
    values, targets = numbers[whole, :-1], numbers[whole, -1]
    if np.ptp(targets) == 0:
        raise SourceError(f"The target {target!r} of {path} is {targets[0]:g} in every row: there is nothing to learn.")
    findings += _constant_findings(values, inputs)
    belongs = {role: place[name] for role, name in roles.items()}
    samples = tuple(
        _sample(int(row), float(y), rows[row], belongs, path) for row, y in zip(whole, targets, strict=True)
    )
    return Table(samples, tuple(inputs), values, tuple(findings), len(rows), file_sha256(path))


def table_numbers(
    header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[str], path: Path
) -> np.ndarray:
    """The named columns of rows of text, float64 (rows, columns), for a model that is finished.

    Raises
    ------
    SourceError
        When a column is missing, or a cell is no number.
    """
    names = [name.strip() for name in header]
    for name in columns:
        _require(name, names, path, "inputs of the model")
    numbers, gaps = _numbers(rows, [names.index(name) for name in columns], columns, path, False)
    if gaps.any():
        row, column = np.argwhere(gaps)[0]
        raise SourceError(f"Row {row + 1} of {path} has no {columns[column]!r}: a model needs every input.")
    return numbers


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, as text.

    Raises
    ------
    SourceError
        When it is no such file.
    """
    if not path.is_file() or not is_manifest(path):
        raise SourceError(f"{path} is not a table: expected a .csv, .tsv or .txt file whose first line names columns.")
    if path.stat().st_size > LARGEST_BYTES:
        raise SourceError(f"{path} has more than {LARGEST_BYTES:,} bytes: too large for a table that is read at once.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(2**20)
            delimiter = max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            header = next(reader, [])
            rows = list(_whole_rows(reader, len(header), path))
    except UnicodeError as error:
        raise SourceError(f"The table {path} is not UTF-8 text. In a spreadsheet, save it as 'CSV UTF-8'.") from error
    except (OSError, csv.Error) as error:
        raise damaged(path, error) from error
    if not header or not rows:
        raise SourceError(f"The table {path} is empty: expected a line of column names and rows below it.")
    return header, rows


def _whole_rows(reader: Iterator[list[str]], width: int, path: Path) -> Iterator[list[str]]:
    filled = (row for row in reader if any(cell.strip() for cell in row))
    for number, row in enumerate(filled, start=1):
        if len(row) != width:
            raise SourceError(
                f"Row {number} of the table {path} has {len(row)} cells, the header {width}. "
                "Put cells that contain the delimiter in double quotes; write gaps as empty cells."
            )
        if number > MOST_ROWS:
            raise SourceError(f"The table {path} has more than {MOST_ROWS:,} rows.")
        yield row


def _refuse_twins(names: Sequence[str], path: Path) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise SourceError(f"The table {path} has several columns called {quoted(twins)}: give each its own name.")


def _require(name: str, names: Sequence[str], path: Path, setting: str) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    same = [known for known in names if known.casefold() == name.casefold()]
    hint = f" Did you mean {(same or near)[0]!r}?" if same or near else ""
    raise SourceError(f"The table {path} has no column {name!r} ({setting}); it has {quoted(names, limit=30)}.{hint}")


def _roles(names: Sequence[str], target: str, features: Sequence[str]) -> dict[str, str]:
    """Columns that say to which patient and part a row belongs, by role."""
    free = {name.casefold(): name for name in names if name != target and name not in features}
    found = {role: next((free[alias] for alias in MANIFEST_COLUMNS[role] if alias in free), None) for role in ROLES}
    return {role: name for role, name in found.items() if name is not None}


def _numbers(
    rows: Sequence[Sequence[str]], places: Sequence[int], names: Sequence[str], path: Path, choosable: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Cells as float64 (rows, columns), and where there is a gap: bool of the same shape."""
    numbers = np.empty((len(rows), len(places)))
    text: dict[str, tuple[int, str, int]] = {}
    for column, (place, name) in enumerate(zip(places, names, strict=True)):
        for number, row in enumerate(rows):
            numbers[number, column] = value = _number(row[place])
            if math.isinf(value):  # stands for text: a table has no infinite numbers
                first, cell, count = text.get(name, (number + 1, row[place], 0))
                text[name] = first, cell, count + 1
    if text:
        raise SourceError(_not_numbers(text, names, path, choosable))
    return numbers, np.isnan(numbers)


def _number(cell: str) -> float:
    """The number in a cell; NaN for a gap, infinity for anything else."""
    text = cell.strip()
    if text.casefold() in MISSING:
        return math.nan
    try:
        value = float(text) if "_" not in text else math.inf
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf


def _not_numbers(text: dict[str, tuple[int, str, int]], names: Sequence[str], path: Path, choosable: bool) -> str:
    told = [
        f"{name!r} has {cell[:40]!r} in row {row}" + (f" and {count - 1:,} more such cells" if count > 1 else "")
        for name, (row, cell, count) in text.items()
    ]
    shown = "; ".join(told[:5]) + (f"; and {len(told) - 5} more columns" if len(told) > 5 else "")
    rest = [name for name in names[:-1] if name not in text]
    mend = "Write numbers with a decimal point, gaps as empty cells, and classes as 0 and 1"
    if choosable and rest and names[-1] not in text:
        listed = ", ".join(f'"{name}"' for name in rest[:30])
        mend += f"; or leave text out: [data] features = [{listed}{', …' if len(rest) > 30 else ''}]"
    return f"The table {path} has text where a number is needed: {shown}. {mend}."


def _refuse_sparse(gaps: np.ndarray, inputs: Sequence[str], path: Path) -> None:
    shares = gaps[:, :-1].mean(axis=0)
    sparse = [f"{name} ({share:.0%})" for name, share in zip(inputs, shares, strict=True) if share > _SPARSE]
    if sparse:
        raise SourceError(
            f"Columns of {path} that are mostly gaps: {quoted(sparse)}. Rows with a gap are left out, and hardly any "
            "would remain: leave these columns out by naming the others in [data] features."
        )


def _gap_findings(gaps: np.ndarray, names: Sequence[str], found: int) -> Iterator[Finding]:
    rows = np.flatnonzero(gaps.any(axis=1))
    if len(rows):
        counts = gaps.sum(axis=0)
        where = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True) if count)
        yield Finding(
            "rows-with-gaps",
            "serious" if len(rows) > found / 20 else "warning",
            f"{counted(len(rows), 'row')} of {found:,} left out because of gaps (by column: {where}).",
            "Fill the gaps, or leave out columns with many by naming the others in [data] features. If a gap means "
            "something, rows without gaps are not typical of all.",
            tuple(f"row {row + 1}" for row in rows),
        )


def _constant_findings(values: np.ndarray, inputs: Sequence[str]) -> list[Finding]:
    constant = [name for name, span in zip(inputs, np.ptp(values, axis=0), strict=True) if span == 0]
    if not constant:
        return []
    message = f"Columns that are the same in every row, from which nothing can be learned: {quoted(constant)}."
    return [Finding("constant-columns", "note", message, "Leave them out by naming the others in [data] features.")]


def _sample(row: int, target: float, cells: Sequence[str], belongs: dict[str, int], path: Path) -> Sample:
    group = cells[belongs["patient"]].strip() or None if "patient" in belongs else None
    return Sample(f"row {row + 1}", target, group, _part(cells, belongs, row, path))


def _part(cells: Sequence[str], belongs: dict[str, int], row: int, path: Path) -> Part | None:
    said = cells[belongs["part"]].strip() if "part" in belongs else ""
    if said and said.casefold() not in PART_NAMES:
        raise SourceError(
            f"Row {row + 1} of the table {path} has the part {said!r}; expected one of {', '.join(PART_NAMES)}, or "
            "nothing. If the column is an input, name it in [data] features."
        )
    return PART_NAMES.get(said.casefold())
