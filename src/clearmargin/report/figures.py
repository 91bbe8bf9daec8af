"""The figures, drawn into axes they are given; colours are roles that a page may replace by its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from clearmargin.language import tr
from clearmargin.report.wording import part_name, short

INK = "#1d2430"
MUTED = "#5a6472"
GRID = "#dfe3e8"
RIGHT = "#0072b2"
WRONG = "#d55e00"
# After Okabe and Ito, the light ones darkened to a contrast of 3:1 on white. No two roles share a value, so
# that a page can give each its own colour.
SERIES = ("#0072b3", "#d55e01", "#00835f", "#a85590", "#946c00", "#1d2431")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINE_STYLES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)), (0, (8, 2, 1, 2, 1, 2)))
CLASSES_NAMED = 30  # more names do not fit along a confusion matrix
_TEXT_SIZE = 9.0
_NAME_LENGTH = 22
_ROC_NAME_LENGTH = 13  # the panels are small, and the page names the contenders in full
LEGEND_MOST = 6  # lines in a panel of which a legend inside it can tell


@dataclass(frozen=True)
class Look:
    """The colour, marker and line style of one contender, the same on every figure and table."""

    index: int

    @property
    def color(self) -> str:
        return SERIES[self.index % len(SERIES)]

    @property
    def marker(self) -> str:
        # Shifted after each round of colours, so that colour and marker together tell 36 contenders apart.
        return MARKERS[(self.index + self.index // len(SERIES)) % len(MARKERS)]

    @property
    def line_style(self) -> Any:
        return LINE_STYLES[(self.index + self.index // len(SERIES)) % len(LINE_STYLES)]


@dataclass(frozen=True)
class RocLine:
    """One curve: false and true positive rates (float64, shape (points,)) and the area to print."""

    name: str
    look: Look
    fpr: np.ndarray
    tpr: np.ndarray
    auc: float | None


def plot_learning_curve(axes: Axes, history: pd.DataFrame, quantity: str, best_epoch: int | None, look: Look) -> Axes:
    """Plot ``train_…`` and ``validation_…`` of a quantity (``loss``, ``accuracy``) over the epochs."""
    epochs = history["epoch"].to_numpy()
    styles = (("train", "--", False), ("validation", "-", True))
    for part, line, filled in styles:
        column = f"{part}_{quantity}"
        if column in history.columns:
            values = pd.to_numeric(history[column], errors="coerce").to_numpy(dtype=np.float64)
            face = look.color if filled else "none"
            axes.plot(
                epochs, values, linestyle=line, color=look.color, marker=look.marker, markersize=3.6,
                markerfacecolor=face, linewidth=1.5 if filled else 1.1, label=part_name(part),
            )  # fmt: skip
            if filled and best_epoch is not None:
                _mark_best(axes, epochs, values, best_epoch)
    if quantity == "loss":
        _scale_loss(axes)
    axes.set_xlabel(tr("epoch"))
    put_title(axes, quantity_name(quantity))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return finished(axes, legend="above")


def quantity_name(quantity: str) -> str:
    """What is measured over the epochs, in words."""
    words = {"loss": tr("loss"), "accuracy": tr("accuracy"), "mean_absolute_error": tr("mean absolute error")}
    return words.get(quantity, quantity.replace("_", " "))


def _mark_best(axes: Axes, epochs: np.ndarray, values: np.ndarray, best_epoch: int) -> None:
    axes.axvline(best_epoch, color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    at = np.flatnonzero(epochs == best_epoch)
    if len(at) and np.isfinite(values[at[0]]):
        axes.plot(
            [best_epoch], [values[at[0]]], linestyle="none", marker="o", markersize=9, markerfacecolor="none",
            markeredgecolor=INK, markeredgewidth=1.1, label=tr("epoch {epoch}", epoch=best_epoch),
        )  # fmt: skip


def _scale_loss(axes: Axes) -> None:
    drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()] or [np.zeros(0)])
    drawn = np.asarray(drawn, dtype=np.float64)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) and drawn.min() > 0 and drawn.max() > 60 * np.median(drawn):
        axes.set_yscale("log")  # one wild first epoch would press the rest flat
    else:
        axes.set_ylim(bottom=0)


def plot_roc(axes: Axes, curves: Sequence[RocLine], title: str) -> Axes:
    """Plot receiver operating characteristic curves over the diagonal of a coin toss."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    for curve in curves:
        area = "" if curve.auc is None else f" {curve.auc:.3f}"
        axes.plot(
            curve.fpr, curve.tpr, color=curve.look.color, linestyle=curve.look.line_style, linewidth=1.6,
            label=short(curve.name, _ROC_NAME_LENGTH) + area, solid_joinstyle="round", clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.set_xlabel(tr("false positive rate"))
    axes.set_ylabel(tr("true positive rate"))
    put_title(axes, short(title, _NAME_LENGTH + 4))
    return finished(axes, legend="inside" if len(curves) <= LEGEND_MOST else None)


def plot_key(axes: Axes, names: Sequence[str]) -> Axes:
    """Plot nothing but which line is whose, for panels of more curves than a legend inside them has room for."""
    for index, name in enumerate(names):
        look = Look(index)
        label = short(name, _ROC_NAME_LENGTH)
        axes.plot([], [], color=look.color, linestyle=look.line_style, linewidth=1.6, label=label)
    axes.set_axis_off()
    columns = -(-len(names) // 20)
    key = axes.legend(loc="center", ncols=columns, frameon=False, fontsize=_TEXT_SIZE - 1.5, labelcolor=INK)
    key.set_in_layout(False)  # a key taller than its panel must not press the others flat
    return axes


def plot_confusion(axes: Axes, counts: np.ndarray, classes: Sequence[str]) -> Axes:
    """Plot a confusion matrix: int64 counts of shape (classes, classes), rows true, columns predicted.

    The shade is the share of the row, relative to the largest share; counts are written in while they can
    be read.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = shares / max(shares.max(), 1e-9)
    picture = np.zeros((*counts.shape, 4))
    picture[..., :3] = to_rgb(WRONG)
    picture[np.arange(len(counts)), np.arange(len(counts)), :3] = to_rgb(RIGHT)
    picture[..., 3] = np.where(counts > 0, 0.15 + 0.6 * shares, 0.0)
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    if len(classes) <= 16:
        size = min(_TEXT_SIZE, 88 / len(classes))
        for row, column in zip(*np.nonzero(counts), strict=True):
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=INK, fontsize=size)
    size = _name_classes(axes, classes)
    axes.set_xlabel(tr("predicted class"))
    axes.set_ylabel(tr("true class"))
    return finished(axes, grid=False, label_size=size)


def _name_classes(axes: Axes, classes: Sequence[str]) -> float:
    if len(classes) > CLASSES_NAMED:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        return _TEXT_SIZE - 0.5
    names = [short(name, 16) for name in classes]
    axes.set_xticks(range(len(classes)), labels=names, rotation=90)
    axes.set_yticks(range(len(classes)), labels=names)
    return min(_TEXT_SIZE - 0.5, 170 / len(classes))


def plot_estimates(axes: Axes, estimates: Mapping[str, Mapping[str, Any]], title: str) -> Axes:
    """Plot one metric of every contender as a dot with its interval, first contender on top."""
    for row, (_, metric) in enumerate(estimates.items()):
        look = Look(row)
        if metric["value"] is None:
            continue
        low, high = metric.get("low"), metric.get("high")
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], color=look.color, linewidth=1.6, solid_capstyle="butt")
        axes.plot([metric["value"]], [row], color=look.color, marker=look.marker, markersize=5.5)
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.set_yticks(range(len(estimates)), labels=[short(name, _NAME_LENGTH) for name in estimates])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    put_title(axes, title)
    return finished(axes)


def put_title(axes: Axes, text: str, pad: float | None = None) -> None:
    """Write a title over the left edge, where it is read first; ``pad`` points above it, or as usual.

    Its height is given: else all tick labels would be measured, time and again, to look for some above the axes.
    """
    axes.set_title(text, loc="left", y=1.0, color=INK, fontsize=_TEXT_SIZE + 1, pad=pad)


def finished(
    axes: Axes,
    legend: Literal["above", "inside"] | None = None,
    grid: bool = True,
    label_size: float = _TEXT_SIZE - 0.5,
) -> Axes:
    """Give axes the look all figures share, as the last step of drawing; ``label_size`` in points."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=GRID, zorder=0.5)  # below curves that run along the edge
    if grid:
        axes.grid(True, color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=MUTED, pad=4, labelsize=label_size)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=MUTED, fontsize=_TEXT_SIZE)
    if legend and axes.get_legend_handles_labels()[0]:
        _add_legend(axes, above=legend == "above")
    return axes


def _add_legend(axes: Axes, above: bool) -> None:
    anchor = (1.0, 1.0) if above else (1.0, 0.0)
    axes.legend(
        loc="lower right", bbox_to_anchor=anchor, ncols=3 if above else 1, frameon=False, borderaxespad=0.3,
        fontsize=_TEXT_SIZE - 0.5, labelcolor=INK, handlelength=1.9 if above else 2.4, columnspacing=1.0,
        borderpad=0.2,
    )  # fmt: skip
