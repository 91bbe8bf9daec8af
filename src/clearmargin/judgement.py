"""What the contenders are worth on the test part: each task by its own measures."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.errors import UsageError
from clearmargin.evaluation.alignment import numbered_groups
from clearmargin.evaluation.assessment import check_prevalence, evaluate
from clearmargin.evaluation.baselines import baseline_estimates
from clearmargin.evaluation.bootstrap import headline
from clearmargin.evaluation.decision import Decision
from clearmargin.evaluation.estimates import write_estimates
from clearmargin.evaluation.gate import gate_block, read_distances
from clearmargin.evaluation.metrics import label_index, predicted_index
from clearmargin.evaluation.regression import evaluate_estimates
from clearmargin.evaluation.regression_metrics import error_figures
from clearmargin.evaluation.shares import Shares
from clearmargin.files import file_sha256, write_table
from clearmargin.language import tr
from clearmargin.recipe import Recipe, slug
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.records import Estimates, Inputs, Predictions, Split
from clearmargin.split import crossing_groups
from clearmargin.task import Classification, Task

LEAKY = "Leaky split"
# What figures are computed from. Repeats lie in repeats/seed-N, of folds in fold-F below it, and of further
# initialisations in init-M below that.
RESTS_ON = (
    "attributes.csv",
    "contenders/*/gate.csv",
    *(
        f"{place}{name}"
        for place in ("", "repeats/*/", "repeats/*/*/", "repeats/*/*/*/")
        for name in ("split.csv", "contenders/*/predictions.csv", "baselines/*/predictions.csv")
    ),
)


def judge_contenders(
    said: Mapping[str, Any],
    task: Task,
    inputs: Inputs,
    split: Split,
    recipe: Recipe,
    folder: Path,
    decisions: Mapping[str, Decision],
) -> dict[str, Any]:
    """The content of ``evaluation.json``; what it rests on beside the contenders' predictions is written too.

    That is: baselines of a regression, and ``attributes.csv`` when subgroups are asked for.

    Parameters
    ----------
    said
        What each contender says of the test part: `Predictions` or `Estimates`.
    decisions
        What each fixed on the validation part; of a regression none.
    """
    asked = recipe.evaluation
    references = [reference.model_dump() for reference in asked.references]
    settings: dict[str, Any] = {
        "confidence": asked.confidence,
        "resamples": asked.resamples,
        "seed": recipe.seed,
    }
    if isinstance(task, Classification):
        names = split.names[split.rows("test")]
        columns = _columns(asked.subgroups, inputs, names)
        write_attributes(folder, names, columns)
        figures = evaluate(
            said,
            train_labels=split.labels[split.rows("train")],
            prevalence=asked.prevalence,
            decisions=decisions,
            columns=columns,
            **settings,
        )
        figures = with_gates(figures, said, decisions, folder)
        return called_foreign(called_leaky({**figures, "references": references}, split), recipe)
    baselines = baselines_on_test(inputs, split, recipe.seed, list(said))
    for name, estimates in baselines.items():
        write_estimates(folder / "baselines" / slug(name) / "predictions.csv", {"test": estimates})
    figures = evaluate_estimates(said, baselines=baselines, target=task.name, **settings)
    return called_leaky({**figures, "references": references}, split)


def check_asked(asked: EvaluationSettings, task: Task, inputs: Inputs) -> None:
    """Refuse what the data can't answer before anything is trained, not after.

    Raises
    ------
    UsageError
        When a stated prevalence is of no class, or a column of subgroups is not there.
    """
    if isinstance(task, Classification):
        check_prevalence(asked.prevalence, task.classes)
    known = sorted({name for sample in inputs.samples for name in sample.attributes})
    for column in asked.subgroups:
        if column not in known:
            there = f"expected some of {', '.join(map(repr, known))}" if known else "these data have no columns"
            near = difflib.get_close_matches(column, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise UsageError(f"There is no column {column!r} for [evaluation] subgroups: {there}{hint}")


def _columns(asked: Sequence[str], inputs: Inputs, names: np.ndarray) -> dict[str, list[str | None]]:
    """What the columns asked for say of the named samples; None where a sample lacks one."""
    attributes = {sample.name: sample.attributes for sample in inputs.samples} if asked else {}
    return {column: [attributes[name].get(column) for name in names] for column in asked}


def write_attributes(folder: Path, names: np.ndarray, columns: Mapping[str, Sequence[str | None]]) -> None:
    """Write ``attributes.csv``: what the columns of subgroups, and no others, say of the test samples.

    A row for each sample and column, ``name, column, value``; empty where nothing is stated. No file without columns.
    """
    rows = [
        (str(name), column, value or "")
        for column, cells in columns.items()
        for name, value in zip(names, cells, strict=True)
    ]
    if rows:
        write_table(folder / "attributes.csv", pd.DataFrame(rows, columns=["name", "column", "value"], dtype=object))


def with_gates(
    figures: Mapping[str, Any], said: Mapping[str, Predictions], decisions: Mapping[str, Decision], folder: Path
) -> dict[str, Any]:
    """Figures with a block ``gate`` for each contender that has a gate, from its ``gate.csv``.

    Raises
    ------
    RunFolderError
        When a ``gate.csv`` is missing or damaged.
    """
    contenders = dict(figures["contenders"])
    for name, decision in decisions.items():
        if decision.gate is not None:
            units, n_units = numbered_groups(said[name].groups)
            shares = Shares(units, n_units < len(units), figures["confidence"])
            distances = read_distances(folder / "contenders" / slug(name) / "gate.csv")
            contenders[name] = {
                **contenders[name],
                "gate": gate_block(decision.gate, distances, shares, decision.groups),
            }
    return {**figures, "contenders": contenders}


def called_leaky(figures: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """Figures with ``leaky``: whether groups are in two parts of their split; sentences and contenders then say so."""
    leaky = crossing_groups(split) > 0
    told = [
        {**comparison, "sentence": f"{LEAKY}: {comparison['sentence']}"} if leaky else comparison
        for comparison in figures["comparisons"]
    ]
    marked = {
        name: {**said, "leaky": True} if leaky and "metrics" in said else said
        for name, said in figures["contenders"].items()
    }
    return {**figures, "contenders": marked, "comparisons": told, "leaky": leaky}


def called_foreign(figures: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Figures in which contenders that were trained elsewhere are called so, and sentences about them too.

    On what they were trained is not known here, so that a part of the test images may have been among it.
    """
    foreign = [contender.name for contender in recipe.contender if isinstance(contender, ForeignContender)]
    if not foreign:
        return dict(figures)
    contenders = {
        name: {**said, "trained_elsewhere": True} if name in foreign and "metrics" in said else said
        for name, said in figures["contenders"].items()
    }
    comparisons = []
    for pair in figures["comparisons"]:
        cautions = [
            tr("{name} was trained elsewhere: it may have seen these images.", name=name)
            for name in (pair["first"], pair["second"])
            if name in foreign
        ]
        comparisons.append({**pair, "sentence": " ".join([pair["sentence"], *cautions])})
    return {**figures, "contenders": contenders, "comparisons": comparisons}


def test_content(inputs: Inputs, split: Split) -> list[str]:
    """One hash of the content of each test sample: by these the ledger knows a test part again.

    Of an image, its pixels before any preprocessing; of a row of a table, its inputs.
    """
    return [str(digest) for digest in inputs.facts["pixel_sha256"].to_numpy()[split.rows("test")]]


def rests_on_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that the figures of a run were computed from, by its name within the run folder."""
    paths = sorted({path for pattern in RESTS_ON for path in folder.glob(pattern)})
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


def baselines_on_test(inputs: Inputs, split: Split, seed: int, contenders: Sequence[str]) -> dict[str, Estimates]:
    """What simple methods say of the test part, having learned from training and validation.

    A baseline that has the name of one of the ``contenders`` gets "(baseline)" behind it.
    """
    known = np.concatenate([split.rows("train"), split.rows("validation")])
    test = split.rows("test")
    targets = split.labels[known].astype(np.float64)
    learned = baseline_estimates(inputs.rows.read(known), targets, inputs.rows.read(test), seed)
    true = split.labels[test].astype(np.float64)
    return {
        _apart(name, contenders): Estimates(split.names[test], true, split.groups[test], values)
        for name, values in learned.items()
    }


def _apart(name: str, contenders: Sequence[str]) -> str:
    while name in contenders:
        name += " (baseline)"
    return name


def point_figures(said: Predictions | Estimates) -> dict[str, float]:
    """The headline figures of one contender, without intervals."""
    if isinstance(said, Estimates):
        return error_figures(said.targets, said.values)
    truth = label_index(said.labels, said.classes)
    mistakes = int((predicted_index(said.probabilities) != truth).sum())
    return {**headline(truth, said.probabilities), "errors": mistakes}
