"""Reading the run folder: everything the report knows comes from these files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.predictions import read_predictions
from clearmargin.files import read_table
from clearmargin.records import Predictions

FORMAT = 1
NEEDED: Mapping[str, tuple[str, ...]] = {
    "environment.json": ("clearmargin", "seed"),
    "audit.json": ("counts", "classes", "findings"),
    "split.json": ("asked", "achieved", "counts", "groups", "patients", "crossing_groups"),
    "model.json": ("name", "classes", "parameters", "training", "layers"),
    "evaluation.json": ("task", "classes", "n", "contenders", "comparisons"),
}


@dataclass(frozen=True)
class ContenderFiles:
    """What the run folder holds about one contender.

    Attributes
    ----------
    slug
        Its folder's name: safe in file names and in HTML identifiers.
    model, result
        ``model.json``, and its part of ``evaluation.json``.
    history
        One row an epoch; empty columns are absent.
    predictions
        For the part that was evaluated, rows in the order of the file.
    predicted
        int64 of shape (samples,): column of the most probable class.
    truth
        int64 of shape (samples,): column of the true class.
    """

    name: str
    slug: str
    model: Mapping[str, Any]
    history: pd.DataFrame
    result: Mapping[str, Any]
    predictions: Predictions
    predicted: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class RunFiles:
    """The run folder, read and checked for belonging together.

    Attributes
    ----------
    split_rows
        ``split.csv``: name, label, group, part.
    contenders
        In the order of ``evaluation.json``, which is the recipe's.
    """

    folder: Path
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    audit: Mapping[str, Any]
    split: Mapping[str, Any]
    split_rows: pd.DataFrame
    evaluation: Mapping[str, Any]
    contenders: tuple[ContenderFiles, ...]


def read_run(folder: Path) -> RunFiles:
    """Read what a finished classification run left in its folder.

    Raises
    ------
    RunFolderError
        When a file is missing or damaged, or when two files contradict each other.
    """
    evaluation = _read_json(folder / "evaluation.json")
    if evaluation["task"] != "classification":
        raise RunFolderError(
            f"The report is written for the task classification, got {evaluation['task']!r} "
            f"({folder / 'evaluation.json'})."
        )
    return RunFiles(
        folder=folder,
        recipe=_read_recipe(folder / "recipe.toml"),
        environment=_read_json(folder / "environment.json"),
        audit=_read_json(folder / "audit.json"),
        split=_read_json(folder / "split.json"),
        split_rows=_read_csv(folder / "split.csv", ("name", "label", "group", "part")),
        evaluation=evaluation,
        contenders=_read_contenders(folder, evaluation),
    )


def _read_contenders(folder: Path, evaluation: Mapping[str, Any]) -> tuple[ContenderFiles, ...]:
    models = {path.parent: _read_json(path) for path in sorted(folder.glob("contenders/*/model.json"))}
    by_name = {model["name"]: place for place, model in models.items()}
    missing = [name for name in evaluation["contenders"] if name not in by_name]
    if missing:
        raise RunFolderError(
            f"evaluation.json speaks of {missing[0]!r}, but no contenders/*/model.json in {folder} has that "
            f"name (found: {', '.join(sorted(by_name)) or 'none'}). Run the study again."
        )
    return tuple(
        _read_contender(by_name[name], models[by_name[name]], result, evaluation)
        for name, result in evaluation["contenders"].items()
    )


def _read_contender(
    place: Path, model: Mapping[str, Any], result: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> ContenderFiles:
    part = evaluation.get("part", "test")
    path = place / "predictions.csv"
    if not path.is_file():
        raise _missing(path)
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
    history = _read_csv(place / "history.csv", ("epoch",))
    return ContenderFiles(model["name"], place.name, model, history, result, predictions, predicted, truth)


def _read_json(path: Path) -> dict[str, Any]:
    content = _parsed(path, json.loads)
    if not isinstance(content, dict) or content.get("format", FORMAT) != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise RunFolderError(
            f"{path} is of format {found!r}, expected {FORMAT}: it was written by another version of "
            "clearmargin. Use that version, or run the study again."
        )
    absent = [key for key in NEEDED[path.name] if key not in content]
    if absent:
        raise RunFolderError(f"{path} lacks {', '.join(absent)}: it is damaged. Run the study again.")
    return content


def _read_recipe(path: Path) -> dict[str, Any]:
    return _parsed(path, tomllib.loads)


def _parsed(path: Path, parse: Any) -> Any:
    if not path.is_file():
        raise _missing(path)
    try:
        return parse(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except ValueError as error:  # errors of JSON and of TOML are both
        raise RunFolderError(f"{path} can't be read: {error}. It is damaged; run the study again.") from error


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise _missing(path)
    text = columns if path.name == "split.csv" else ()
    try:
        frame = read_table(path, text=text)
    except ValueError as error:
        raise RunFolderError(f"{path} can't be read: {error}. It is damaged; run the study again.") from error
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise RunFolderError(f"{path} lacks the column {absent[0]}: it is damaged. Run the study again.")
    return frame


def _missing(path: Path) -> RunFolderError:
    return RunFolderError(
        f"{path} is missing: the report needs a finished run folder. Finish the run first (--resume)."
    )
