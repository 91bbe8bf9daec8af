"""A table of numbers in a CSV file: one sample a row, one column of them the target."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clearmargin.errors import SourceError
from clearmargin.files import file_sha256
from clearmargin.records import Finding, Part, Sample
from clearmargin.sources.cells import is_gap, read_numbers
from clearmargin.sources.container import quoted
from clearmargin.sources.delimited import place_columns, read_rows, require_column
from clearmargin.sources.manifest import COLUMNS as MANIFEST_COLUMNS
from clearmargin.sources.names import PART_NAMES
from clearmargin.sources.table_findings import constant_findings, gap_findings, nameless_findings, role_findings

FEWEST_ROWS = 20
ROLES = ("patient", "part")  # columns that say where a row belongs, called as in a manifest
_SPARSE = 0.5  # a column with fewer values than this is asked to be left out
# Of the target: the spread of squared errors over seeds is a fourth power, which must stay between 1e-308 and 1e308.
_LARGEST_TARGET, _SMALLEST_SPREAD = 1e70, 1e-70


@dataclass(frozen=True)
class Table:
    """Rows of numbers with a target.

    Attributes
    ----------
    samples
        The rows that can be used, in the order of the file: ``row 1`` is the first below the header; labels are
        floats, the targets. Named columns that are no inputs, and the one that groups, are attributes.
    columns
        Names of the inputs, in the order of ``values``.
    values
        float64 of shape (rows, columns), finite.
    findings
        What was left out, columns that are no inputs, and columns that carry nothing.
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


def open_table(path: Path, target: str, features: Sequence[str] | None = None, *, group_by: str | None = None) -> Table:
    """Read a CSV (``,`` ``;`` or tab; UTF-8; the first line names the columns) whose ``target`` is to be learned.

    A row without a target, or with a gap in any input, is left out and listed. Empty cells, ``NA``, ``NaN``, ``null``,
    ``none``, ``?`` and ``.`` are gaps. Columns called like a patient or a part in a manifest say where a row belongs,
    and are no inputs unless ``features`` names them; nor is ``group_by``, a column whose equal values stay together.
    Columns without a name are left out.

    Raises
    ------
    SourceError
        No such column, text or a number beyond 1e100 where numbers are needed, a column that is mostly gaps, a target
        that never changes, or is too large or too small for squares, too few rows, or a file that is no such table.
    """
    header, rows = read_rows(path, frozenset([target, *(features or ())]))
    place = place_columns(header, path)
    for name, setting in _asked(target, features, group_by):
        require_column(name, place, path, setting)
    roles = _roles(place, {target, group_by, *(features or ())})
    apart = {target, group_by, *roles.values()}
    inputs = list(features) if features is not None else [name for name in place if name not in apart]
    if not inputs:
        raise SourceError(f"The table {path} has no column besides the target {target!r} to learn from.")
    taken = [*inputs, target]
    numbers, gaps = read_numbers(rows, [place[name] for name in taken], taken, path, choosable=features is None)
    _refuse_sparse(gaps, inputs, path)
    whole = _whole_rows(gaps, path)
    values, targets = numbers[whole, :-1], numbers[whole, -1]
    _check_spread(targets, target, path)
    findings = (
        *gap_findings(gaps, taken, len(rows)),
        *constant_findings(values, inputs),
        *nameless_findings(header, rows),
        *role_findings(roles, None if group_by in inputs else group_by),
    )
    belongs = {role: place[name] for role, name in roles.items()}
    told = {name: place[name] for name in place if name not in {*taken, *roles.values()} or name == group_by}
    samples = tuple(
        _sample(int(row), float(y), rows[row], belongs, told, path) for row, y in zip(whole, targets, strict=True)
    )
    return Table(samples, tuple(inputs), values, findings, len(rows), file_sha256(path))


def _asked(target: str, features: Sequence[str] | None, group_by: str | None) -> list[tuple[str, str]]:
    """Columns that settings name, with the setting."""
    grouping = [(group_by, "[split] group_by")] if group_by is not None else []
    return [(target, "target"), *((name, "features") for name in features or ()), *grouping]


def _roles(names: Iterable[str], taken: Collection[str | None]) -> dict[str, str]:
    """Columns that say to which patient and part a row belongs, by role; ``taken`` ones mean something else."""
    free = {name.casefold(): name for name in names if name not in taken}
    found = {role: next((free[alias] for alias in MANIFEST_COLUMNS[role] if alias in free), None) for role in ROLES}
    return {role: name for role, name in found.items() if name is not None}


def _whole_rows(gaps: np.ndarray, path: Path) -> np.ndarray:
    """Numbers of the rows without gaps, int64; of too few nothing can be learned."""
    whole = np.flatnonzero(~gaps.any(axis=1))
    if len(whole) < FEWEST_ROWS:
        raise SourceError(
            f"The table {path} has {len(whole)} rows without gaps, of {len(gaps)}; at least {FEWEST_ROWS} are needed. "
            "Fill the gaps, or leave out columns that have many with [data] features."
        )
    return whole


def _check_spread(targets: np.ndarray, target: str, path: Path) -> None:
    spread = np.ptp(targets)
    if spread == 0:
        raise SourceError(f"The target {target!r} of {path} is {targets[0]:g} in every row: there is nothing to learn.")
    largest = np.abs(targets).max()
    if spread < _SMALLEST_SPREAD or largest > _LARGEST_TARGET:
        raise SourceError(
            f"The target {target!r} of {path} reaches {largest:g} and varies by {spread:g} in all; errors can be "
            f"computed up to {_LARGEST_TARGET:g} and from {_SMALLEST_SPREAD:g}. Write it in another unit."
        )


def _refuse_sparse(gaps: np.ndarray, inputs: Sequence[str], path: Path) -> None:
    shares = gaps[:, :-1].mean(axis=0)
    sparse = [f"{name} ({share:.0%})" for name, share in zip(inputs, shares, strict=True) if share > _SPARSE]
    if sparse:
        raise SourceError(
            f"Columns of {path} that are mostly gaps: {quoted(sparse)}. Rows with a gap are left out, and hardly any "
            "would remain: leave these columns out by naming the others in [data] features."
        )


def _sample(
    row: int, target: float, cells: Sequence[str], belongs: Mapping[str, int], told: Mapping[str, int], path: Path
) -> Sample:
    group = _said(cells[belongs["patient"]]) or None if "patient" in belongs else None
    attributes = {name: _said(cells[place]) for name, place in told.items()}
    return Sample(f"row {row + 1}", target, group, _part(cells, belongs, row, path), attributes)


def _said(cell: str) -> str:
    """What a cell says, which is nothing when it is a gap."""
    return "" if is_gap(cell) else cell.strip()


def _part(cells: Sequence[str], belongs: Mapping[str, int], row: int, path: Path) -> Part | None:
    said = _said(cells[belongs["part"]]) if "part" in belongs else ""
    if said and said.casefold() not in PART_NAMES:
        raise SourceError(
            f"Row {row + 1} of the table {path} has the part {said!r}; expected one of {', '.join(PART_NAMES)}, or "
            "nothing. If the column is an input, name it in [data] features."
        )
    return PART_NAMES.get(said.casefold())
