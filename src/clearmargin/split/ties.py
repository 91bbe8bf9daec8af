"""What belongs together by a recipe's own word: the values of a column, and the groups of a split file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clearmargin.audit.duplicates import join_groups, number_known
from clearmargin.errors import SourceError
from clearmargin.recipe import SplitSettings
from clearmargin.records import Sample
from clearmargin.split.parts_file import PartsFile, read_parts_file

PATIENT = "patient"  # as [split] group_by: what the source itself says belongs together


@dataclass(frozen=True)
class Tied:
    """Samples as a recipe reads them.

    Attributes
    ----------
    samples
        With the parts of the split file, if there is one; and with the values of the column for groups where the
        source knows no patients.
    numbers
        int64 of shape (samples,): what the recipe says belongs together shares a number; patients may be torn.
    """

    samples: tuple[Sample, ...]
    numbers: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """The numbers with patients kept whole: int64 of shape (samples,)."""
        return join_groups(self.numbers, number_known([sample.group for sample in self.samples]))


def tie(
    samples: Sequence[Sample],
    asked: SplitSettings,
    may_lack: Collection[str] = (),
    parts_file: PartsFile | None = None,
) -> Tied:
    """Read from a recipe what belongs together, beyond the copies that the audit finds.

    Parameters
    ----------
    may_lack
        Names of samples that the split file may leave out: copies that are dropped.
    parts_file
        In place of the one which the recipe names.

    Raises
    ------
    SourceError
        When there is no such column to group by, or the split file does not fit.
    """
    numbers = np.arange(len(samples))
    if asked.group_by != PATIENT:
        values = _values(samples, asked.group_by)
        numbers = number_known(values)
        if all(sample.group is None for sample in samples):
            samples = [replace(sample, group=value) for sample, value in zip(samples, values, strict=True)]
    if parts_file is None and asked.file is not None:
        parts_file = read_parts_file(Path(asked.file))
    if parts_file is not None:
        samples, groups = parts_file.give(samples, may_lack)
        numbers = join_groups(numbers, groups)
    return Tied(tuple(samples), numbers)


def require_column(samples: Sequence[Sample], name: str) -> None:
    """Refuse to group by a column that no sample has.

    Raises
    ------
    SourceError
        It names those that there are.
    """
    known = sorted({key for sample in samples for key in sample.attributes})
    if name not in known:
        columns = ", ".join([PATIENT, *known])
        raise SourceError(f"There is no column '{name}' to group by ([split] group_by): expected {columns}.")


def _values(samples: Sequence[Sample], name: str) -> list[str | None]:
    require_column(samples, name)
    return [sample.attributes.get(name) or None for sample in samples]
