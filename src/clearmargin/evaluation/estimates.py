"""Estimates of a regression as a table that anybody can recompute from: ``predictions.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from clearmargin.errors import RunFolderError, WorkError
from clearmargin.files import read_table, write_table
from clearmargin.records import PARTS, Estimates, Part

COLUMNS = ("part", "name", "target", "group", "predicted")
NUMBERS = ("target", "predicted")


def write_estimates(path: Path, parts: Mapping[Part, Estimates]) -> None:
    """Write what one contender says about each part, whole or not at all.

    Columns ``part, name, target, group, predicted``, numbers with all their digits. A row without a group has an
    empty cell.

    Raises
    ------
    WorkError
        When there is no part, or a number is not finite.
    DiskError
        When the file system refuses.
    """
    if not parts:
        raise WorkError(f"There is nothing to write to {path.name}: expected the estimates of at least one part.")
    for part, estimates in parts.items():
        check_finite(estimates, f"the {part} part in {path.name}")
    frames = [_frame(part, estimates) for part, estimates in parts.items()]
    write_table(path, pd.concat(frames, ignore_index=True))


def check_finite(estimates: Estimates, whose: str) -> None:
    """Refuse estimates that hold something that is not a number.

    Raises
    ------
    WorkError
        Naming the first such row.
    """
    for what, numbers in (("targets", estimates.targets), ("estimates", estimates.values)):
        bad = np.flatnonzero(~np.isfinite(np.asarray(numbers, dtype=np.float64)))
        if bad.size:
            remedy = (
                "Leave out rows without a target."
                if what == "targets"
                else "The model may have diverged: train it again with a lower learning rate."
            )
            raise WorkError(
                f"The {what} of {whose} must be finite numbers, got {numbers[bad[0]]} for "
                f"{estimates.names[bad[0]]!r} ({bad.size} such row(s)). {remedy}"
            )


def _frame(part: Part, estimates: Estimates) -> pd.DataFrame:
    groups = ["" if group is None else group for group in estimates.groups]
    columns = {
        "part": pd.Series([part] * len(estimates.names), dtype=object),
        "name": pd.Series(list(estimates.names), dtype=object),
        "target": np.asarray(estimates.targets, dtype=np.float64),
        "group": pd.Series(groups, dtype=object),
        "predicted": np.asarray(estimates.values, dtype=np.float64),
    }
    return pd.DataFrame(columns)


def read_estimates(path: Path) -> dict[Part, Estimates]:
    """Read what `write_estimates` wrote: the same float64 numbers, the same names.

    Returns
    -------
    Estimates by part, in the order of the file. A part without rows is not there; a group that was None is the
    empty string.

    Raises
    ------
    RunFolderError
        When the file is missing or is not such a table.
    """
    frame = _read(path)
    if tuple(frame.columns) != COLUMNS:
        raise _damaged(path, f"expected the columns {', '.join(COLUMNS)}, got {list(frame.columns)[:12]}")
    strange = set(frame["part"]) - set(PARTS)
    if strange:
        raise _damaged(path, f"the parts must be among {', '.join(PARTS)}, got {sorted(strange)[:3]}")
    numbers = {column: _numbers(path, frame, column) for column in NUMBERS}
    found: dict[Part, Estimates] = {}
    for part in dict.fromkeys(frame["part"]):
        rows = np.flatnonzero(frame["part"] == part)
        found[part] = Estimates(
            names=frame["name"].to_numpy(dtype=object)[rows],
            targets=numbers["target"][rows],
            groups=frame["group"].to_numpy(dtype=object)[rows],
            values=numbers["predicted"][rows],
        )
    return found


def _read(path: Path) -> pd.DataFrame:
    try:
        return read_table(path, COLUMNS)  # numbers as text too: pandas' own reading is off in the last digit
    except OSError as error:
        raise RunFolderError(
            f"Could not read {path.name} in {path.parent}: {error.strerror or error}. "
            "Expected the predictions of a finished run; run the study again."
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise _damaged(path, f"it is not a table ({error})") from error


def _numbers(path: Path, frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column of text as float64, exactly what was written."""
    try:
        # what Python reads, but the writer never writes
        if any("_" in cell or cell != cell.strip() for cell in frame[column]):
            raise ValueError("it holds more than a number")
        numbers = np.array([float(cell) for cell in frame[column]], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise _damaged(path, f"its column {column!r} holds what is not a number ({error})") from error
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise _damaged(path, f"{column!r} of its row {bad[0] + 1} is not finite")
    return numbers


def _damaged(path: Path, reason: str) -> RunFolderError:
    return RunFolderError(
        f"{path.name} in {path.parent} is damaged: {reason}. "
        "Restore it from a copy, or run the study again in a new folder."
    )
