"""Where settings come from besides their own place: ``--set KEY=VALUE``, and [training] for every contender."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clearmargin.errors import RecipeError

# A step of a key: bare, or in quotes when the name of a contender has a dot. (?>…) never tries a step a second way.
_STEP = r"""(?>\s*"[^"]*"\s*|\s*'[^']*'\s*|[^.=]+)"""
_OVERRIDE = re.compile(rf"({_STEP}(?:\.{_STEP})*)=(.*)", re.DOTALL)


def put_override(content: dict[str, Any], override: str, slug: Callable[[str], str]) -> None:
    """Put ``"training.epochs=3"`` into parsed TOML.

    The value is TOML, bare words are text. A contender goes by its name, its folder's name, or its number from 0; so
    do layers by number. What is set under ``training`` counts for every contender, also those with a value of their
    own.

    Raises
    ------
    RecipeError
        When the key is not one, or leads nowhere.
    """
    matched = _OVERRIDE.fullmatch(override)
    path = [_unquoted(step) for step in re.findall(_STEP, matched[1])] if matched else []
    if matched is None or not all(path):
        raise RecipeError(f"--set needs KEY=VALUE, for example training.epochs=3, got {override[:200]!r}.")
    if path[0] == "training":
        for contender in content["contender"] if isinstance(content.get("contender"), list) else ():
            _remove(contender, path)
    place: Any = content
    for position, step in enumerate(path[:-1]):
        place = _step_into(place, step, path[:position], slug)
    if isinstance(place, dict):
        place[path[-1]] = _value(matched[2])
    else:
        place[_number(place, path[-1], path[:-1], slug)] = _value(matched[2])


def _unquoted(step: str) -> str:
    bare = step.strip()
    return bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'" else bare


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return table["value"] if len(table) == 1 else text.strip()


def _step_into(place: Any, step: str, above: Sequence[str], slug: Callable[[str], str]) -> Any:
    if isinstance(place, dict):
        return place.setdefault(step, {})
    return place[_number(place, step, above, slug)]


def _number(place: Any, step: str, above: Sequence[str], slug: Callable[[str], str]) -> int:
    """Position in a list of what a step names: by name before by number."""
    if not isinstance(place, list):
        raise RecipeError(f"--set {'.'.join([*above, step])}: '{'.'.join(above)}' is a value and holds no settings.")
    names = [item.get("name") if isinstance(item, Mapping) else None for item in place]
    for number, name in enumerate(names):
        if isinstance(name, str) and step.casefold() in (name.casefold(), slug(name)):
            return number
    if step in map(str, range(len(place))):
        return int(step)
    known = "".join(f"{name!r}, " for name in names if isinstance(name, str))
    numbers = f"a number from 0 to {len(place) - 1}" if place else "nothing: the list is empty"
    raise RecipeError(f"--set {'.'.join([*above, step])}: expected {known}{numbers}, got {step!r}.")


def _remove(table: Any, path: Sequence[str]) -> None:
    for step in path[:-1]:
        table = table.get(step) if isinstance(table, dict) else None
    if isinstance(table, dict):
        table.pop(path[-1], None)


def inherit_training(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which [training] is filled into each contender's own; what is not a table is left to validation."""
    shared, contenders = content.get("training", {}), content.get("contender")
    if not isinstance(shared, Mapping) or not isinstance(contenders, list):
        return dict(content)
    return {**content, "contender": [_inheriting(contender, shared) for contender in contenders]}


def _inheriting(contender: Any, shared: Mapping[str, Any]) -> Any:
    learns = isinstance(contender, Mapping) and "onnx" not in contender  # what is foreign has learned already
    own = contender.get("training", {}) if learns else None
    if not isinstance(own, Mapping):
        return contender
    merged = {**shared, **own}
    both: list[Any] = [table.get("augmentation") for table in (shared, own)]
    if all(isinstance(table, Mapping) for table in both):
        merged["augmentation"] = {key: value for table in both for key, value in table.items()}
    return {**contender, "training": merged}


def is_inherited(place: tuple[str | int, ...], content: Mapping[str, Any]) -> bool:
    """True for a mistake in a contender's training that stands in [training] and is reported there."""
    if len(place) < 5 or (place[0], place[2], place[3]) != ("contender", "name", "training"):
        return False
    table: Any = content["contender"][place[1]].get("training")
    for step in place[4:]:
        if not isinstance(table, Mapping) or step not in table:
            return True
        table = table[step]
    return False
