"""One trial: the contender with other settings learns, and only the validation part says how well."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clearmargin.contest import first_network, learn, work_of
from clearmargin.entrants import Views, own_preprocessing, seen_as
from clearmargin.errors import ClearmarginError, DivergenceError, RecipeError
from clearmargin.records import Inputs, Progress, Split
from clearmargin.task import Classification, Task
from clearmargin.training.threads import threads_for
from clearmargin.tuning.plan import Plan
from clearmargin.tuning.search import MOST_BEGINS, Asked
from clearmargin.tuning.trials import Outcome, Trial

LARGEST_LOSS = 1e3  # of which the score takes notice


class _GivenUp(Exception):
    """The trial is so far behind the others that it is not worth going on with."""


@dataclass
class _Course:
    """How far a trial came.

    Attributes
    ----------
    rows
        Of each training the row of its history that counts; of one that was broken off, the best so far.
    epochs
        How many each took.
    histories
        Of each what is known of it, epochs before an interruption included.
    """

    rows: list[Mapping[str, float]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    histories: list[Sequence[Mapping[str, float]]] = field(default_factory=list)

    def score(self, task: Task) -> float:
        """The mean over the trainings."""
        return float(np.mean([score_of(row, task) for row in self.rows]))

    @property
    def seconds(self) -> float:
        """Of all epochs."""
        return float(sum(row["seconds"] for history in self.histories for row in history))

    def facts(self) -> dict[str, Any]:
        """What is kept of it."""
        keys = [key for key in (self.rows[0] if self.rows else ()) if key.startswith("validation_")]
        means = {key.removeprefix("validation_"): float(np.mean([row[key] for row in self.rows])) for key in keys}
        return {
            "measures": means,
            "epochs_run": sum(self.epochs),
            "best_epoch": float(np.mean([row["epoch"] for row in self.rows])) if self.rows else 0.0,
        }


@dataclass(frozen=True)
class Ground:
    """What all trials share.

    Attributes
    ----------
    splits
        The study's own, whose validation part judges; or inner folds of all but its test part.
    folder
        For checkpoints of trials that are under way.
    """

    plan: Plan
    task: Task
    inputs: Inputs
    splits: Sequence[Split]
    views: Views
    folder: Path

    @property
    def steps(self) -> int:
        """How often a trial is judged while it is under way: after each epoch, or each inner fold."""
        return len(self.splits) if len(self.splits) > 1 else self.plan.contender.training.epochs

    def attempt(self, asked: Asked, known: Sequence[Trial], progress: Progress) -> None:
        """Try the settings and tell the search what came of it; of settings that are known, the score is taken."""
        same = next((one for one in known if one.settings == asked.settings and one.score is not None), None)
        if same is not None:
            measures = dict(same.measures or {})
            asked.tell("repeated", same.score, measures=measures, note=f"the settings of trial {same.number}")
            return
        folder = self.folder / f"{asked.number:05d}"
        if asked.begins > MOST_BEGINS:
            note = f"it ended its process {MOST_BEGINS} times: it may need more memory than there is"
            asked.tell("failed", None, note=note)
            shutil.rmtree(folder, ignore_errors=True)
            return
        course = _Course()
        try:
            outcome, score, facts = self._outcome(asked, course, folder, progress)
        except (KeyboardInterrupt, ClearmarginError):  # told to stop, or a full disk: the trial did not end its process
            with suppress(KeyboardInterrupt, ClearmarginError):  # they would hide why it leaves
                asked.take_begin_back()
            raise
        asked.tell(outcome, score, trained_seconds=course.seconds, **facts)
        shutil.rmtree(folder, ignore_errors=True)

    def _outcome(
        self, asked: Asked, course: _Course, folder: Path, progress: Progress
    ) -> tuple[Outcome, float | None, dict[str, Any]]:
        """Train, and say how it ended, with the score and what is kept of it."""
        try:
            for number, split in enumerate(self.splits, start=1):
                self._learn(asked, course, split, folder / str(number), progress)
                if number < len(self.splits) and asked.hopeless(course.score(self.task), number):
                    raise _GivenUp
        except _GivenUp:
            return "pruned", None, course.facts()
        except DivergenceError as error:
            return "diverged", None, {"note": str(error)}
        except RecipeError as error:
            return "refused", None, {"note": " ".join(str(error).split())}
        except MemoryError:
            return "failed", None, {"note": "it needs more memory than there is"}
        return "complete", course.score(self.task), course.facts()

    def _learn(self, asked: Asked, course: _Course, split: Split, folder: Path, progress: Progress) -> None:
        """One training."""
        contender, seed = self.plan.contender_with(asked.settings), self.plan.recipe.seed
        inputs = seen_as(own_preprocessing(contender, self.inputs.preprocessing), self.inputs, self.views)
        network, pretraining = first_network(contender, inputs.preprocessing.shape, self.task.outputs, seed)
        course.histories.append(())
        told = 0

        def judged(history: Sequence[Mapping[str, float]]) -> None:
            nonlocal told
            course.histories[-1] = history
            scores = [score_of(row, self.task) for row in history]
            while told < min(len(history), contender.training.epochs - 1) and len(self.splits) == 1:
                told += 1  # of a training that was gone on with, also what it reached before
                best = told - 1 if contender.training.keep == "last" else int(np.argmax(scores[:told]))
                if asked.hopeless(scores[best], told):
                    course.rows.append(history[best])
                    course.epochs.append(told)
                    raise _GivenUp

        with threads_for(work_of(contender, network)):
            fitted = learn(
                contender, network, self.task, inputs, split, folder, seed, progress, pretraining, judged
            ).fitted
        course.histories[-1] = fitted.history
        course.rows.append(fitted.history[fitted.best_epoch - 1])
        course.epochs.append(len(fitted.history))


def score_of(row: Mapping[str, float], task: Task) -> float:
    """What is made large, from a row of a history, of the validation part.

    Of classes balanced accuracy, and among equals the smaller loss; of numbers the mean squared error, which means
    the same whatever loss is minimised, with its sign turned.
    """
    if isinstance(task, Classification):
        return row["validation_balanced_accuracy"] - 1e-6 * min(row["validation_loss"], LARGEST_LOSS)
    return -row["validation_mean_squared_error"]
