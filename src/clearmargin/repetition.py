"""The same study with other seeds or folds: what of a result is luck."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.diverged import require_results
from clearmargin.entrants import Views, contend, entrant, forget_weights
from clearmargin.evaluation.estimates import write_estimates
from clearmargin.evaluation.ledger import enter, evaluated
from clearmargin.evaluation.repeats import summarise_repeats
from clearmargin.files import write_table
from clearmargin.judgement import baselines_on_test, called_foreign, called_leaky, point_figures, test_content
from clearmargin.preparation import divide
from clearmargin.recipe import Recipe, slug
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.records import Inputs, Progress, Split
from clearmargin.split import crossing_groups, require_same_split, write_split
from clearmargin.task import Classification, Task, task_of

METRICS = {
    "classification": ("balanced_accuracy", "accuracy", "macro_f1", "mcc", "auc", "log_loss", "errors"),
    "regression": ("rmse", "mae", "mse", "r2"),
}


def repeat(
    recipe: Recipe,
    task: Task,
    inputs: Inputs,
    copies: np.ndarray,
    split: Split,
    folder: Path,
    progress: Progress,
    views: Views,
) -> dict[str, Any]:
    """Split and train anew with the seeds that follow the recipe's; write ``repeats.csv`` and sum it up.

    With folds, each seed is done for every fold. ``repeats/seed-N`` (of folds, ``fold-F`` in it) keeps the split and
    the predictions, from which all figures can be computed again, and not the weights. Further initialisations of the
    same split lie in ``init-M`` below it. What has predictions there is not trained again. ``views`` gives the images
    in the size of a contender that was trained elsewhere.

    A contender that diverges in one round is not trained in those that follow and has no figures over the rounds: the
    others alone would be the ones in which it went well. ``diverged`` of the summary says why, by name.

    Raises
    ------
    DivergenceError
        When none is left.
    """
    folds = recipe.split.folds
    rounds = _rounds(recipe)
    rows: list[dict[str, Any]] = []
    sizes: list[tuple[int, int]] = []
    diverged: dict[str, str] = {}
    for number, one in enumerate(rounds):
        place = folder if number == 0 else folder / "repeats" / one.place(folds)
        shown = partial(_shown, progress, number, len(rounds), one.told(folds))
        ledger = folder / "ledger.jsonl"
        figures, own_sizes = _one(recipe, one, inputs, copies, place, ledger, shown, views, diverged)
        rows += figures
        sizes += [own_sizes] if one.initialisation == 1 else []
    progress("Repeats", len(rounds), len(rounds), "")
    frame = pd.DataFrame([row for row in rows if row["contender"] not in diverged])
    write_table(folder / "repeats.csv", frame)
    kind = "classification" if isinstance(task, Classification) else "regression"
    n_train, n_test = np.mean(sizes, axis=0).tolist()  # splits may differ by a sample or a group
    summary = summarise_repeats(
        frame,
        n_train=n_train,
        n_test=n_test,
        metrics=METRICS[kind],
        confidence=recipe.evaluation.confidence,
        same_test=split.given,
        same_parts=split.given and not split.validation_cut,
        tested=[tested for _, tested in sizes],
        fixed=[contender.name for contender in recipe.contender if isinstance(contender, ForeignContender)],
    )
    told = {"diverged": diverged} if diverged else {}
    return {**called_foreign(called_leaky(summary, split), recipe), **told}


@dataclass(frozen=True)
class Round:
    """One time that the study is done.

    Attributes
    ----------
    seed, fold
        Of the split.
    initialisation
        Which training on this split, from 1 on.
    """

    seed: int
    fold: int = 1
    initialisation: int = 1

    @property
    def training_seed(self) -> int:
        """Seed of first weights, order and augmentation: that of the split for the first training on it."""
        if self.initialisation == 1:
            return self.seed
        mixed = np.random.SeedSequence([self.seed, self.fold, self.initialisation])
        return int(mixed.generate_state(1, np.uint32)[0] >> 1)

    def place(self, folds: int) -> str:
        """Folder for it, below that of the repeats."""
        split = f"seed-{self.seed}/fold-{self.fold}" if folds else f"seed-{self.seed}"
        return split if self.initialisation == 1 else f"{split}/init-{self.initialisation}"

    def told(self, folds: int) -> str:
        """What it is, for the progress."""
        split = f"seed {self.seed}, fold {self.fold} of {folds}" if folds else f"seed {self.seed}"
        return split if self.initialisation == 1 else f"{split}, initialisation {self.initialisation}"


def _rounds(recipe: Recipe) -> list[Round]:
    """All of them, the main run first; initialisations are nested in splits."""
    asked = recipe.evaluation
    return [
        Round(seed, fold, initialisation)
        for seed in range(recipe.seed, recipe.seed + asked.repeats)
        for fold in range(1, max(recipe.split.folds, 1) + 1)
        for initialisation in range(1, asked.initialisations + 1)
    ]


def _one(
    recipe: Recipe,
    this: Round,
    inputs: Inputs,
    copies: np.ndarray,
    place: Path,
    ledger: Path,
    progress: Progress,
    views: Views,
    diverged: dict[str, str],
) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """The figures of one round, a row for each contender and baseline; and its samples to train on and to test.

    Those that ``diverged`` before are left out, and those that do now are added to them.
    """
    seed, which = this.training_seed, _named(this, recipe)
    inputs, split = divide(inputs, copies, recipe.split, this.seed, this.fold)
    task = task_of(split, recipe.data.target)
    rows, seen = [], {}
    require_same_split(place, split)
    write_split(place, split)
    for contender in recipe.contender:
        if contender.name in diverged:
            continue
        own = place / "contenders" / slug(contender.name)
        make = partial(entrant, contender, inputs, task, seed, recipe.evaluation, views)
        reason = contend(make, contender.name, task, inputs, split, own, progress)
        if reason is not None:
            diverged[contender.name] = reason
            continue
        if this != Round(recipe.seed):  # the figures are wanted, and twenty VGG16 would fill a disk
            forget_weights(own)
        seen[contender.name] = evaluated(own)
        figures = point_figures(task.read(own / "predictions.csv")["test"])
        rows.append({**which, "contender": contender.name, "kind": "contender", **figures})
    require_results(seen, diverged)
    enter(ledger, test_content(inputs, split), seen, leaky=crossing_groups(split) > 0)
    if split.numeric:
        for name, estimates in baselines_on_test(inputs, split, seed, list(seen)).items():
            write_estimates(place / "baselines" / slug(name) / "predictions.csv", {"test": estimates})
            rows.append({**which, "contender": name, "kind": "baseline", **point_figures(estimates)})
    return rows, (len(split.rows("train")), len(split.rows("test")))


def _named(this: Round, recipe: Recipe) -> dict[str, int]:
    """What tells a round from the others, as columns of ``repeats.csv``."""
    columns = {"seed": this.seed}
    if recipe.split.folds:
        columns["fold"] = this.fold
    if recipe.evaluation.initialisations > 1:
        columns["initialisation"] = this.initialisation
    return columns


def _shown(progress: Progress, number: int, of: int, told: str, what: str, done: int, total: int, note: str) -> None:
    """The progress of one round as a note on that of all."""
    progress("Repeats", number, of, f"{told}, {what} {done}/{total}")
