"""Which samples stand in which value of a column, and which values are too small to be shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
    return kind, _suppressed(found)


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


def _suppressed(values: list[Value]) -> list[Value]:
    """Mark small values, and then so many of the smallest others that no small one follows by subtraction.

    All values together are known: what is hidden must be two values at least, and together large enough.
    """
    hidden = {place for place, value in enumerate(values) if _small([value])}
    rest = sorted(set(range(len(values))) - hidden, key=lambda place: values[place].n)
    while hidden and rest and (len(hidden) < 2 or _small(values[place] for place in hidden)):
        hidden.add(rest.pop(0))
    return [
        Value(value.name, value.member, value.units, suppressed=place in hidden) for place, value in enumerate(values)
    ]


def _small(values: Iterable[Value]) -> bool:
    """True when these together are too small to be shown."""
    together = list(values)
    return sum(one.n for one in together) < FEWEST_SAMPLES or sum(one.units for one in together) < FEWEST_UNITS
