"""What a search looks for: one contender of a recipe, and the settings of it that may change."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clearmargin.errors import RecipeError
from clearmargin.recipe import Contender, Recipe, check_recipe, read_recipe, slug
from clearmargin.recipe_mistakes import Place
from clearmargin.recipe_overrides import inherit_training
from clearmargin.recipe_spaces import MOST_SPACES, Choices, Range, Scalar, Space, named, put, take_spaces
from clearmargin.tuning.default_spaces import default_spaces

TUNED = ", tuned"
ORIGIN = "the settings of a trial"


@dataclass(frozen=True)
class Plan:
    """What is searched.

    Attributes
    ----------
    recipe
        With every space at its default: the untuned recipe.
    content
        The same as parsed TOML.
    number
        Place of the contender in it.
    places
        Where each setting stands in the content, by its name: ``training.learning_rate``.
    spaces
        By the same names.
    own
        True when the recipe names the spaces, false when they are the shipped ones.
    repeats
        Over how many seeds the recipe would do the study; a search, and what follows from it, is on one split.
    """

    recipe: Recipe
    content: Mapping[str, Any]
    number: int
    places: Mapping[str, Place]
    spaces: Mapping[str, Space]
    own: bool
    repeats: int = 1

    @property
    def contender(self) -> Contender:
        """The contender as it is untuned."""
        found = self.recipe.contender[self.number]
        assert isinstance(found, Contender)  # `make_plan` chose it so
        return found

    @property
    def untuned(self) -> dict[str, Scalar]:
        """Its settings, by name."""
        return {name: space.default for name, space in self.spaces.items()}

    def contender_with(self, settings: Mapping[str, Scalar]) -> Contender:
        """The contender with other settings.

        Raises
        ------
        RecipeError
            When they do not go together.
        """
        found = check_recipe(self._content_with(settings), ORIGIN).contender[self.number]
        assert isinstance(found, Contender)
        return found

    def recipe_with(self, settings: Mapping[str, Scalar] | None) -> Recipe:
        """A recipe of the untuned contender and, if there are better ``settings``, the tuned one beside it."""
        content: dict[str, Any] = copy.deepcopy(dict(self.content))
        both = [content["contender"][self.number]]
        if settings is not None:
            tuned = self._content_with(settings)["contender"][self.number]
            both.append({**tuned, "name": self.contender.name + TUNED})
        content["contender"] = both
        return check_recipe(content, ORIGIN)

    def as_json(self) -> dict[str, Any]:
        """What two processes must agree on to search together."""
        return {
            "recipe": self.recipe.without_paths().model_dump(mode="json", exclude_none=True, exclude={"report"}),
            "contender": self.contender.name,
            "spaces": {name: _as_json(space) for name, space in self.spaces.items()},
        }

    def _content_with(self, settings: Mapping[str, Scalar]) -> dict[str, Any]:
        content: dict[str, Any] = copy.deepcopy(dict(self.content))
        for name, value in settings.items():
            put(content, self.places[name], value)
        return content


def make_plan(
    recipe: str | Path, overrides: Sequence[str] = (), data: str | None = None, contender: str | None = None
) -> Plan:
    """Read what a recipe leaves to a search.

    Parameters
    ----------
    recipe, overrides, data
        As `clearmargin.recipe.load_recipe` takes them.
    contender
        Name of the one to be tuned. Without it, the one that has spaces of its own; else VGG16, else the first that
        learns.

    Raises
    ------
    RecipeError
        Lists every mistake; or there is no such contender, or nothing says which of several is meant; or the study
        would test on what the search has learned from.
    """
    content, origin = read_recipe(recipe, overrides, data)
    own = take_spaces(content, origin)[1]
    plain, found = take_spaces(inherit_training(content), origin)
    settings = check_recipe(plain, origin)
    repeats = _on_one_split(plain)
    settings = check_recipe(plain, origin) if repeats > 1 else settings
    _refuse_folds(settings)
    number = _chosen(settings, own, contender)
    chosen = settings.contender[number]
    assert isinstance(chosen, Contender)  # `_chosen` chose it so
    places: dict[str, Place] = {}
    for place in found:
        if place[:2] == ("contender", number):
            places[named(place[2:])] = place
    if ("data", "size_px") in found and chosen.size_px is None:
        places["size_px"] = ("data", "size_px")
    spaces = {name: found[place] for name, place in places.items()}
    if "size_px" in places:
        places["size_px"] = ("contender", number, "size_px")  # the others see what they saw
    is_own = bool(spaces)
    if not is_own:
        shipped = default_spaces(chosen, classes=settings.task == "classification")
        places = {named(place): ("contender", number, *place) for place in shipped}
        spaces = {named(place): space for place, space in shipped.items()}
    if len(spaces) > MOST_SPACES:
        raise RecipeError(f"{origin} has {len(spaces)} spaces for '{chosen.name}', expected at most {MOST_SPACES}.")
    plan = Plan(settings, plain, number, places, spaces, is_own, repeats)
    plan = replace(plan, spaces=_checked(plan, origin))
    plan.recipe_with(plan.untuned)  # whether the two names go together is said before, and not after the search
    return plan


def _refuse_folds(recipe: Recipe) -> None:
    """Refuse a study over folds: what one of them tests, the search would have learned from in another."""
    if recipe.split.folds:
        raise RecipeError(
            "Settings are searched on one split, and the other folds of this study test samples that the search has "
            "seen: set split.folds=0. (The option --folds judges each trial over inner folds.)"
        )


def _on_one_split(content: dict[str, Any]) -> int:
    """Let a study be done once, and not over seeds, whose test parts the search has seen; return how often it asked."""
    table = content.get("evaluation")
    repeats = table.get("repeats", 1) if isinstance(table, dict) else 1
    if isinstance(table, dict) and isinstance(repeats, int) and repeats > 1:
        table["repeats"] = 1
        return repeats
    return 1


def _chosen(recipe: Recipe, own: Mapping[Place, Space], wanted: str | None) -> int:
    learners = {n: each for n, each in enumerate(recipe.contender) if isinstance(each, Contender)}
    names = " or ".join(repr(each.name) for each in learners.values())
    if not learners:
        raise RecipeError("Nothing in this recipe learns, so that there is nothing to tune.")
    if wanted is not None:
        for number, each in learners.items():
            if wanted.casefold() in (each.name.casefold(), slug(each.name)):
                return number
        raise RecipeError(f"There is no contender {wanted!r} to tune: expected {names}.")
    with_own = sorted({int(place[1]) for place in own if place[0] == "contender"})
    if len(with_own) > 1:
        names = " or ".join(repr(learners[number].name) for number in with_own)
        raise RecipeError(f"Several contenders have spaces, and one is tuned at a time: say --contender {names}.")
    if with_own:
        return with_own[0]
    return next((n for n, each in learners.items() if each.architecture == "vgg16"), next(iter(learners)))


def _checked(plan: Plan, origin: str) -> dict[str, Space]:
    """The spaces, each of whose ends a recipe may say; whole ends of what takes any number span all of those.

    Raises
    ------
    RecipeError
        Lists every value that can't stand there.
    """
    mistakes: dict[str, None] = {}
    checked: dict[str, Space] = {}
    for name, space in plan.spaces.items():
        for value in space.ends():
            mistakes.update(dict.fromkeys(_mistakes(plan, name, value)))
        any_number = isinstance(space, Range) and space.whole and space.step is None
        if (
            any_number
            and isinstance(space, Range)
            and not list(_mistakes(plan, name, (space.low + space.high) / 2 + 0.25))
        ):
            space = replace(space, whole=False)
        checked[name] = space
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise RecipeError("\n".join([f"{count} in the spaces of {origin}:", *mistakes]))
    return checked


def _mistakes(plan: Plan, name: str, value: Scalar) -> list[str]:
    try:
        plan.contender_with({name: value})
    except RecipeError as error:
        return str(error).splitlines()[1:]
    return []


def _as_json(space: Space) -> dict[str, Any]:
    return {"values": list(space.values), "default": space.default} if isinstance(space, Choices) else asdict(space)
