"""Contenders that diverged: written down in their folder, left out of all figures, and named where figures stand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from clearmargin.errors import DivergenceError, RunFolderError
from clearmargin.files import write_json

RECORD = "diverged.json"


def write_diverged(folder: Path, name: str, reason: str) -> None:
    """Write down why a contender has no result; what it had written goes.

    Parameters
    ----------
    folder
        Of the contender.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / RECORD, {"format": 1, "name": name, "reason": reason})


def read_diverged(folder: Path) -> str | None:
    """Why the contender of this folder has no result; None when it did not diverge.

    Raises
    ------
    RunFolderError
        When the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}): delete it and resume to train this contender again."
        ) from error


def require_results(results: Mapping[str, object], diverged: Mapping[str, str]) -> None:
    """Refuse to go on when no contender has a result.

    Raises
    ------
    DivergenceError
        Naming each, and the likely cause.
    """
    if not results:
        told = "; ".join(f"'{name}': {reason}" for name, reason in diverged.items())
        raise DivergenceError(
            f"No contender has a result, for all diverged. {told} Run the study with other settings, in another --out."
        )
