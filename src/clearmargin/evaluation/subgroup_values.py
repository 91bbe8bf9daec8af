"""Which samples stand in which value of a column, and which values are too small to be shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

NOT_STATED = "not stated"
MANY_NUMBERS = 10  # different numbers in a column, above which it is cut into tertiles
FEWEST_SAMPLES = 10
FEWEST_UNITS = 5

Kind = Literal["as given", "tertiles"]


@dataclass(frozen=True)
class Value:
    """One value of a column.

    Attributes
    ----------
    name
        As it stands in the column; of tertiles its limits; `NOT_STATED` where the column is empty.
    member
        bool of shape (samples,).
    units
        How many groups (of independent samples: samples) have a sample in it.
    suppressed
        True when it is too small to be shown, or would give away one that is.
    """

    name: str
    member: np.ndarray
    units: int
    suppressed: bool = False

    @property
    def n(self) -> int:
        return int(self.member.sum())


def column_values(cells: Sequence[str | None], units: np.ndarray) -> tuple[Kind, list[Value]]:
    """Divide samples by a column; numbers of many different values are cut into tertiles.

    The tertiles are those of the samples given. Values come in the order of their text (tertiles from low to high),
    what is not stated last.

    Parameters
    ----------
    cells
        Text of each sample; None, empty and blank cells say nothing, nor do "nan" and "inf" among numbers.
    units
        Group of each sample, int64 of shape (samples,).
    """
    stated = [(cell or "").strip() for cell in cells]
    numbers = _numbers(stated)
    kind: Kind = "as given"
    if numbers is not None:
        kind, stated = "tertiles", _tertiles(numbers)
    names = np.array([text or NOT_STATED for text in stated], dtype=object)
    order = list(dict.fromkeys(_in_order(stated, numbers))) + ([NOT_STATED] if "" in stated else [])
    found = [Value(name, names == name, len(np.unique(units[names == name]))) for name in order]
    return kind, _closed(found, {place for place, value in enumerate(found) if _small([value])})


def _numbers(stated: Sequence[str]) -> np.ndarray | None:
    """Numbers of a column that holds nothing else and many of them, NaN where it is empty; None otherwise."""
    try:
        numbers = np.array([float(text) if text else math.nan for text in stated])
    except ValueError:
        return None
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers if len(np.unique(numbers[~np.isnan(numbers)])) > MANY_NUMBERS else None


def _tertiles(numbers: np.ndarray) -> list[str]:
    low, high = np.nanquantile(numbers, [1 / 3, 2 / 3])
    below, above = f"up to {low:.6g}", f"above {high:.6g}"
    between = f"above {low:.6g}, up to {high:.6g}"
    return [
        "" if np.isnan(number) else below if number <= low else between if number <= high else above
        for number in numbers
    ]


def _in_order(stated: Sequence[str], numbers: np.ndarray | None) -> list[str]:
    """Values that are stated, in the order in which they are shown."""
    if numbers is None:
        return sorted(text for text in stated if text)
    return [stated[row] for row in np.argsort(numbers, kind="stable") if stated[row]]


def _closed(values: list[Value], hidden: set[int]) -> list[Value]:
    """Hide values, and then so many of the smallest others that no small one follows by subtraction from all samples.

    All values together are known: what is hidden must be two values at least, and together large enough.
    """
    hidden = set(hidden)
    rest = sorted(set(range(len(values))) - hidden, key=lambda place: (values[place].n, place))
    while hidden and rest and (len(hidden) < 2 or _small(values[place] for place in hidden)):
        hidden.add(rest.pop(0))
    return [
        Value(value.name, value.member, value.units, suppressed=place in hidden) for place, value in enumerate(values)
    ]


def without_differences(columns: Mapping[str, list[Value]], units: np.ndarray) -> dict[str, list[Value]]:
    """Hide values from which one of another column can be taken away so that little is left.

    A region of which all sites but one are shown gives that one away. Of each value that is shown, and of all other
    samples together, the values of another column that lie inside are taken away; when what is left is too small to be
    shown, the value is hidden, and in its column what `column_values` hides with it. Until nothing follows in this way
    any more; sums of several values of one column, or three columns together, may still give a small number away.

    Parameters
    ----------
    columns
        Values by column, as `column_values` gives them.
    units
        Group of each sample, int64 of shape (samples,).
    """
    found = {column: list(values) for column, values in columns.items()}
    while (place := _giving_away(found, units)) is not None:
        column, number = place
        values = found[column]
        found[column] = _closed(values, {k for k, value in enumerate(values) if value.suppressed or k == number})
    return found


def _giving_away(columns: Mapping[str, list[Value]], units: np.ndarray) -> tuple[str, int] | None:
    """The first value that is shown and gives away a small number of samples."""
    for column, values in columns.items():
        others = [
            [value.member for value in own if not value.suppressed] for name, own in columns.items() if name != column
        ]
        for number, value in enumerate(values):
            if not value.suppressed and any(
                _left_small(side, members, units) for side in (value.member, ~value.member) for members in others
            ):
                return column, number
    return None


def _left_small(side: np.ndarray, members: list[np.ndarray], units: np.ndarray) -> bool:
    inside = [member for member in members if not (member & ~side).any()]
    left = side & ~np.logical_or.reduce(inside) if inside else np.zeros_like(side)
    return bool(left.any()) and _few(int(left.sum()), len(np.unique(units[left])))


def _small(values: Iterable[Value]) -> bool:
    """True when these together are too small to be shown."""
    together = list(values)
    return _few(sum(one.n for one in together), sum(one.units for one in together))


def _few(samples: int, units: int) -> bool:
    return samples < FEWEST_SAMPLES or units < FEWEST_UNITS
