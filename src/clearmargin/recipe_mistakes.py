"""What can be wrong with one setting of a recipe, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

Place = tuple[str | int, ...]  # ("contender", 0, "layers", 2, "conv", "kernel"), as pydantic says it

# Where a search may choose (`recipe_spaces`): in a contender and [training], but for these
LISTS = ("layers", "head")  # their items are tables, and never choices
TABLES = ("training", "augmentation")  # tables that are settings themselves
FIXED = ("name", "architecture", "weights")  # what makes another contender

_EXPECTED: dict[str, str] = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text, in quotes",
    "string_unicode": "must be Unicode text",
    "string_pattern_mismatch": "must not be blank",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


def mistake_in_words(mistake: Mapping[str, Any], content: Mapping[str, Any], recipe: type[BaseModel]) -> str:
    """One mistake that pydantic found, in the words of a recipe: what, expected, got, where.

    Parameters
    ----------
    mistake
        From ``ValidationError.errors()``.
    content
        The parsed TOML, for the names of contenders.
    recipe
        The model of the whole page, for the names that would have been right.
    """
    kind, place = mistake["type"], mistake["loc"]
    if place[:1] == ("contender",) and len(place) == 3:
        place = place[:2]  # pydantic's tag is no place of the page
    if place[:2] == ("data", "window"):
        place = (*place[:2], *place[3:])  # nor is this one
    if kind == "extra_forbidden":
        return _unknown_setting(place, content, recipe)
    if kind == "missing" or (kind == "too_short" and place == ("contender",)):
        needed = "at least one [[contender]] table" if place == ("contender",) else f"the setting '{place[-1]}'"
        return sentence(f"a recipe needs {needed}", place[:-1], content)
    if kind == "layer_kind":
        said = f"layer {place[-1] + 1} {mistake['msg']}, got {shown(mistake['input'])}"
        return sentence(said, place[:-2] if place[-2] == "layers" else place[:-1], content, _near_layer(mistake))
    expected, hint = _expected(mistake)
    above = place[:-2] if isinstance(place[-1], int) else place[:-1]
    if not hint and kind not in ("list_type", "too_short", "too_long") and is_space(mistake["input"]):
        hint = "; several choices, or a range, are for `clearmargin tune`" if takes_a_space(place) else ""
    return sentence(f"{_subject(place)} {expected}, got {_got(mistake)}", above, content, hint)


def takes_a_space(place: Place) -> bool:
    """Whether a search may choose what stands at a place of a recipe."""
    if place[:1] == ("data",):
        return place == ("data", "size_px")
    inside = place[:1] == ("training",) or (place[:1] == ("contender",) and len(place) > 2)
    return inside and place[-1] not in (*FIXED, *LISTS, *TABLES)


def is_space(value: Any) -> bool:
    """Whether a value in the place of one setting is meant as a space."""
    if isinstance(value, Mapping):
        return bool({"low", "high", "choices"} & value.keys())
    return isinstance(value, list)


def _expected(mistake: Mapping[str, Any]) -> tuple[str, str]:
    """What was expected, and a guess at what was meant."""
    context = {key: _plain(value) for key, value in mistake.get("ctx", {}).items()}
    if mistake["type"] != "literal_error":
        words = _EXPECTED.get(mistake["type"], mistake["msg"].replace("Input should be", "must be"))
        return words.format_map(context), ""
    words = context["expected"].replace("'", "").replace(" or ", ", ").replace("True", "true").split(", ")
    found = mistake["input"]
    near = difflib.get_close_matches(found.casefold(), words, n=1) if isinstance(found, str) else []
    return f"must be {_listed(words)}", f"; did you mean '{near[0]}'?" if near else ""


def _plain(limit: Any) -> Any:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _unknown_setting(place: Place, content: Mapping[str, Any], recipe: type[BaseModel]) -> str:
    key, valid = str(place[-1]), list(_model_at(recipe, place[:-1]).model_fields)
    near = difflib.get_close_matches(key, valid, n=1)
    homes = [name for name in recipe.model_fields if key in _model_at(recipe, (name,)).model_fields]
    if near:
        hint = f"; did you mean '{near[0]}'?"
    elif homes and key not in recipe.model_fields:
        hint = f"; it belongs to [{homes[0]}]"
    else:
        hint = f"; expected {_listed(valid)}"
    return sentence(f"there is no setting {shown(key)}", place[:-1], content, hint)


def _near_layer(mistake: Mapping[str, Any]) -> str:
    kinds = mistake["msg"].rpartition("keys ")[2].split(", ")
    keys = mistake["input"] if isinstance(mistake["input"], Mapping) else ()
    near = [kind for key in keys if key not in kinds for kind in difflib.get_close_matches(str(key), kinds, n=1)]
    return f"; did you mean '{near[0]}'?" if near else ""


def sentence(said: str, place: Place, content: Mapping[str, Any], hint: str = "") -> str:
    """What is wrong and where it stands, as a sentence."""
    where = _where(place, content)
    whole = said[0].upper() + said[1:] + (f" ({where})" if where else "") + hint
    return whole if whole.endswith("?") else whole + "."


def _subject(place: Place) -> str:
    *_, last = place
    if isinstance(last, str):
        return f"the '{last}' setting"
    return f"contender {last + 1}" if place[0] == "contender" else f"number {last + 1} of '{place[-2]}'"


def _where(place: Place, content: Mapping[str, Any]) -> str:
    """A place as a reader looks for it: ``contender 'VGG16', layer 3 of the head``."""
    words, steps = [], list(place)
    if len(steps) > 1 and steps[0] == "contender":
        table = content["contender"][steps[1]]
        name = table.get("name") if isinstance(table, Mapping) else None
        words.append(f"contender {shown(name) if isinstance(name, str) else int(steps[1]) + 1}")
        steps = steps[3:] if steps[2:3] in (["name"], ["onnx"]) else steps[2:]  # pydantic's tag: trained here, or not
    if len(steps) > 1 and steps[0] in ("layers", "head"):
        words.append(f"layer {int(steps[1]) + 1}" + (" of the head" if steps[0] == "head" else ""))
        steps = steps[3:]  # after the number comes pydantic's tag, the kind of the layer
    tables = [str(step) for step in steps if isinstance(step, str)]
    return ", ".join([*words, *([f"[{'.'.join(tables)}]"] if tables else [])])


def _model_at(root: type[BaseModel], place: Place) -> type[BaseModel]:
    """The model of the table at a place; the last one that is known when there is none."""
    candidates = [root]
    for step in place:
        if step in candidates[0].model_fields and len(candidates) == 1:
            candidates = list(_models_in(candidates[0].model_fields[step].annotation)) or candidates
        elif isinstance(step, str):  # the tag of a layer is the name of its first setting
            candidates = [model for model in candidates if next(iter(model.model_fields)) == step] or candidates
    return candidates[0]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _got(mistake: Mapping[str, Any]) -> str:
    if mistake["type"] in ("too_short", "too_long"):
        return str(mistake["ctx"]["actual_length"])
    return shown(mistake["input"])


def shown(value: Any) -> str:
    """A value nearly as TOML writes it, never long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return "a table" if isinstance(value, Mapping) else "a list"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _listed(words: Sequence[str]) -> str:
    return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
