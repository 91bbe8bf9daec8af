"""A split that was written down before: a CSV file that says of every sample in which part it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clearmargin.audit.duplicates import number_known, spelled_alike
from clearmargin.errors import SourceError
from clearmargin.records import Part, Sample
from clearmargin.sources.delimited import place_columns, read_rows
from clearmargin.sources.names import PART_NAMES
from clearmargin.split.groups import first_few

COLUMNS = frozenset({"name", "label", "group", "part"})
_READINGS: tuple[Callable[[str], str], ...] = (
    lambda cell: cell.removeprefix("'"),  # the apostrophe that keeps a spreadsheet from computing it
    lambda cell: cell,
    lambda cell: cell.replace("\\", "/"),
)


@dataclass(frozen=True)
class PartsFile:
    """One split as it stands in a file, a cell for each row; ``labels`` and ``groups`` only when it has them.

    ``repeat`` and ``fold`` count from 1 where the file holds several folds; else both are 0.
    """

    path: Path
    names: tuple[str, ...]
    parts: tuple[Part, ...]
    labels: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    repeat: int = 0
    fold: int = 0

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.path.name} (repeat {self.repeat}, fold {self.fold})" if self.fold else self.path.name

    def give(self, samples: Sequence[Sample], may_lack: Collection[str] = ()) -> tuple[list[Sample], np.ndarray]:
        """Put every sample in the part the file says, and number what it says belongs together.

        Parameters
        ----------
        may_lack
            Names of samples that the file may leave out: copies that are dropped. They get no part.

        Returns
        -------
        The samples with their parts, and int64 of shape (samples,): samples of one group have the same number.

        Raises
        ------
        SourceError
            When a sample is missing from the file or in it twice, the file has others, or a label differs.
        """
        place = self._place([sample.name for sample in samples], may_lack)
        named = [sample for sample in samples if sample.name in place]
        placed = [
            replace(sample, part=self.parts[place[sample.name]] if sample.name in place else None) for sample in samples
        ]
        if self.labels is not None:
            self._check_labels(named, self.labels, place)
        if self.groups is None:
            return placed, np.arange(len(samples))
        groups = [(self.groups[place[s.name]] if s.name in place else "") or None for s in samples]
        self._check_spelling(placed, groups)
        return placed, number_known(groups)

    def _place(self, names: Sequence[str], may_lack: Collection[str]) -> dict[str, int]:
        """Row of each sample; of the ways to read a name that one which leaves the fewest unknown."""
        known = set(names)
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
        missing = sorted(set(names) - set(read) - set(may_lack))
        if missing:
            dropped = "" if may_lack else '; if they are copies that were dropped, set near_duplicates = "drop" too'
            raise SourceError(
                f"The split file {self.path} says nothing of {len(missing):,} of {_counted(len(names))}: "
                f"{first_few(missing)}. Add a row for each, or take them out of the data{dropped}."
            )
        return {name: row for row, name in enumerate(read)}

    def _check_spelling(self, placed: Sequence[Sample], groups: Sequence[str | None]) -> None:
        """Refuse groups of different parts that differ in case or white space only: one group, most likely."""
        # what `clearmargin split` wrote is named after patients and samples, which the data spell and the audit judges
        known = {sample.name for sample in placed} | {sample.group for sample in placed}
        parts: dict[str, set[Part | None]] = {}
        for sample, group in zip(placed, groups, strict=True):
            bare = (group or "").removeprefix("'")
            if group is not None and not {bare, bare.rpartition("+")[0]} & known:
                parts.setdefault(group, set()).add(sample.part)
        for alike in spelled_alike(parts):
            if len(set().union(*(parts[group] for group in alike))) > 1:
                raise SourceError(
                    f"The split file {self.path} has groups in different parts whose names differ in upper and lower "
                    f"case or in white space only: {first_few(alike)}. Write them in one way, and put them in one "
                    "part, if they are one group; else give them names that differ more."
                )

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
    """Read a split file that holds one split: columns ``name`` and ``part``, and perhaps ``label`` and ``group``.

    Raises
    ------
    SourceError
        As `read_parts_files` does, or when it holds several folds.
    """
    found = read_parts_files(path)
    if len(found) > 1:
        folds = found[-1].fold
        raise SourceError(
            f"The split file {path} holds {folds} folds, and here one split is wanted: keep the rows of one fold, or "
            f"have the folds made in the run, by [split] folds = {folds} and the seed that they were made with. "
            "All of them are checked by `clearmargin split DATA --check FILE`."
        )
    return found[0]


def read_parts_files(path: Path) -> list[PartsFile]:
    """Read a split file: one split, or those of all folds, by repeat and by fold within a repeat.

    A comma, semicolon or tab between the cells, a byte order mark, and any line end are understood.

    Raises
    ------
    SourceError
        When it is missing, no such table, a part is not one, or the folds do not test every sample once.
    """
    header, rows = read_rows(path, COLUMNS, encoding_errors="surrogatepass")
    place = place_columns([name.casefold() for name in header], path)
    lacking = [name for name in ("name", "part") if name not in place]
    if lacking:
        raise SourceError(
            f"The split file {path} lacks the column {' and '.join(map(repr, lacking))}: expected name and part, "
            f"and perhaps label and group; its first line has {first_few(header)}."
        )
    cells = {name: [row[number] for row in rows] for name, number in place.items() if name in COLUMNS}
    if "group" in cells:
        cells["group"] = [cell.strip() for cell in cells["group"]]
    parts = [_part(cell, number, path) for number, cell in enumerate(cells["part"], start=1)]
    numbers = [_numbers(row, place, number, path) for number, row in enumerate(rows, start=1)]
    rows_of: dict[tuple[int, int], list[int]] = {}
    for row, which in enumerate(numbers):
        rows_of.setdefault(which, []).append(row)

    def one(repeat: int, fold: int, at: Sequence[int]) -> PartsFile:
        kept = {name: tuple(listed[row] for row in at) for name, listed in cells.items()}
        own = tuple(parts[row] for row in at)
        return PartsFile(path, kept["name"], own, kept.get("label"), kept.get("group"), repeat, fold)

    if len(rows_of) == 1:  # no folds, or the rows of one that somebody kept
        return [one(0, 0, range(len(rows)))]
    found = [one(*which, rows_of[which]) for which in sorted(rows_of)]
    _check_folds(found)
    return found


def _numbers(row: Sequence[str], place: Mapping[str, int], number: int, path: Path) -> tuple[int, int]:
    """Repeat and fold of a row; 1 where there is no such column."""
    found = []
    for name in ("repeat", "fold"):
        cell = row[place[name]].strip() if name in place else "1"
        if not (cell.isascii() and cell.isdigit() and 0 < len(cell) < 6):
            raise SourceError(
                f"Row {number} of the split file {path} has the {name} {cell[:40]!r}; expected a whole number from 1."
            )
        found.append(int(cell))
    return found[0], found[1]


def _check_folds(found: Sequence[PartsFile]) -> None:
    """Refuse folds that are not a cross-validation: numbered from 1, every sample tested once in each repeat."""
    path, repeats, folds = found[0].path, found[-1].repeat, max(one.fold for one in found)
    wanted = [(repeat, fold) for repeat in range(1, repeats + 1) for fold in range(1, folds + 1)]
    if folds < 2 or [(one.repeat, one.fold) for one in found] != wanted:
        raise SourceError(
            f"The split file {path} holds {len(found)} folds in {repeats} repeats; expected the same folds, numbered "
            "from 1, in each repeat, and these numbered from 1. Keep the rows of whole repeats, or of one fold."
        )
    for repeat in range(1, repeats + 1):
        mine = [one for one in found if one.repeat == repeat]
        names = {name for one in mine for name in one.names}
        tested = Counter(n for one in mine for n, part in zip(one.names, one.parts, strict=True) if part == "test")
        wrong = sorted(name for name in names if tested[name] != 1)
        if wrong:
            raise SourceError(
                f"In repeat {repeat} of the split file {path}, {len(wrong):,} samples are not in the test part of "
                f"exactly one fold: {first_few(wrong)}. Mend the file, or have the folds made anew."
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
