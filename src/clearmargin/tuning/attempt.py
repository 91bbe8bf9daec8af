"""One trial: the contender with other settings learns, and only the validation part says how well."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clearmargin.contest import first_network, learn, work_of
from clearmargin.entrants import Views, own_preprocessing, seen_as
from clearmargin.errors import DivergenceError, RecipeError
from clearmargin.records import Inputs, Progress, Split
from clearmargin.task import Classification, Task
from clearmargin.training.threads import threads_for
from clearmargin.tuning.plan import Plan
from clearmargin.tuning.search import MOST_BEGINS, Asked
from clearmargin.tuning.trials import Trial

LARGEST_LOSS = 1e3  # of which the score takes notice


class _GivenUp(Exception):
    """The trial is so far behind the others that it is not worth going on with.

    With the best row of the training that was broken off, and its epochs; of one that had ended, nothing more.
    """

    def __init__(self, row: Mapping[str, float] | None = None, epochs: int = 0) -> None:
        super().__init__("given up")
        self.row, self.epochs = row, epochs


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
        rows: list[Mapping[str, float]] = []
        epochs: list[int] = []
        try:
            for number, split in enumerate(self.splits, start=1):
                history, best = self._learn(asked, split, folder / str(number), progress)
                rows.append(history[best - 1])
                epochs.append(len(history))
                score = float(np.mean([score_of(row, self.task) for row in rows]))
                if len(self.splits) > 1 and number < len(self.splits) and asked.hopeless(score, number):
                    raise _GivenUp
        except _GivenUp as pruned:
            rows += [pruned.row] if pruned.row is not None else []
            asked.tell("pruned", None, **_facts(rows, [*epochs, pruned.epochs]))
        except DivergenceError as error:
            asked.tell("diverged", None, note=str(error))
        except RecipeError as error:
            asked.tell("refused", None, note=" ".join(str(error).split()))
        except MemoryError:
            asked.tell("failed", None, note="it needs more memory than there is")
        else:
            asked.tell("complete", score, **_facts(rows, epochs))
        shutil.rmtree(folder, ignore_errors=True)

    def _learn(
        self, asked: Asked, split: Split, folder: Path, progress: Progress
    ) -> tuple[Sequence[Mapping[str, float]], int]:
        """The history of one training, and its best epoch."""
        contender, seed = self.plan.contender_with(asked.settings), self.plan.recipe.seed
        inputs = seen_as(own_preprocessing(contender, self.inputs.preprocessing), self.inputs, self.views)
        network, pretraining = first_network(contender, inputs.preprocessing.shape, self.task.outputs, seed)

        told = 0

        def judged(history: Sequence[Mapping[str, float]]) -> None:
            nonlocal told
            scores = [score_of(row, self.task) for row in history]
            while told < min(len(history), contender.training.epochs - 1) and len(self.splits) == 1:
                told += 1  # of a training that was gone on with, also what it reached before
                best = told - 1 if contender.training.keep == "last" else int(np.argmax(scores[:told]))
                if asked.hopeless(scores[best], told):
                    raise _GivenUp(history[best], told)

        with threads_for(work_of(contender, network)):
            learned = learn(contender, network, self.task, inputs, split, folder, seed, progress, pretraining, judged)
        return learned.fitted.history, learned.fitted.best_epoch


def score_of(row: Mapping[str, float], task: Task) -> float:
    """What is made large, from a row of a history, of the validation part.

    Of classes balanced accuracy, and among equals the smaller loss; of numbers the mean squared error, which means
    the same whatever loss is minimised, with its sign turned.
    """
    if isinstance(task, Classification):
        return row["validation_balanced_accuracy"] - 1e-6 * min(row["validation_loss"], LARGEST_LOSS)
    return -row["validation_mean_squared_error"]


def _facts(rows: Sequence[Mapping[str, float]], epochs: Sequence[int]) -> dict[str, object]:
    keys = [key for key in (rows[0] if rows else ()) if key.startswith("validation_")]
    return {
        "measures": {key.removeprefix("validation_"): float(np.mean([row[key] for row in rows])) for key in keys},
        "epochs_run": sum(epochs),
        "best_epoch": float(np.mean([row["epoch"] for row in rows])) if rows else 0.0,
    }
