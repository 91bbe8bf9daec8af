"""Per contender: learning curves, confusion matrix, figures per class, ROC curves, layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from clearmargin.evaluation.roc import roc_points
from clearmargin.language import tr
from clearmargin.report.drawing import Drawing, draw, draw_grid, inline
from clearmargin.report.elsewhere import elsewhere_sentence
from clearmargin.report.figures import (
    CLASSES_NAMED,
    LEGEND_MOST,
    Look,
    RocLine,
    plot_confusion,
    plot_estimates,
    plot_key,
    plot_learning_curve,
    plot_roc,
    quantity_name,
)
from clearmargin.report.folder import ContenderFiles, RunFiles, TrainedFiles
from clearmargin.report.overfitting import overfitting_sentence
from clearmargin.report.overview import METRICS, Mark, Scale, round_scale
from clearmargin.report.wording import (
    MISSING,
    decimal,
    estimate,
    interval,
    is_number,
    listed,
    numbers,
    percent,
    plural,
    sentences,
    short,
)

CLASSES_AS_TABLE = 12  # a larger confusion matrix is drawn, not written
ROC_PANELS = 12
_CURVE = ((4.1, 2.6), (0.105, 0.175, 0.87, 0.69))
_ROC = ((2.6, 2.65), (0.18, 0.165, 0.78, 0.74))
_CONFUSION = ((5.2, 5.2), (0.2, 0.2, 0.78, 0.78))
_CONFUSION_UNNAMED = ((5.2, 5.2), (0.1, 0.1, 0.88, 0.88))


@dataclass(frozen=True)
class Curves:
    """Learning curves of one contender, a sentence about them, and one on overfitting."""

    figures: tuple[Markup, ...]
    sentence: str
    overfitting: str


def learning_curves(
    contender: TrainedFiles, look: Look, validation_samples: int, quantities: Sequence[str] = ("loss", "accuracy")
) -> Curves:
    """Draw what is measured on both parts (of a classification: loss and accuracy) over the epochs."""
    if not contender.learned_here:
        return Curves((), elsewhere_sentence(), "")
    drawn = []
    for quantity in quantities:
        if f"validation_{quantity}" in contender.history.columns:
            svg = draw(*_CURVE, partial(plot_curve, contender, look, quantity))
            label = _curve_label(contender, quantity)
            drawn.append(inline(svg, f"curve-{contender.slug}-{quantity}", label))
    overfitting = overfitting_sentence(contender.history, validation_samples)
    return Curves(tuple(drawn), _training_sentence(contender), overfitting)


def _curve_label(contender: TrainedFiles, quantity: str) -> str:
    """What a learning curve says, for those who can't see it."""
    history = contender.history
    ends = {part: numbers(history.get(f"{part}_{quantity}", ())) for part in ("train", "validation")}
    values = {
        "name": short(contender.name),
        "quantity": quantity_name(quantity),
        "first": decimal(ends["validation"][0]) if ends["validation"] else MISSING,
        "last": decimal(ends["validation"][-1]) if ends["validation"] else MISSING,
        "train": decimal(ends["train"][-1]) if ends["train"] else MISSING,
        "epochs": plural(len(history), "epoch"),
    }
    return tr(
        "{name}: {quantity} over {epochs}; on validation from {first} to {last}, on training {train} at the end",
        **values,
    )


def plot_curve(contender: TrainedFiles, look: Look, quantity: str, axes: Any) -> Any:
    """Draw one quantity over the epochs."""
    best = contender.model["training"].get("best_epoch")
    return plot_learning_curve(axes, contender.history, quantity, best, look)


def _training_sentence(contender: TrainedFiles) -> str:
    training = contender.model["training"]
    epochs = plural(training.get("epochs_run", len(contender.history)), "epoch")
    validation = contender.model.get("validation", {})
    ran = (
        tr("{epochs}, stopped early.", epochs=epochs)
        if training.get("stopped_early")
        else tr("{epochs}.", epochs=epochs)
    )
    if training.get("best_epoch") is None:
        return ran
    return sentences(ran, _kept(training["best_epoch"], validation))


def _kept(epoch: int, validation: Mapping[str, Any]) -> str:
    """Which epoch's weights were kept, and what they reach on validation."""
    shares = "balanced_accuracy" in validation
    reached = validation.get("balanced_accuracy" if shares else "mean_absolute_error")
    values = {"epoch": epoch, "value": decimal(reached)}
    if not is_number(reached):
        return tr("The weights of epoch {epoch} were kept.", **values)
    if shares:
        return tr("The weights of epoch {epoch} were kept (balanced accuracy on validation {value}).", **values)
    return tr(
        "The weights of epoch {epoch} were kept (mean absolute error on validation {value} standard deviations).",
        **values,
    )


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix: count, share of its row, and the album its images would be in."""

    count: int
    share: float | None
    right: bool
    target: str


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix as rows of cells, or as a figure when there are many classes."""

    rows: tuple[tuple[Cell, ...], ...]
    figure: Markup | None
    common: tuple[tuple[str, str, int, float], ...]
    sentence: str


def confusion(contender: ContenderFiles, classes: Sequence[str]) -> Confusion:
    """Arrange a confusion matrix and its most frequent mistakes."""
    counts = _counts(contender)
    common = _common_mistakes(counts, classes)
    sentence = tr("No test image was misclassified.")
    if common:
        truth, taken_for, number, share = common[0]
        sentence = tr(
            "Most frequent mistake: {images} of “{label}” taken for “{predicted}” ({share} of that class).",
            images=plural(number, "image"), label=short(truth, 32), predicted=short(taken_for, 32),
            share=percent(share),
        )  # fmt: skip
    if len(classes) <= CLASSES_AS_TABLE:
        return Confusion(_cells(contender.slug, counts), None, common, sentence)
    label = tr("Confusion matrix of {name}, {n} classes.", name=short(contender.name), n=len(classes))
    figure = inline(_draw_confusion(counts, classes), f"confusion-{contender.slug}", sentences(label, sentence))
    return Confusion((), figure, common, sentence)


def _counts(contender: ContenderFiles) -> np.ndarray:
    return np.asarray(contender.result["confusion"], dtype=np.int64)


def _common_mistakes(counts: np.ndarray, classes: Sequence[str]) -> tuple[tuple[str, str, int, float], ...]:
    totals = counts.sum(axis=1)
    wrong = counts * (1 - np.eye(len(classes), dtype=np.int64))
    order = [divmod(int(k), len(classes)) for k in np.argsort(-wrong, axis=None, kind="stable")[:10]]
    return tuple(
        (classes[t], classes[p], int(wrong[t, p]), float(wrong[t, p] / totals[t])) for t, p in order if wrong[t, p]
    )


def _cells(slug: str, counts: np.ndarray) -> tuple[tuple[Cell, ...], ...]:
    totals = counts.sum(axis=1)
    return tuple(
        tuple(
            Cell(int(n), float(n / totals[t]) if totals[t] else None, t == p, f"{slug}-{t}-{p}")
            for p, n in enumerate(row)
        )
        for t, row in enumerate(counts)
    )


def _draw_confusion(counts: np.ndarray, classes: Sequence[str]) -> Drawing:
    size, box = _CONFUSION if len(classes) <= CLASSES_NAMED else _CONFUSION_UNNAMED
    return draw(size, box, lambda axes: plot_confusion(axes, counts, classes))


@dataclass(frozen=True)
class PerClass:
    """Rows of the per-class table, each with the mark of its recall; on the hardest, and over all classes, in words."""

    rows: tuple[tuple[Mapping[str, Any], Mark], ...]
    low: str
    high: str
    sentence: str
    overall: str
    note: str = ""


def per_class(run: RunFiles) -> list[PerClass]:
    """Arrange precision, recall, specificity, F1 and AUC of each class; all recalls share one scale."""
    rows = [row for contender in run.contenders for row in contender.result["per_class"]]
    ends = [row.get(key) for row in rows for key in ("recall", "recall_low", "recall_high")]
    scale = round_scale(numbers(ends), 0, 1)
    return [_per_class(contender, scale) for contender in run.contenders]


def _per_class(contender: ContenderFiles, scale: Scale) -> PerClass:
    rows = contender.result["per_class"]
    marked = []
    for row in rows:
        recall = {"value": row["recall"], "low": row.get("recall_low"), "high": row.get("recall_high")}
        marked.append((row, scale.mark(recall)))
    defined = [row for row in rows if is_number(row["recall"])]
    sentence = ""
    if defined:
        hardest = min(defined, key=lambda row: row["recall"])
        sentence = tr(
            "Hardest class: “{label}”, recall {value} ({interval}).",
            label=short(hardest["class"], 32), value=decimal(hardest["recall"]),
            interval=interval(hardest.get("recall_low"), hardest.get("recall_high")),
        )  # fmt: skip
        if hardest["recall"] == 1:
            sentence = tr("No class has a miss.")
    ends = decimal(scale.low, scale.digits), decimal(scale.high, scale.digits)
    return PerClass(tuple(marked), *ends, sentence, _overall(contender.result["metrics"]))


def _overall(metrics: Mapping[str, Any]) -> str:
    """One contender over all classes; empty for a run of before kappa was measured."""
    if "kappa" not in metrics:
        return ""
    keys = ("accuracy", "balanced_accuracy", "mcc")
    return tr(
        "All classes: accuracy {accuracy}, balanced accuracy {balanced_accuracy}, MCC {mcc}, Cohen's kappa {kappa}.",
        kappa=estimate(metrics["kappa"]), **{key: decimal((metrics.get(key) or {}).get("value")) for key in keys},
    )  # fmt: skip


@dataclass(frozen=True)
class RocPanel:
    """One class against the rest: its name and its lines."""

    name: str
    lines: tuple[RocLine, ...]

    def plot(self, axes: Any) -> Any:
        """Draw the panel."""
        return plot_roc(axes, self.lines, self.name)

    def described(self) -> str:
        """What the panel says, for those who can't see it."""
        areas = [tr("{name} {area}", name=short(line.name), area=decimal(line.auc)) for line in self.lines]
        return tr("ROC curve of {label} against the rest, areas: {areas}", label=short(self.name), areas=listed(areas))


def roc_panels(run: RunFiles) -> tuple[list[RocPanel], str]:
    """Curves for each class, all contenders in one panel, and a note about what is left out.

    Two classes mirror each other, so that only the second is drawn; of many, those with the lowest areas.
    """
    classes = run.evaluation["classes"]
    truth = run.contenders[0].truth
    present = [k for k in range(len(classes)) if 0 < (truth == k).sum() < len(truth)]
    note = ""
    if len(present) < len(classes) and len(classes) > 2:
        note = tr("Classes without a test image have no curve.")
    if len(classes) == 2:
        present = present[1:]
        note = tr("With two classes the curve of the other one is the mirror image.")
    elif len(present) > ROC_PANELS:
        present = sorted(sorted(present, key=lambda k: _lowest_area(run, k))[:ROC_PANELS])
        note = tr("Shown are the {n} classes with the lowest areas, of {all}.", n=ROC_PANELS, all=len(classes))
    return [RocPanel(classes[k], tuple(_roc_lines(run, k))) for k in present], note


def _lowest_area(run: RunFiles, column: int) -> float:
    areas = [contender.result["per_class"][column].get("auc") for contender in run.contenders]
    return min(numbers(areas), default=1.0)


def _roc_lines(run: RunFiles, column: int) -> list[RocLine]:
    lines = []
    for k, contender in enumerate(run.contenders):
        scores = contender.predictions.probabilities[:, column]
        fpr, tpr = roc_points(scores, contender.truth == column)
        lines.append(RocLine(contender.name, Look(k), fpr, tpr, contender.result["per_class"][column].get("auc")))
    return lines


def roc_figures(panels: Sequence[RocPanel]) -> list[Markup]:
    """Draw the panels for the page."""
    return [inline(draw(*_ROC, panel.plot), f"roc-{k}", panel.described()) for k, panel in enumerate(panels)]


def figure_files(run: RunFiles, panels: Sequence[RocPanel]) -> dict[str, Drawing]:
    """Draw the sheets for papers, as file name to SVG."""
    classes = run.evaluation["classes"]
    plots: list[Any] = [panel.plot for panel in panels]
    if plots and len(run.contenders) > LEGEND_MOST:
        plots.append(partial(plot_key, names=[contender.name for contender in run.contenders]))
    columns = min(3, max(1, len(plots)))
    curves = [
        partial(plot_curve, contender, Look(k), quantity)
        for k, contender in enumerate(run.contenders)
        for quantity in ("loss", "accuracy")
        if contender.learned_here
    ]
    files = {
        f"confusion-{contender.slug}.svg": _draw_confusion(_counts(contender), classes) for contender in run.contenders
    }
    if curves:
        files["learning-curves.svg"] = draw_grid(len(curves) // 2, 2, (4.2, 2.8), list(curves))
    files["comparison.svg"] = draw_grid(2, 4, (3.4, 0.9 + 0.3 * len(run.contenders)), _estimate_plots(run))
    if plots:
        files["roc.svg"] = draw_grid(-(-len(plots) // columns), columns, (3.0, 3.2), plots)
    return files


def _estimate_plots(run: RunFiles) -> list[Any]:
    plots = []
    for metric in METRICS:
        values = {c.name: c.result["metrics"].get(metric.key) or {"value": None} for c in run.contenders}
        plots.append(partial(plot_estimates, estimates=values, title=metric.title))
    return plots
