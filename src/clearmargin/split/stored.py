"""The split in the run folder: split.csv and split.json."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from clearmargin.errors import RunFolderError, SourceError
from clearmargin.files import read_table, write_json, write_table
from clearmargin.records import PARTS, Split
from clearmargin.split.groups import check_split, column, crossing_groups, crossing_test_samples

_FORMAT = 1
_COLUMNS = ("name", "label", "group", "part")
_NOTED: dict[str, Any] = {"given": False, "validation_cut": False, "from_file": False, "folds": 0, "fold": 0}
_LATER = {"validation_cut", "from_file", "folds", "fold", "crossing_test_samples"}  # not in runs made before


def write_split(folder: Path, split: Split) -> None:
    """Write ``split.csv`` (name, label, group, part) and ``split.json`` (what it amounts to) into a run folder.

    ``split.json`` is written last: without it nothing counts as stored, and both are written again.
    """
    labels = split.labels.astype(float) if split.numeric else split.labels
    columns = (split.names, labels, split.groups, split.parts)
    write_table(folder / "split.csv", pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True))))
    write_json(folder / "split.json", _summary(split))


def require_same_split(folder: Path, made: Split) -> None:
    """Refuse to go on with another split than a run was started with; nothing to refuse where none is stored.

    Raises
    ------
    RunFolderError
        When the stored split differs, or what is stored is damaged.
    """
    if (folder / "split.json").is_file() and _assignments(read_split(folder)) != _assignments(made):
        raise RunFolderError(
            f"The data are not those the run in {folder} was started with: its split no longer fits. "
            "Give the same data, or choose another folder with --out."
        )


def _assignments(split: Split) -> dict[str, tuple[str, str, str]]:
    return dict(zip(split.names, zip(split.labels, split.groups, split.parts, strict=True), strict=True))


def read_split(folder: Path) -> Split:
    """Read what `write_split` wrote, and make sure that the two files belong together.

    Raises
    ------
    RunFolderError
        When a file is missing, damaged or of another format, or the split does not hold.
    """
    summary = _read_summary(folder / "split.json")
    path = folder / "split.csv"
    try:
        table = read_table(path, text=_COLUMNS)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing. Run the study again.") from error
    except (OSError, ValueError) as error:  # pandas' own errors and wrong UTF-8 are ValueErrors
        raise RunFolderError(f"{path} can't be read: {error}. Run the study again.") from error
    if tuple(table.columns) != _COLUMNS:
        raise RunFolderError(
            f"{path} must have the columns {', '.join(_COLUMNS)}, got {', '.join(map(repr, table.columns))}. "
            "Run the study again."
        )
    try:
        train, validation, test = (float(fraction) for fraction in summary["asked"])
        names, labels, groups, parts = (column(table[name]) for name in _COLUMNS)
        if summary["numeric"]:
            labels = column(map(float, labels))
        asked = (train, validation, test)
        own = {key: summary.get(key, default) for key, default in _NOTED.items()}
        leaky = bool(summary["crossing_groups"]) and bool(own["given"])
        split = Split(names, labels, groups, parts, asked, summary["patients"], leaks_accepted=leaky, **own)
        check_split(split)
        counted = _summary(split)
        whole = {key: counted[key] for key in summary} == summary and set(counted) - set(summary) <= _LATER
    except (KeyError, TypeError, ValueError, SourceError) as error:
        raise RunFolderError(f"The split in {folder} does not hold: {error} Run the study again.") from error
    if not whole:
        raise RunFolderError(
            f"split.csv and split.json in {folder} do not belong together: one was edited or damaged. "
            "Run the study again."
        )
    return split


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing. Run the study again.") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} can't be read: {error}. Run the study again.") from error
    found = summary.get("format") if isinstance(summary, dict) else None
    if found != _FORMAT:
        raise RunFolderError(f"{path} is of format {found!r}, expected {_FORMAT}: made by another version.")
    return summary


def _summary(split: Split) -> dict[str, Any]:
    sizes = Counter(split.parts)
    return {
        "format": _FORMAT,
        "asked": list(split.asked),
        "achieved": {part: sizes[part] / len(split.names) for part in PARTS},
        "numeric": split.numeric,
        "counts": _counts(split),
        "groups": {part: len(set(split.groups[split.parts == part])) for part in PARTS},
        "patients": split.patients,
        "given": split.given,
        "validation_cut": split.validation_cut,
        "from_file": split.from_file,
        "folds": split.folds,
        "fold": split.fold,
        "crossing_groups": crossing_groups(split),
        "crossing_test_samples": crossing_test_samples(split),
    }


def _counts(split: Split) -> dict[str, dict[str, int]]:
    """Samples of each class in each part; of a regression, ``rows``."""
    if split.numeric:
        return {part: {"rows": len(split.rows(part))} for part in PARTS}
    counts = Counter(zip(split.parts, split.labels, strict=True))
    return {part: {label: counts[part, label] for label in sorted(set(split.labels))} for part in PARTS}
