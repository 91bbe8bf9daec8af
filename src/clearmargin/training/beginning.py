"""What a training begins to compute with is kept: one whose checkpoints are all lost starts anew with the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clearmargin.files import write_json
from clearmargin.models.precision import FORMATS, name_of
from clearmargin.training.threads import compute_as, computed_with

_VERSIONS = ("clearmargin", "torch")


def begin_as_before(path: Path, name: str, choose: Callable[[], torch.dtype]) -> torch.dtype:
    """Take the threads that a training without a checkpoint began with, and return its number format.

    At its first beginning the threads are left as they are, and both are written down. Where versions or threads can't
    be as they were, the log warns.

    Parameters
    ----------
    path
        The file beside its checkpoint. One that is damaged counts as none.
    name
        Of the contender.
    choose
        Tells the number format at its first beginning.

    Raises
    ------
    DiskError
        When the file can't be written.
    """
    kept = _stored(path)
    if kept is not None:
        compute_as(kept["computed_with"], name)
        return FORMATS[kept["precision"]]
    precision = choose()
    write_json(path, {"precision": name_of(precision), "computed_with": computed_with()})
    return precision


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        threads, versions = found["computed_with"]["threads"], [found["computed_with"][key] for key in _VERSIONS]
        whole = found["precision"] in FORMATS and type(threads) is int and threads > 0
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if whole and all(isinstance(version, str) for version in versions) else None
