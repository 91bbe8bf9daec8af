"""A split that was written down before: a CSV file that says of every sample in which part it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clearmargin.errors import SourceError
from clearmargin.records import Part, Sample
from clearmargin.sources.delimited import place_columns, read_rows
from clearmargin.sources.names import PART_NAMES
from clearmargin.split.groups import column, first_few

COLUMNS = frozenset({"name", "label", "group", "part"})
_READINGS: tuple[Callable[[str], str], ...] = (
    lambda cell: cell.removeprefix("'"),  # the apostrophe that keeps a spreadsheet from computing it
    lambda cell: cell,
    lambda cell: cell.replace("\\", "/"),
)


@dataclass(frozen=True)
class PartsFile:
    """A split file as it stands there, a cell for each row; ``labels`` and ``groups`` only when it has them."""

    path: Path
    names: tuple[str, ...]
    parts: tuple[Part, ...]
    labels: tuple[str, ...] | None
    groups: tuple[str, ...] | None

    def give(self, samples: Sequence[Sample], left_out: Collection[str] = ()) -> tuple[list[Sample], np.ndarray]:
        """Put every sample in the part the file says, and number what it says belongs together.

        Parameters
        ----------
        left_out
            Names that the file may have and the samples do not: copies that were dropped.

        Returns
        -------
        The samples with their parts, and int64 of shape (samples,): samples of one group have the same number.

        Raises
        ------
        SourceError
            When a sample is missing from the file or in it twice, the file has others, or a label differs.
        """
        place = self._place([sample.name for sample in samples], left_out)
        placed = [replace(sample, part=self.parts[place[sample.name]]) for sample in samples]
        if self.labels is not None:
            self._check_labels(samples, self.labels, place)
        together = [(self.groups[place[s.name]] if self.groups is not None else "") or None for s in samples]
        keys = [(True, group) if group is not None else (False, str(row)) for row, group in enumerate(together)]
        number = {key: value for value, key in enumerate(dict.fromkeys(keys))}
        return placed, np.array([number[key] for key in keys], dtype=np.int64)

    def _place(self, names: Sequence[str], left_out: Collection[str]) -> dict[str, int]:
        """Row of each sample; of the ways to read a name that one which leaves the fewest unknown."""
        known = set(names) | set(left_out)
        read = min((list(map(way, self.names)) for way in _READINGS), key=lambda found: len(set(found) - known))
        twice = [name for name, count in Counter(read).items() if count > 1]
        if twice:
            raise SourceError(
                f"The split file {self.path} names {_counted(len(twice))} more than once: {first_few(twice)}. "
                "Keep one row for each."
            )
        unknown = sorted(set(read) - known)
        if unknown:
            raise SourceError(
                f"The split file {self.path} names {_counted(len(unknown))} that the data do not have, or that can't "
                f"be read: {first_few(unknown)}; the data have {first_few(names)}. "
                "Names are those that `clearmargin split DATA` writes; remove the other rows."
            )
        missing = sorted(set(names) - set(read))
        if missing:
            raise SourceError(
                f"The split file {self.path} says nothing of {len(missing):,} of {_counted(len(names))}: "
                f"{first_few(missing)}. Add a row for each, or take them out of the data."
            )
        return {name: row for row, name in enumerate(read)}

    def _check_labels(self, samples: Sequence[Sample], labels: Sequence[str], place: dict[str, int]) -> None:
        other = [sample for sample in samples if not _same_label(sample.label, labels[place[sample.name]])]
        if other:
            first = other[0]
            raise SourceError(
                f"The split file {self.path} gives {_counted(len(other))} another label than the data: "
                f"{first_few([sample.name for sample in other])}; the first has {labels[place[first.name]]!r} there "
                f"and {first.label!r} in the data. The data decide: correct the file, or leave its label column out."
            )


def read_parts_file(path: Path) -> PartsFile:
    """Read a split file: columns ``name`` and ``part``, and perhaps ``label`` and ``group``.

    A comma, semicolon or tab between the cells, a byte order mark, and any line end are understood.

    Raises
    ------
    SourceError
        When it is missing, no such table, holds folds, or a part is not one.
    """
    header, rows = read_rows(path, COLUMNS, encoding_errors="surrogatepass")
    place = place_columns([name.casefold() for name in header], path)
    lacking = [name for name in ("name", "part") if name not in place]
    if lacking:
        raise SourceError(
            f"The split file {path} lacks the column {' and '.join(map(repr, lacking))}: expected name and part, "
            f"and perhaps label and group; its first line has {first_few(header)}."
        )
    if "fold" in place:
        raise SourceError(
            f"The split file {path} has a column 'fold', with a part for each sample in every fold. "
            "Keep the rows of one fold and remove the column, or have folds made by [split] folds."
        )
    cells = {name: column([row[number] for row in rows]) for name, number in place.items() if name in COLUMNS}
    return PartsFile(
        path,
        tuple(cells["name"]),
        tuple(_part(cell, number, path) for number, cell in enumerate(cells["part"], start=1)),
        tuple(cells["label"]) if "label" in cells else None,
        tuple(cells["group"]) if "group" in cells else None,
    )


def _part(cell: str, number: int, path: Path) -> Part:
    part = PART_NAMES.get(cell.strip().casefold())
    if part is None:
        raise SourceError(
            f"Row {number} of the split file {path} has the part {cell[:40]!r}; expected train, validation or test."
        )
    return part


def _same_label(label: str | float, cell: str) -> bool:
    if isinstance(label, str):
        return cell in (label, f"'{label}") or cell.strip() == label
    try:
        return float(cell) == label
    except ValueError:
        return False


def _counted(number: int) -> str:
    return f"{number:,} sample{'' if number == 1 else 's'}"
