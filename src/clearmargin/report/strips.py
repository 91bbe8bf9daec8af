"""Figures over seeds, drawn into axes they are given: one line of dots for every contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from clearmargin.report.figures import INK, Look, finished, put_title
from clearmargin.report.wording import short

_NAME_LENGTH = 26


@dataclass(frozen=True)
class Strip:
    """One line of dots: a contender's figure for every seed (float64, undefined ones left out).

    With several initialisations of each split, ``trained`` holds theirs: float64 of shape (seeds, initialisations), of
    which ``values`` are the means.
    """

    name: str
    look: Look
    values: np.ndarray
    trained: np.ndarray | None = None


def plot_seeds(axes: Axes, strips: Sequence[Strip], title: str, references: Mapping[str, float] | None = None) -> Axes:
    """Plot one dot a seed for every contender, a bar at the mean, and references as dashed lines.

    Each initialisation of a split is a ring on the thin line of that split.
    """
    for row, strip in enumerate(strips):
        spread = 0.16 * np.array([0, 1, -1, 0.5, -0.5])[np.arange(len(strip.values)) % 5]
        if strip.trained is not None:
            spread = np.linspace(-0.28, 0.28, len(strip.values)) if len(strip.values) > 1 else np.zeros(1)
            _plot_initialisations(axes, strip, row + spread)
        axes.plot(
            strip.values, row + spread, linestyle="none", marker=strip.look.marker, markersize=4.6,
            markerfacecolor=strip.look.color, markeredgecolor="none", alpha=0.62,
        )  # fmt: skip
        if len(strip.values):
            axes.plot([strip.values.mean()] * 2, [row - 0.36, row + 0.36], color=strip.look.color, linewidth=2.4)
    for name, value in (references or {}).items():
        axes.axvline(value, color=INK, linewidth=1.0, linestyle="--", zorder=1)
        axes.annotate(
            short(name, _NAME_LENGTH), (value, len(strips) - 0.52), xytext=(4, 0), textcoords="offset points",
            color=INK, fontsize=8.5, va="bottom", ha="left",
        )  # fmt: skip
    axes.set_ylim(len(strips) - 0.4, -0.6)
    axes.set_yticks(range(len(strips)), labels=[short(strip.name, _NAME_LENGTH) for strip in strips])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    put_title(axes, title)
    return finished(axes)


def _plot_initialisations(axes: Axes, strip: Strip, heights: np.ndarray) -> None:
    """Plot what the initialisations of each split reached, each split at a height of its own."""
    for reached, height in zip(strip.trained if strip.trained is not None else (), heights, strict=True):
        axes.plot(
            [reached.min(), reached.max()], [height, height], color=strip.look.color, linewidth=0.8, alpha=0.8,
        )  # fmt: skip
        axes.plot(
            reached, [height] * len(reached), linestyle="none", marker="o", markersize=3.4, markerfacecolor="none",
            markeredgecolor=strip.look.color, markeredgewidth=0.9,
        )  # fmt: skip
