"""Figures of a search, drawn into axes they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from clearmargin.language import tr, trn
from clearmargin.report.figures import GRID, INK, MUTED, SERIES, finished, put_title
from clearmargin.report.wording import short

_NAME_LENGTH = 30
_VALUE_LENGTH = 10


@dataclass(frozen=True)
class Point:
    """What a trial reached; one that was given up early is not ``whole``."""

    trial: int
    value: float
    whole: bool


@dataclass(frozen=True)
class Axis:
    """One setting: its name, and where (0 to 1) which of its values are named."""

    name: str
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Line:
    """The settings of one trial as places from 0 to 1, one an axis."""

    places: Sequence[float]
    bold: bool


def plot_history(axes: Axes, points: Sequence[Point], title: str, better: int, untuned: float | None) -> Axes:
    """Plot what each trial reached, with the best so far as a step line and the untuned settings dashed.

    ``better`` is 1 where more is better, and -1 where less is.
    """
    whole = [point for point in points if point.whole]
    given_up = [point for point in points if not point.whole]
    for shown, face, label in (
        (given_up, "none", tr("given up early")),
        (whole, SERIES[0], tr("trained to the end")),
    ):
        axes.plot(
            [point.trial for point in shown], [point.value for point in shown], linestyle="none", marker="o",
            markersize=4.2, markerfacecolor=face, markeredgecolor=SERIES[0] if face != "none" else MUTED,
            markeredgewidth=0.9, label=label,
        )  # fmt: skip
    if whole:
        values = better * np.maximum.accumulate([better * point.value for point in whole])
        numbers = [point.trial for point in whole]
        last = max(point.trial for point in points)
        axes.step(
            [*numbers, last], [*values, values[-1]], where="post", color=INK, linewidth=1.3, label=tr("best so far")
        )
    if untuned is not None:
        axes.axhline(untuned, color=SERIES[1], linewidth=1.0, linestyle="--", zorder=1, label=tr("untuned"))
    _leave_out_the_far(axes, points, better, untuned)
    axes.set_xlabel(tr("trial"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    put_title(axes, title, pad=19)
    finished(axes)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, borderaxespad=0.2, fontsize=8.5,
        labelcolor=INK, handlelength=1.7, columnspacing=1.0, borderpad=0.1,
    )  # fmt: skip
    return axes


def _leave_out_the_far(axes: Axes, points: Sequence[Point], better: int, untuned: float | None) -> None:
    """Let trials that were trained to the end, and the untuned, set the scale: a wild one must not press the rest flat.

    Those that lie beyond stand at its end as arrows, and are counted.
    """
    values = [point.value for point in points if point.whole]
    if len(values) < 2:
        return
    low, high = float(np.min(values)), float(np.max(values))
    if better > 0:
        low = min(low, high - 0.02)
    else:
        high = min(high, max(low * 1.1, float(np.median(values)) * 2))
    if untuned is not None:
        low, high = min(low, untuned), max(high, untuned)
    room = 0.12 * (high - low) or 0.01
    bottom, top = low - room * 3, high + room
    axes.set_ylim(bottom, top)
    beyond = [point for point in points if not bottom <= point.value <= top]
    if beyond:
        for point in beyond:
            below = point.value < bottom
            axes.plot(
                [point.trial], [bottom if below else top], linestyle="none", marker="v" if below else "^",
                markersize=4.2, markerfacecolor=SERIES[0] if point.whole else "none",
                markeredgecolor=SERIES[0] if point.whole else MUTED, markeredgewidth=0.9, clip_on=False,
            )  # fmt: skip
        upper = all(point.value > top for point in beyond)
        words = trn(len(beyond), "{n} trial beyond the scale", "{n} trials beyond the scale", n=len(beyond))
        axes.annotate(
            words, (1, int(upper)), xycoords="axes fraction", xytext=(-2, -6 if upper else 6), color=MUTED,
            textcoords="offset points", ha="right", va="top" if upper else "bottom", fontsize=8,
        )  # fmt: skip


def plot_importance(axes: Axes, shares: Mapping[str, float]) -> Axes:
    """Plot how much the best trials differ from all, setting by setting, as shares of 1; the largest first."""
    rows = np.arange(len(shares))
    axes.barh(rows, [100 * share for share in shares.values()], height=0.62, color=SERIES[0])
    axes.set_yticks(rows, labels=[short(name, _NAME_LENGTH) for name in shares])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("%")
    put_title(axes, tr("where the best trials differ from all"))
    return finished(axes)


def plot_parallel(axes: Axes, settings: Sequence[Axis], lines: Sequence[Line]) -> Axes:
    """Plot each trial as a line from setting to setting, one setting a row; the best trials are bold."""
    rows = np.arange(len(settings))
    for line in lines:
        axes.plot(
            line.places, rows, color=SERIES[0] if line.bold else MUTED, linewidth=1.8 if line.bold else 0.7,
            alpha=0.95 if line.bold else 0.4, marker="o", markersize=2.6 if line.bold else 1.4, clip_on=False,
        )  # fmt: skip
    for row, setting in enumerate(settings):
        axes.axhline(row, color=GRID, linewidth=0.8, zorder=0.5)
        for place, value in setting.ticks:
            axes.annotate(
                short(value, _VALUE_LENGTH), (place, row), xytext=(0, 4), textcoords="offset points", color=INK,
                fontsize=7.5, va="bottom", ha="center",
            )  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(settings) - 0.7, -0.6)
    axes.set_yticks(rows, labels=[short(setting.name, _NAME_LENGTH) for setting in settings])
    axes.set_xticks([])
    put_title(axes, tr("settings of the trials, the best bold"))
    return finished(axes, grid=False)
