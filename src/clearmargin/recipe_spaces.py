"""Values that a recipe leaves to a search: several choices, or a range, in the place of one value."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearmargin.errors import RecipeError
from clearmargin.recipe_mistakes import FIXED, LISTS, TABLES, Place, is_space, sentence, shown

Scalar = bool | int | float | str
MOST_CHOICES = 100
MOST_STEPS = 1_000_000
MOST_SPACES = 100  # of one contender
_RANGE_KEYS = ("low", "high", "log", "step", "default")
_CHOICE_KEYS = ("choices", "default")


@dataclass(frozen=True)
class Choices:
    """One of several values; ``default`` is what stands there when nothing is searched."""

    values: tuple[Scalar, ...]
    default: Scalar

    def ends(self) -> tuple[Scalar, ...]:
        """The values that have to be right for all of them to be."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both included.

    Attributes
    ----------
    log
        True: each factor is as likely as another, and not each difference.
    step
        Only ``low`` and whole steps from it; None for every number, of a whole one 1.
    whole
        True for whole numbers.
    """

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool
    default: float

    def ends(self) -> tuple[Scalar, ...]:
        """The values that have to be right for all of them to be."""
        return self.low, self.high


Space = Choices | Range


def take_spaces(content: Mapping[str, Any], origin: str) -> tuple[dict[str, Any], dict[Place, Space]]:
    """Parsed TOML with each space replaced by its default, and the spaces by their place.

    A space may stand in a contender, in what belongs to it, in ``[training]``, and at ``size_px`` of ``[data]``. A
    list is one of several values; a table with ``low`` and ``high`` is a range. Without a ``default``, that is the
    first of a list, and the middle of a range (of a logarithmic one, the geometric middle).

    Raises
    ------
    RecipeError
        Lists every space that is none.
    """
    found: dict[Place, Space] = {}
    mistakes: list[str] = []
    plain: dict[str, Any] = _apart(content)
    for holder, key, place in _places(plain):
        value = holder[key]
        if not is_space(value):
            continue
        wrong = list(_mistakes(value))
        mistakes += [sentence(f"the space of '{key}' {said}", place[:-1], content) for said in wrong]
        if not wrong:
            found[place] = _space(value)
            holder[key] = found[place].default
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise RecipeError("\n".join([f"{count} in {origin}:", *(f"  - {mistake}" for mistake in mistakes)]))
    return plain, found


def put(content: dict[str, Any], place: Place, value: Scalar) -> None:
    """Put a value where a space was."""
    holder: Any = content
    for step in place[:-1]:
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
    holder[place[-1]] = value


def _apart(value: Any) -> Any:
    """A copy in which no two places share a table, as inherited settings do: what is put into one is not in others."""
    if isinstance(value, Mapping):
        return {key: _apart(item) for key, item in value.items()}
    return [_apart(item) for item in value] if isinstance(value, list) else value


def _places(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Place]]:
    """Every setting that may be a space: the table it stands in, its key, and its place."""
    data = content.get("data")
    if isinstance(data, dict) and "size_px" in data:
        yield data, "size_px", ("data", "size_px")
    yield from _in_table(content, ("training",))
    listed = content.get("contender")
    for number, contender in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(contender, dict) or "onnx" in contender:
            continue
        for key in list(contender):
            place: Place = ("contender", number, key)
            if key in LISTS and isinstance(contender[key], list):
                for position, layer in enumerate(contender[key]):
                    if isinstance(layer, dict):
                        yield from ((layer, setting, (*place, position, setting)) for setting in list(layer))
            elif key in TABLES:
                yield from _in_table(contender, place)
            elif key not in FIXED:
                yield contender, key, place


def _in_table(holder: dict[str, Any], place: Place) -> Iterator[tuple[dict[str, Any], str, Place]]:
    table = holder.get(str(place[-1]))
    if not isinstance(table, dict):
        return
    for key in list(table):
        if key in TABLES:
            yield from _in_table(table, (*place, key))
        else:
            yield table, key, (*place, key)


def _mistakes(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        known = _CHOICE_KEYS if "choices" in value else _RANGE_KEYS
        strange = [key for key in value if key not in known]
        if strange:
            yield f"has no setting {shown(strange[0])}: expected {', '.join(known)}"
            return
    if isinstance(value, list) or "choices" in value:
        yield from _choice_mistakes(value)
    else:
        yield from _range_mistakes(value)


def _choice_mistakes(value: Any) -> Iterator[str]:
    listed = value if isinstance(value, list) else value["choices"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CHOICES:
        yield f"needs a list of 1 to {MOST_CHOICES} choices, got {shown(listed)}"
        return
    odd = [item for item in listed if not _is_scalar(item)]
    if odd:
        yield f"takes numbers, text, true and false, got {shown(odd[0])}"
        return
    if len({(type(item) is bool, item) for item in listed}) < len(listed):
        yield "names a choice twice"
    if isinstance(value, Mapping) and "default" in value and value["default"] not in listed:
        yield f"has the default {shown(value['default'])}, which is none of its choices"


def _range_mistakes(value: Mapping[str, Any]) -> Iterator[str]:
    lacking = [key for key in ("low", "high") if not _is_number(value.get(key))]
    if lacking:
        yield f"needs numbers as 'low' and 'high', got {shown(value.get(lacking[0]))} for '{lacking[0]}'"
        return
    low, high, log = value["low"], value["high"], value.get("log", False)
    step: Any = value.get("step")
    if not low < high:
        yield f"must have a 'low' below its 'high', got {shown(low)} and {shown(high)}"
    if not isinstance(log, bool):
        yield f"says 'log' = {shown(log)}: expected true or false"
    elif log and not low > 0:
        yield f"can't be logarithmic from {shown(low)} on: 'low' must be more than 0"
    if step is not None and not (_is_number(step) and step > 0):
        yield f"must have a 'step' of more than 0, got {shown(step)}"
    elif step is not None and log is True:
        yield "can't have both a 'step' and 'log'"
    elif step is not None and low < high and step > high - low:
        yield f"has a 'step' of {shown(step)}, and from {shown(low)} to {shown(high)} is less than that"
    elif step is not None and low < high and (float(high) - float(low)) / step > MOST_STEPS:
        yield f"has more than {MOST_STEPS:,} steps of {shown(step)} from {shown(low)} to {shown(high)}"
    default = value.get("default")
    if default is not None and not (_is_number(default) and low <= default <= high):
        yield f"has the default {shown(default)}, which is not from {shown(low)} to {shown(high)}"
    elif default is not None and _is_number(step) and step > 0 and (float(default) - float(low)) / step <= MOST_STEPS:
        steps = (default - low) / step
        if abs(steps - round(steps)) > 1e-9:
            yield f"has the default {shown(default)}, which is not whole steps of {shown(step)} from {shown(low)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | str) or _is_number(value)


def _space(value: Any) -> Space:
    if isinstance(value, list):
        return Choices(tuple(value), value[0])
    if "choices" in value:
        return Choices(tuple(value["choices"]), value.get("default", value["choices"][0]))
    low, high, log = value["low"], value["high"], value.get("log", False)
    step = value.get("step")
    whole = all(isinstance(end, int) for end in (low, high, *(() if step is None else (step,))))
    default = value.get("default")
    if default is None:
        default = _middle(low, high, log=log, step=step, whole=whole)
    return Range(low, high, log, step, whole and isinstance(default, int), default)


def _middle(low: float, high: float, *, log: bool, step: float | None, whole: bool) -> float:
    middle = math.exp((math.log(low) + math.log(high)) / 2) if log else (low + high) / 2
    if step is not None:
        middle = low + step * round((middle - low) / step)
        return round(middle) if whole else middle
    return round(middle) if whole else min(max(float(f"{middle:.6g}"), low), high)


def named(place: Sequence[str | int]) -> str:
    """A place within a contender as one word: ``training.learning_rate``, ``layers.0.conv``."""
    return ".".join(map(str, place))
