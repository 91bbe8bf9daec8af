"""Facts of a run as short phrases for checklist, methods text and model card: said once, the same in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmargin.language import tr, trn
from clearmargin.records import PARTS
from clearmargin.report.folder import StudyFiles
from clearmargin.report.methods import evaluation_number
from clearmargin.report.wording import (
    count,
    estimate,
    is_number,
    listed,
    measured,
    percent,
    plural,
    sentences,
    without_folders,
)

OVERALL: Mapping[str, tuple[str, ...]] = {
    "classification": ("balanced_accuracy", "accuracy", "macro_f1", "mcc", "auc"),
    "regression": ("rmse", "mae", "r2"),
}


def noun_of(run: StudyFiles) -> str:
    """What a sample is."""
    return "row" if run.evaluation["task"] == "regression" else "image"


def metric_name(key: str) -> str:
    """What a metric is called in running text."""
    names = {
        "accuracy": tr("accuracy"),
        "balanced_accuracy": tr("balanced accuracy"),
        "macro_f1": tr("macro F1"),
        "mcc": tr("Matthews correlation coefficient"),
        "auc": tr("area under the ROC curve (mean of each class against the rest)"),
        "rmse": tr("root mean squared error"),
        "mae": tr("mean absolute error"),
        "r2": tr("coefficient of determination (R²)"),
    }
    return names[key]


def part_sizes(run: StudyFiles) -> str:
    """Samples of each part: ``498 / 64 / 65 images (training / validation / test)``."""
    sizes = " / ".join(count(sum(run.split["counts"].get(part, {}).values())) for part in PARTS)
    if noun_of(run) == "row":
        return tr("{sizes} rows (training / validation / test)", sizes=sizes)
    return tr("{sizes} images (training / validation / test)", sizes=sizes)


def level(run: StudyFiles) -> str:
    """At which level the parts are apart, without any gloss."""
    if run.evaluation.get("leaky") or run.split["crossing_groups"]:
        return tr("The parts are not apart: groups are in more than one part. The figures are too good.")
    if run.split["patients"]:
        return tr("The split is by patient or group: each is in one part only, as are near-duplicates of one another.")
    if noun_of(run) == "row":
        return tr(
            "The split is by row: rows with the same inputs are in one part only. Which rows belong to one "
            "person is not known."
        )
    return tr(
        "The split is by image: near-duplicates are in one part only, but nobody said which images are of the same "
        "patient. An image-level split is optimistic."
    )


def origin(run: StudyFiles) -> str:
    """Where the samples come from, and how many were left out."""
    counts = run.audit["counts"]
    source = without_folders(str(run.recipe.get("data", {}).get("source", "")))
    left_out = counts["found"] - counts["decoded"]
    told = tr("{things} from the source “{source}”.", things=plural(counts["found"], noun_of(run)), source=source)
    if left_out:
        return sentences(told, trn(left_out, "{n} could not be read.", "{n} could not be read.", n=count(left_out)))
    return sentences(told, tr("All could be read."))


def simulated(run: StudyFiles) -> str:
    """That the data are made up; empty when they are not."""
    if not run.audit.get("simulated"):
        return ""
    return tr("The data are simulated: the figures have no clinical meaning.")


def external_tests(run: StudyFiles) -> int:
    """How many external tests lie in the run folder."""
    return len(list(run.folder.glob("external/*/external.json")))  # written last


def tested_where(run: StudyFiles) -> str:
    """Whether it was tested outside its own data."""
    number = external_tests(run)
    if not number:
        return tr("Internal test only: the test part comes from the same data as the training part.")
    return trn(
        number,
        "{n} external test, with weights and thresholds frozen, lies in the folder “external”.",
        "{n} external tests, with weights and thresholds frozen, lie in the folder “external”.",
        n=number,
    )


def looked_at(run: StudyFiles) -> str:
    """How often the test part was evaluated."""
    return evaluation_number(run.evaluation) or tr("How often the test part was evaluated is not recorded.")


def reached(run: StudyFiles, result: Mapping[str, Any]) -> str:
    """The overall figures of one contender with their intervals, as one list."""
    metrics = result["metrics"]
    keys = [key for key in OVERALL[run.evaluation["task"]] if is_number((metrics.get(key) or {}).get("value"))]
    told = listed([f"{metric_name(key)} {_written(run, metrics[key])}" for key in keys])
    return tr("{figures} (leaky split)", figures=told) if run.evaluation.get("leaky") else told


def _written(run: StudyFiles, figure: Mapping[str, Any]) -> str:
    if run.evaluation["task"] == "classification":
        return estimate(figure)
    value, low, high = (measured(figure.get(key), 3) for key in ("value", "low", "high"))
    return (
        value if not is_number(figure.get("low")) else tr("{value} ({low} to {high})", value=value, low=low, high=high)
    )


def classes_by_part(run: StudyFiles) -> str:
    """Share of each class in training and test."""
    learned, tested = (run.split["counts"].get(part, {}) for part in ("train", "test"))
    n_learned, n_tested = sum(learned.values()) or 1, sum(tested.values()) or 1
    shown = list(learned)[:12]
    told = [
        f"{name} {percent(learned[name] / n_learned)} / {percent(tested.get(name, 0) / n_tested)}" for name in shown
    ]
    if len(learned) > len(shown):
        told.append(tr("and {n} further classes", n=count(len(learned) - len(shown))))
    return tr("Share of each class in training / test: {shares}.", shares=", ".join(told))
