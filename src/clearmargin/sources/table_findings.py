"""What to say about the rows and columns of a table: what was left out, and what carries nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from clearmargin.records import Finding
from clearmargin.sources.cells import is_gap
from clearmargin.sources.container import counted, quoted

_MEANING = {"patient": "which rows belong together", "part": "which part a row is in"}


def gap_findings(gaps: np.ndarray, names: Sequence[str], found: int) -> Iterator[Finding]:
    """Rows that are left out; ``gaps`` is bool of shape (rows, columns)."""
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


def constant_findings(values: np.ndarray, inputs: Sequence[str]) -> Iterator[Finding]:
    """Inputs that are the same in every row."""
    constant = [name for name, span in zip(inputs, np.ptp(values, axis=0), strict=True) if span == 0]
    if constant:
        yield Finding(
            "constant-columns",
            "note",
            f"Columns that are the same in every row, from which nothing can be learned: {quoted(constant)}.",
            "Leave them out by naming the others in [data] features.",
        )


def role_findings(roles: Mapping[str, str], grouping: str | None) -> Iterator[Finding]:
    """Columns that look like inputs and are none, because they say where a row belongs."""
    meant = {name: _MEANING[role] for role, name in roles.items()}
    if grouping is not None:
        meant[grouping] = _MEANING["patient"]
    for name, meaning in meant.items():
        yield Finding(
            "column-roles",
            "note",
            f"The column {name!r} says {meaning} and is no input.",
            "Name it in [data] features, with the other inputs, to learn from it.",
        )


def nameless_findings(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Finding]:
    """Columns without a name that hold something: numbers of rows, as a rule."""
    held = [place + 1 for place, name in enumerate(header) if not name and not all(is_gap(row[place]) for row in rows)]
    if held:
        yield Finding(
            "nameless-columns",
            "warning",
            f"{counted(len(held), 'column')} without a name left out (from the left: {', '.join(map(str, held[:20]))}"
            f"{', …' if len(held) > 20 else ''}).",
            "Nothing has to be done when they only number the rows; else give them names in the first line.",
        )
