"""The same study with other seeds: what of a result is luck."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.contest import first_network, forget_checkpoint, train_contender
from clearmargin.evaluation.ledger import enter
from clearmargin.evaluation.repeats import summarise_repeats
from clearmargin.files import write_table
from clearmargin.judgement import baselines_on_test, point_figures
from clearmargin.preparation import divide
from clearmargin.recipe import Recipe, slug
from clearmargin.records import Inputs, Progress, Split
from clearmargin.runs import read_json
from clearmargin.split import require_same_split, write_split
from clearmargin.task import Classification, Task, task_of

METRICS = {
    "classification": ("balanced_accuracy", "accuracy", "macro_f1", "mcc", "auc", "log_loss", "errors"),
    "regression": ("rmse", "mae", "mse", "r2"),
}


def repeat(
    recipe: Recipe, task: Task, inputs: Inputs, copies: np.ndarray, split: Split, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Split and train anew with the seeds that follow the recipe's; write ``repeats.csv`` and sum it up.

    ``repeats/seed-N`` keeps the split and the predictions of every seed, from which all figures can be computed
    again, and not the weights. A seed whose predictions are there is not trained again.
    """
    seeds = range(recipe.seed, recipe.seed + recipe.evaluation.repeats)
    rows: list[dict[str, Any]] = []
    for number, seed in enumerate(seeds):
        place = folder if seed == recipe.seed else folder / "repeats" / f"seed-{seed}"
        shown = partial(_shown, progress, number, len(seeds), seed)
        rows += _one(recipe, seed, inputs, copies, place, folder / "ledger.jsonl", shown)
    progress("Repeats", len(seeds), len(seeds), "")
    frame = pd.DataFrame(rows)
    write_table(folder / "repeats.csv", frame)
    kind = "classification" if isinstance(task, Classification) else "regression"
    learned = len(split.rows("train")) + len(split.rows("validation"))
    return summarise_repeats(
        frame,
        n_train=learned,
        n_test=len(split.rows("test")),
        metrics=METRICS[kind],
        confidence=recipe.evaluation.confidence,
        same_test=split.given,
    )


def _one(
    recipe: Recipe, seed: int, inputs: Inputs, copies: np.ndarray, place: Path, ledger: Path, progress: Progress
) -> list[dict[str, Any]]:
    """The figures of one seed, a row for each contender and baseline."""
    inputs, split = divide(inputs, copies, recipe.split, seed)
    task = task_of(split, recipe.data.target)
    rows, weights = [], {}
    require_same_split(place, split)
    write_split(place, split)
    for contender in recipe.contender:
        own = place / "contenders" / slug(contender.name)
        if not (own / "predictions.csv").is_file():
            network, pretraining = first_network(contender, inputs.preprocessing.shape, task.outputs, seed)
            train_contender(contender, network, pretraining, task, inputs, split, own, seed, progress)
        forget_checkpoint(own)
        if seed != recipe.seed:  # the figures are wanted, and twenty VGG16 would fill a disk
            (own / "model.safetensors").unlink(missing_ok=True)
        weights[contender.name] = read_json(own / "model.json")["weights_sha256"]
        figures = point_figures(task.read(own / "predictions.csv")["test"])
        rows.append({"seed": seed, "contender": contender.name, "kind": "contender", **figures})
    enter(ledger, split.names[split.rows("test")], weights)
    if split.numeric:
        for name, estimates in baselines_on_test(inputs, split, seed, list(weights)).items():
            rows.append({"seed": seed, "contender": name, "kind": "baseline", **point_figures(estimates)})
    return rows


def _shown(progress: Progress, number: int, seeds: int, seed: int, what: str, done: int, total: int, note: str) -> None:
    """The progress of one seed as a note on that of all."""
    progress("Repeats", number, seeds, f"seed {seed}, {what} {done}/{total}")
