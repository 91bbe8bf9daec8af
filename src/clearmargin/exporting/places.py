"""Where an exported file may lie, and what is written beside it."""

from __future__ import annotations

import os
from pathlib import Path

from clearmargin.errors import UsageError

SUFFIXES = {"onnx": ".onnx", "torch": ".safetensors", "html": ".html"}
LOADER_BEGINS = '"""A model that clearmargin '
MADE_BY = "clearmargin export --int8"  # first in the account of what eight bits cost
_OWN = (LOADER_BEGINS.encode(), f'{{\n "made_by": "{MADE_BY}"'.encode())


def loader_beside(path: Path) -> Path:
    """The code that loads exported weights."""
    return path.with_suffix(".py")


def account_beside(path: Path) -> Path:
    """What eight bits cost and gain."""
    return path.with_name(f"{path.name}.json")


def check_place(path: Path, run: Path, kind: str, *, int8: bool) -> None:
    """Refuse, before any work is done, a name by which nobody would know the file, or by which another would be lost.

    Parameters
    ----------
    path
        What ``--out`` names.
    run
        The run folder: of what is in it, only ``exported`` is written to.
    kind
        A key of `SUFFIXES`.

    Raises
    ------
    UsageError
        Saying what to do.
    """
    if path.suffix.lower() != SUFFIXES[kind]:
        raise UsageError(f"--out {path} must end in {SUFFIXES[kind]}, by which it is known what it is.")
    place, folder = Path(os.path.realpath(path)), Path(os.path.realpath(run))
    if place.is_relative_to(folder) and not place.is_relative_to(folder / "exported"):
        raise UsageError(
            f"--out {path} lies in the run folder, where it could take the place of a part of the run: choose another "
            f"folder, or leave --out out for one in {run / 'exported'}."
        )
    beside = loader_beside(path) if kind == "torch" else account_beside(path) if int8 else None
    if beside is not None and beside.exists() and not _is_own(beside):
        raise UsageError(
            f"{beside} would be written beside {path.name}, and is there already, written by somebody else: choose "
            "another --out."
        )


def _is_own(path: Path) -> bool:
    """Whether a file begins as those that are written here."""
    try:
        with path.open("rb") as file:
            return file.read(100).startswith(_OWN)
    except OSError:
        return False
