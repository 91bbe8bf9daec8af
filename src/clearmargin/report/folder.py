"""Reading the run folder: everything the report knows comes from these files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.predictions import read_predictions
from clearmargin.files import is_sealed, read_table
from clearmargin.records import Predictions
from clearmargin.report.contents import check_contents

FORMAT = 1
NEEDED: Mapping[str, tuple[str, ...]] = {
    "environment.json": ("clearmargin", "seed"),
    "audit.json": ("counts", "findings"),
    "split.json": ("asked", "achieved", "counts", "groups", "patients", "crossing_groups"),
    "model.json": ("name", "parameters", "training", "layers"),
    "leakage.json": ("splits",),
    "control.json": ("holds", "accuracy", "chance"),
}
EVALUATION_NEEDED: Mapping[str, tuple[str, ...]] = {
    "classification": ("task", "classes", "n", "contenders", "comparisons"),
    "regression": ("task", "target", "n", "contenders", "baselines", "comparisons"),
}


@dataclass(frozen=True)
class TrainedFiles:
    """What the run folder holds about one contender of any task.

    Attributes
    ----------
    slug
        Its folder's name: safe in file names and in HTML identifiers.
    model, result
        ``model.json``, and its part of ``evaluation.json``.
    history
        One row an epoch; empty columns are absent. No rows for one that was trained elsewhere.
    """

    name: str
    slug: str
    model: Mapping[str, Any]
    history: pd.DataFrame
    result: Mapping[str, Any]

    @property
    def learned_here(self) -> bool:
        """False for a contender that somebody else trained."""
        return self.model.get("kind") != "onnx"


@dataclass(frozen=True)
class ContenderFiles(TrainedFiles):
    """What the run folder holds about one contender of a classification.

    Attributes
    ----------
    predictions
        For the part that was evaluated, rows in the order of the file.
    predicted
        int64 of shape (samples,): column of the most probable class.
    truth
        int64 of shape (samples,): column of the true class.
    """

    predictions: Predictions
    predicted: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class StudyFiles:
    """The run folder of any task, read and checked for belonging together.

    Attributes
    ----------
    split_rows
        ``split.csv``: name, label, group, part.
    leakage
        ``leakage.json``, the price of leakage; None where it was not measured.
    control
        ``control.json``, what shuffled labels reach on this split; None where it was not measured.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    audit: Mapping[str, Any]
    split: Mapping[str, Any]
    split_rows: pd.DataFrame
    evaluation: Mapping[str, Any]
    leakage: Mapping[str, Any] | None
    control: Mapping[str, Any] | None


@dataclass(frozen=True)
class RunFiles(StudyFiles):
    """The run folder of a classification.

    Attributes
    ----------
    contenders
        In the order of ``evaluation.json``, which is the recipe's.
    """

    contenders: tuple[ContenderFiles, ...]


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Read ``evaluation.json``, of a task that a report can be written for.

    Raises
    ------
    RunFolderError
        When it is missing, damaged, or of another task.
    """
    evaluation = read_json(folder / "evaluation.json", ("task",))
    needed = EVALUATION_NEEDED.get(evaluation["task"])
    if needed is None:
        raise RunFolderError(
            f"The report is written for the tasks {' and '.join(EVALUATION_NEEDED)}, got {evaluation['task']!r} "
            f"({folder / 'evaluation.json'})."
        )
    evaluation = read_json(folder / "evaluation.json", needed)
    check_contents(folder / "evaluation.json", evaluation)
    return evaluation


def read_study(folder: Path, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a run of any task has, as the fields of `StudyFiles`.

    Raises
    ------
    RunFolderError
        When a file is missing or damaged.
    """
    return {
        "folder": folder,
        "recipe": _read_recipe(folder / "recipe.toml"),
        "environment": read_json(folder / "environment.json"),
        "audit": read_json(folder / "audit.json"),
        "split": read_json(folder / "split.json"),
        "split_rows": read_csv(folder / "split.csv", ("name", "label", "group", "part")),
        "evaluation": evaluation,
        "leakage": _read_sealed(folder / "leakage.json"),
        "control": _read_sealed(folder / "control.json"),
    }


def _read_sealed(path: Path) -> dict[str, Any] | None:
    """Figures that only some runs have, and that nobody edited."""
    if not path.is_file():
        return None
    found = read_json(path)
    if "content_sha256" in found and not is_sealed(found):
        raise RunFolderError(
            f"{path} was edited or damaged: its content_sha256 is that of other figures. Delete the file and "
            "report.html, and go on with `clearmargin run … --resume`, which measures them again."
        )
    return found


def read_run(folder: Path) -> RunFiles:
    """Read what a finished classification run left in its folder.

    Raises
    ------
    RunFolderError
        When a file is missing or damaged, or when two files contradict each other.
    """
    evaluation = read_evaluation(folder)
    contenders = tuple(
        _read_contender(place, model, result, evaluation)
        for place, model, result in trained(folder, evaluation, "classes")
    )
    return RunFiles(**read_study(folder, evaluation), contenders=contenders)


def trained(
    folder: Path, evaluation: Mapping[str, Any], *needed: str
) -> Iterator[tuple[Path, dict[str, Any], Mapping[str, Any]]]:
    """Folder, ``model.json`` and result of each contender, in the order of ``evaluation.json``.

    Raises
    ------
    RunFolderError
        When one has no folder, or its ``model.json`` lacks something.
    """
    keys = (*NEEDED["model.json"], *needed)
    models = {path.parent: read_json(path, keys) for path in sorted(folder.glob("contenders/*/model.json"))}
    by_name = {model["name"]: place for place, model in models.items()}
    for name, result in evaluation["contenders"].items():
        if name not in by_name:
            raise RunFolderError(
                f"evaluation.json speaks of {name!r}, but no contenders/*/model.json in {folder} has that "
                f"name (found: {', '.join(sorted(by_name)) or 'none'}). Run the study again."
            )
        yield by_name[name], models[by_name[name]], result


def _read_contender(
    place: Path, model: Mapping[str, Any], result: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> ContenderFiles:
    part = evaluation.get("part", "test")
    path = place / "predictions.csv"
    if not path.is_file():
        raise missing(path)
    parts = read_predictions(path)
    if part not in parts:
        raise RunFolderError(f"{path} holds no predictions for the part {part}. Run the study again.")
    predictions = parts[part]
    column = {name: k for k, name in enumerate(predictions.classes)}
    truth = np.array([column[label] for label in predictions.labels], dtype=np.int64)
    predicted = predictions.probabilities.argmax(axis=1)
    errors = int((truth != predicted).sum())
    if len(truth) != evaluation["n"] or errors != result["errors"]:
        raise RunFolderError(
            f"{path} and evaluation.json do not belong together: {errors} errors in {len(truth)} rows against "
            f"{result['errors']} errors in {evaluation['n']} samples. Evaluate the run again."
        )
    history = _read_history(place, model)
    return ContenderFiles(model["name"], place.name, model, history, result, predictions, predicted, truth)


def _read_history(place: Path, model: Mapping[str, Any]) -> pd.DataFrame:
    """The course of training; no epochs for a contender that was trained elsewhere."""
    if model.get("kind") == "onnx":
        return pd.DataFrame({"epoch": pd.Series(dtype=np.int64)})
    return read_csv(place / "history.csv", ("epoch",))


def read_json(path: Path, needed: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Read a JSON file of the run folder that has what is ``needed`` (without it, what `NEEDED` says).

    Raises
    ------
    RunFolderError
        When it is missing, damaged, of another version, or lacks something.
    """
    content = _parsed(path, json.loads)
    if not isinstance(content, dict) or content.get("format", FORMAT) != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise RunFolderError(
            f"{path} is of format {found!r}, expected {FORMAT}: it was written by another version of "
            "clearmargin. Use that version, or run the study again."
        )
    absent = [key for key in (NEEDED[path.name] if needed is None else needed) if key not in content]
    if absent:
        raise RunFolderError(f"{path} lacks {', '.join(absent)}: it is damaged. Run the study again.")
    if path.name in NEEDED:
        check_contents(path, content)
    return content


def recipe_language(folder: Path) -> str:
    """The language that the run's recipe asks for; English where it says nothing."""
    return str(_read_recipe(folder / "recipe.toml").get("report", {}).get("language", "en"))


def _read_recipe(path: Path) -> dict[str, Any]:
    return _parsed(path, tomllib.loads)


def _parsed(path: Path, parse: Any) -> Any:
    if not path.is_file():
        raise missing(path)
    try:
        return parse(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except ValueError as error:  # errors of JSON and of TOML are both
        raise RunFolderError(f"{path} can't be read: {error}. It is damaged; run the study again.") from error


def read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a table of the run folder that has these columns.

    Raises
    ------
    RunFolderError
        When it is missing or damaged.
    """
    if not path.is_file():
        raise missing(path)
    text = columns if path.name == "split.csv" else ()
    try:
        frame = read_table(path, text=text)
    except ValueError as error:
        raise RunFolderError(f"{path} can't be read: {error}. It is damaged; run the study again.") from error
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise RunFolderError(f"{path} lacks the column {absent[0]}: it is damaged. Run the study again.")
    return frame


def missing(path: Path) -> RunFolderError:
    """The error for a file that a finished run has."""
    return RunFolderError(
        f"{path} is missing: the report needs a finished run folder. Finish the run first (--resume)."
    )
