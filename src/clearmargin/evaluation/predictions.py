"""Predictions as a table that anybody can recompute from: ``predictions.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from clearmargin.errors import RunFolderError, WorkError
from clearmargin.evaluation.alignment import SUM_TOLERANCE
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.files import read_table, write_table
from clearmargin.records import PARTS, Part, Predictions

TEXT_COLUMNS = ("part", "name", "label", "group", "predicted")


def write_predictions(path: Path, parts: Mapping[Part, Predictions]) -> None:
    """Write what one contender says about each part, whole or not at all.

    Columns ``part, name, label, group, predicted`` and then ``P(class)`` for each class, probabilities with
    all their digits. A sample without a group has an empty cell.

    Raises
    ------
    WorkError
        When there is no part, or the parts have different classes.
    DiskError
        When the file system refuses.
    """
    classes = {predictions.classes for predictions in parts.values()}
    if len(classes) != 1:
        raise WorkError(
            f"The parts of {path.name} must be at least one and have the same classes, "
            f"got {len(parts)} part(s) with {len(classes)} list(s) of classes."
        )
    columns = [*TEXT_COLUMNS, *(f"P({name})" for name in classes.pop())]
    frames = [_frame(part, predictions, columns) for part, predictions in parts.items()]
    write_table(path, pd.concat(frames, ignore_index=True))


def _frame(part: Part, predictions: Predictions, columns: list[str]) -> pd.DataFrame:
    names = np.array(predictions.classes, dtype=object)
    text = {
        "part": [part] * len(predictions.names),
        "name": list(predictions.names),
        "label": list(predictions.labels),
        "group": ["" if group is None else group for group in predictions.groups],
        "predicted": list(names[predicted_index(predictions.probabilities)]),
    }
    frame = pd.DataFrame({column: pd.Series(cells, dtype=object) for column, cells in text.items()})
    probabilities = pd.DataFrame(np.asarray(predictions.probabilities, dtype=np.float64))
    together = pd.concat([frame, probabilities], axis=1)
    together.columns = pd.Index(columns, dtype=object)
    return together


def read_predictions(path: Path) -> dict[Part, Predictions]:
    """Read what `write_predictions` wrote: the same float64 numbers, the same names.

    Returns
    -------
    Predictions by part, in the order of the file. A part without samples is not there; a group that was None is
    the empty string.

    Raises
    ------
    RunFolderError
        When the file is missing, is not such a table, or contradicts itself.
    """
    frame = _read(path)
    classes = _classes(path, list(frame.columns))
    probabilities = _probabilities(path, frame.iloc[:, len(TEXT_COLUMNS) :])
    text = {column: frame[column].to_numpy(dtype=object) for column in TEXT_COLUMNS}
    _check_text(path, text, classes, probabilities)
    found = {}
    for part in sorted(set(text["part"]), key=list(text["part"]).index):
        rows = np.flatnonzero(text["part"] == part)
        found[part] = Predictions(
            names=text["name"][rows],
            labels=text["label"][rows],
            groups=text["group"][rows],
            classes=classes,
            probabilities=probabilities[rows],
        )
    return found


def _read(path: Path) -> pd.DataFrame:
    try:
        return read_table(path, TEXT_COLUMNS)
    except OSError as error:
        raise RunFolderError(
            f"Could not read {path.name} in {path.parent}: {error.strerror or error}. "
            "Expected the predictions of a finished run; run the study again."
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _damaged(path, f"it is not a table ({error})") from error


def _damaged(path: Path, reason: str) -> RunFolderError:
    return RunFolderError(
        f"{path.name} in {path.parent} is damaged: {reason}. "
        "Restore it from a copy, or run the study again in a new folder."
    )


def _classes(path: Path, columns: list[str]) -> tuple[str, ...]:
    start, rest = tuple(columns[: len(TEXT_COLUMNS)]), columns[len(TEXT_COLUMNS) :]
    wrong = [name for name in rest if not (name.startswith("P(") and name.endswith(")"))]
    if start != TEXT_COLUMNS or wrong or not rest:
        raise _damaged(path, f"expected the columns {', '.join(TEXT_COLUMNS)} and P(class) …, got {columns[:12]}")
    return tuple(name[2:-1] for name in rest)


def _probabilities(path: Path, frame: pd.DataFrame) -> np.ndarray:
    try:
        numbers = frame.to_numpy(dtype=np.float64)
    except ValueError as error:
        raise _damaged(path, f"a probability is not a number ({error})") from error
    if not np.isfinite(numbers).all():
        raise _damaged(path, "a probability is missing or not finite")
    off = np.flatnonzero(np.abs(numbers.sum(axis=1) - 1) > SUM_TOLERANCE)
    if off.size:
        raise _damaged(path, f"the probabilities of its row {off[0] + 1} don't sum to one")
    return numbers


def _check_text(
    path: Path, text: Mapping[str, np.ndarray], classes: tuple[str, ...], probabilities: np.ndarray
) -> None:
    strange = set(text["part"]) - set(PARTS)
    if strange:
        raise _damaged(path, f"the parts must be among {', '.join(PARTS)}, got {sorted(strange)[:3]}")
    expected = np.array(classes, dtype=object)[predicted_index(probabilities)]
    differing = np.flatnonzero(expected != text["predicted"])
    if differing.size:
        row = differing[0]
        raise _damaged(
            path,
            f"{text['name'][row]!r} is predicted {text['predicted'][row]!r}, but its highest probability is for "
            f"{expected[row]!r}",
        )
