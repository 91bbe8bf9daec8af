"""One trial of a search, and the table of all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from clearmargin.errors import WorkError
from clearmargin.files import write_table
from clearmargin.recipe_spaces import Scalar

# complete: trained to its end; pruned: given up early; repeated: the settings of an earlier one, whose score it takes;
# diverged: its loss was no number any more; refused: its settings do not go together; failed: it ended its process
Outcome = Literal["complete", "pruned", "repeated", "diverged", "refused", "failed"]


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes
    ----------
    number
        From 1 on, in the order in which they were begun.
    score
        Larger is better; None for one that was not trained to its end.
    measures
        Of the validation part, at the best epoch (over inner folds, their means); of a pruned trial, so far.
    """

    number: int
    outcome: Outcome
    settings: Mapping[str, Scalar]
    score: float | None = None
    measures: Mapping[str, float] | None = None
    epochs_run: int = 0
    best_epoch: float = 0
    seconds: float = 0.0
    note: str = ""


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """The trial with the largest score, the first of several; None when none was trained to its end."""
    scored = [trial for trial in trials if trial.score is not None]
    return max(scored, key=lambda trial: (trial.score or 0.0, -trial.number)) if scored else None


def the_best(trials: Sequence[Trial]) -> Trial:
    """The best of a search that has come to its end.

    Raises
    ------
    WorkError
        When no trial was trained to its end, saying why.
    """
    best = best_of(trials)
    if best is not None:
        return best
    if not trials:
        raise WorkError("No trial was begun: go on with --resume, and allow more --minutes.")
    ended = ", ".join(f"{n} {outcome}" for outcome, n in Counter(trial.outcome for trial in trials).items())
    first = next((f" The first: {trial.note}" for trial in trials if trial.note), "")
    raise WorkError(
        f"No trial was trained to its end ({ended}). Go on with --resume and more --trials "
        f"than {len(trials)}, or search elsewhere, with another recipe or --set, in another folder.{first}"
    )


def write_trials(path: Path, trials: Sequence[Trial], settings: Sequence[str]) -> None:
    """Write ``trials.csv``: a line a trial, with a column for each setting.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    measured = list(dict.fromkeys(key for trial in trials for key in trial.measures or {}))
    rows = [
        {
            "trial": trial.number,
            "outcome": trial.outcome,
            "score": math.nan if trial.score is None else trial.score,
            **{f"validation_{key}": (trial.measures or {}).get(key, math.nan) for key in measured},
            "best_epoch": trial.best_epoch,
            "epochs_run": trial.epochs_run,
            "seconds": trial.seconds,
            **{name: trial.settings.get(name) for name in settings},
            "note": trial.note,
        }
        for trial in trials
    ]
    write_table(path, pd.DataFrame(rows))
