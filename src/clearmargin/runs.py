"""A finished run, opened: its figures as plain objects, its contenders ready to predict."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from clearmargin.diverged import read_diverged
from clearmargin.errors import RecipeError, RunFolderError
from clearmargin.evaluation.decision import Decision, read_decision
from clearmargin.files import is_sealed, read_table
from clearmargin.published import PublishedContender
from clearmargin.recipe import Recipe, check_recipe, load_stored_recipe, slug
from clearmargin.trained import TrainedContender

LARGEST_DESCRIPTION_BYTES = 50_000_000


class Run:
    """A finished run folder.

    Attributes
    ----------
    folder
        Where it lies.
    recipe
        What was asked for, defaults filled in.
    contenders
        Trained models by name; those that diverged are none.
    evaluation
        The figures of ``evaluation.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe: Recipe = load_stored_recipe(folder / "recipe.toml")
        self.evaluation: dict[str, Any] = read_json(folder / "evaluation.json")
        self.contenders = {contender.name: contender for contender in _contenders(folder, self.recipe)}

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, contenders={list(self.contenders)})"

    @property
    def best(self) -> TrainedContender:
        """The best contender on validation: by balanced accuracy, then log loss; of a regression by squared error.

        One that was trained elsewhere may have seen the validation part, and is the best only where there is no other.
        The loss that a regression minimised says nothing here: contenders may have learned by different ones.
        """

        def quality(contender: TrainedContender) -> tuple[float, float]:
            said = contender.description["validation"]
            return said.get("balanced_accuracy", 0.0), -said.get("mean_squared_error", said["loss"])

        learned_here = [one for one in self.contenders.values() if not isinstance(one, PublishedContender)]
        return max(learned_here or self.contenders.values(), key=quality)

    def contender(self, name: str | None) -> TrainedContender:
        """A contender by its name or folder name; the best on validation when None.

        Raises
        ------
        RecipeError
            When there is none of this name.
        """
        if name is None:
            return self.best
        for contender in self.contenders.values():
            if name.casefold() in (contender.name.casefold(), contender.folder.name):
                return contender
        for one, reason in self.evaluation.get("diverged", {}).items():
            if name.casefold() in (one.casefold(), slug(one)):
                raise RecipeError(f"'{one}' in {self.folder} has no result: {reason}")
        raise RecipeError(f"There is no contender {name!r} in {self.folder}: expected {_listed(self.contenders)}.")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of all contenders for validation and test, with a first column ``contender``."""
        frames = []
        text: tuple[str, ...] = ("part", "name", "group")
        if self.evaluation["task"] == "classification":
            text += ("label", "predicted")
        for contender in self.contenders.values():
            frame = read_table(contender.folder / "predictions.csv", text=text)
            frame.insert(0, "contender", contender.name)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    @property
    def report(self) -> Path:
        """The report's path."""
        return self.folder / "report.html"


def open_run(folder: str | Path) -> Run:
    """Open a finished run.

    Raises
    ------
    RunFolderError
        When the folder is not a run, or the run is not finished.
    """
    path = Path(folder)
    try:
        known = (path / "recipe.toml").is_file()
    except OSError as error:
        raise RunFolderError(f"{path} can't be opened: {error.strerror or error}.") from error
    if not known:
        raise RunFolderError(f"{path} is not a run folder: expected a folder that `clearmargin run` wrote.")
    if not is_finished(path):
        raise RunFolderError(
            f"The run in {path} is not finished: go on with `clearmargin run … --out {path} --resume`."
        )
    return Run(path)


def is_finished(folder: Path) -> bool:
    """True when a run got to its end: the report is the last thing it writes."""
    return (folder / "report.html").is_file() and (folder / "evaluation.json").is_file()


def read_json(path: Path) -> Any:
    """Read one of a run's JSON files.

    Raises
    ------
    RunFolderError
        When it is missing, too large, or not JSON.
    """
    try:
        if path.stat().st_size > LARGEST_DESCRIPTION_BYTES:
            raise RunFolderError(f"{path} is larger than {LARGEST_DESCRIPTION_BYTES:,} bytes: it is not ours.")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is missing or damaged ({error}): run the study again.") from error


def read_model(place: Path) -> dict[str, Any]:
    """The content of the ``model.json`` in a contender's folder.

    Raises
    ------
    RunFolderError
        When it is missing or damaged, or anything in it was changed since the run wrote it.
    """
    path = place / "model.json"
    content = read_json(path)
    if not (isinstance(content, dict) and is_sealed(content)):
        raise RunFolderError(
            f"{path} is damaged, or was changed since the run wrote it: its SHA-256 differs. Take the folder from "
            "where it is whole, or run the study again."
        )
    return content


def stored_decisions(folder: Path, recipe: Recipe) -> dict[str, Decision]:
    """What each contender of a run folder that has a result fixed on its validation part; of a regression, nothing.

    Raises
    ------
    RunFolderError
        When a ``model.json`` is damaged, or was changed since.
    """
    found = {}
    for contender in recipe.contender:
        place = folder / "contenders" / slug(contender.name)
        if read_diverged(place) is not None:
            continue
        decision = read_decision(read_model(place), place)
        if decision is not None:
            found[contender.name] = decision
    return found


def _contenders(folder: Path, recipe: Recipe) -> Iterator[TrainedContender]:
    for contender in recipe.contender:
        place = folder / "contenders" / slug(contender.name)
        if read_diverged(place) is not None:
            continue
        description = _checked(read_model(place), place)
        kind = PublishedContender if description.get("kind") == "onnx" else TrainedContender
        yield kind(contender.name, place, description, read_decision(description, place))


def _checked(description: dict[str, Any], place: Path) -> dict[str, Any]:
    """Refuse a model.json that could not be one of ours before anything is built from it."""
    try:
        sound = (
            _sound_input(description["preprocessing"])
            and _sound_task(description)
            and isinstance(description["weights_sha256"], str)
            and description["training"]["precision"] in ("float32", "bfloat16")
        )
        table = {"target": "target"} if description["task"] == "regression" else {}
        contender = description["architecture"]
        check_recipe({"task": description["task"], "data": table, "contender": [contender]}, f"{place.name}/model.json")
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise RunFolderError(f"{place / 'model.json'} is damaged: it does not describe a model. Run the study again.")
    return dict(description)


def _sound_input(pre: Any) -> bool:
    if "columns" in pre:
        names, inputs = pre["columns"], len(pre["columns"])
        sound = inputs > 0 and all(isinstance(name, str) for name in names)
    else:
        size, inputs = pre["size_px"], 3 if pre["color"] == "rgb" else 1
        sound = isinstance(size, int) and 8 <= size <= 2048
        sound = sound and pre["fit"] in ("pad", "stretch", "crop") and pre["color"] in ("rgb", "gray")
        sound = sound and pre.get("trim", False) in (True, False)
        sound = sound and pre.get("intensity", "as-is") in ("as-is", "standardised")
        sound = sound and _is_window(pre.get("window", "file"))
    return sound and _are_numbers(pre["mean"], inputs) and _are_numbers(pre["std"], inputs)


def _is_window(window: Any) -> bool:
    if isinstance(window, list):
        return _are_numbers(window, 2) and window[1] >= 1
    return window in ("file", "auto")


def _sound_task(description: Any) -> bool:
    if description["task"] == "regression":
        target = description["target"]
        return isinstance(target["name"], str) and _are_numbers([target["mean"], target["std"]], 2)
    names = description["classes"]
    return len(names) >= 2 and all(isinstance(name, str) for name in names)


def _are_numbers(values: Any, count: int) -> bool:
    return len(values) == count and all(isinstance(value, int | float) for value in values)


def _listed(names: Mapping[str, Any]) -> str:
    return " or ".join(repr(name) for name in names)
