"""Figures on how far probabilities can be trusted, drawn into axes they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from clearmargin.language import tr
from clearmargin.report.figures import GRID, INK, MUTED, Look, finished, put_title
from clearmargin.report.wording import short

_NAME_LENGTH = 24


@dataclass(frozen=True)
class Reliability:
    """How often answers given with a confidence are right: float64 and int64 of shape (bins,), none of them empty."""

    name: str
    look: Look
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    edges: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """One curve over shares or thresholds: float64 of shape (points,); ``mark`` is a point on it, or None."""

    name: str
    look: Look
    x: np.ndarray
    y: np.ndarray
    mark: tuple[float, float] | None = None


def plot_reliability(axes: Axes, shown: Reliability) -> Axes:
    """Plot accuracy over confidence beside the diagonal, and along the bottom how many answers each bin holds."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    heights = 0.22 * shown.counts / max(int(shown.counts.max(initial=1)), 1)
    lows = np.array(shown.edges[::2])
    axes.bar(
        lows, heights, np.array(shown.edges[1::2]) - lows, align="edge", color=GRID, edgecolor=MUTED, linewidth=0.5
    )
    axes.plot(
        shown.confidence, shown.accuracy, color=shown.look.color, linestyle=shown.look.line_style, linewidth=1.4,
        marker=shown.look.marker, markersize=4.6, clip_on=False,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for setter in (axes.set_xticks, axes.set_yticks):
        setter([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.set_xlabel(tr("confidence"))
    axes.set_ylabel(tr("accuracy"))
    put_title(axes, short(shown.name, _NAME_LENGTH))
    return finished(axes)


def plot_risk_coverage(axes: Axes, lines: Sequence[Line], title: str) -> Axes:
    """Plot the share of mistakes among the answers given, over the share of samples that get one; rings: thresholds."""
    for line in lines:
        axes.plot(line.x, line.y, color=line.look.color, linestyle=line.look.line_style, linewidth=1.5)
        if line.mark is not None:
            axes.plot(
                [line.mark[0]], [line.mark[1]], linestyle="none", marker=line.look.marker, markersize=8,
                markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.2, clip_on=False,
            )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(tr("share answered"))
    axes.set_ylabel(tr("mistakes among them"))
    put_title(axes, title)
    return finished(axes)


def plot_decision_curve(axes: Axes, lines: Sequence[Line], everybody: np.ndarray, title: str) -> Axes:
    """Plot net benefit over thresholds: each contender, treating everybody (dotted) and nobody (the line at 0).

    ``everybody`` is float64 of shape (points,), on the thresholds of the first line.
    """
    axes.axhline(0, color=INK, linewidth=0.9)
    if lines:
        axes.plot(lines[0].x, everybody, color=MUTED, linewidth=1.1, linestyle=":")
    for line in lines:
        axes.plot(line.x, line.y, color=line.look.color, linestyle=line.look.line_style, linewidth=1.5)
    top = max([*(float(line.y.max()) for line in lines), 0.01])
    axes.set(xlim=(0, 1), ylim=(-0.25 * top, 1.08 * top))
    axes.set_xlabel(tr("threshold"))
    axes.set_ylabel(tr("net benefit"))
    put_title(axes, short(title, _NAME_LENGTH))
    return finished(axes)
