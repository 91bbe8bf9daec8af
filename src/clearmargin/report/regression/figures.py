"""The figures of a regression, drawn into axes they are given."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from clearmargin.language import tr
from clearmargin.report.figures import INK, MUTED, Look, finished, put_title
from clearmargin.report.wording import short

MOST_POINTS = 2000  # more make the page heavy and the cloud no clearer
_NAME_LENGTH = 26


def evenly(n: int, most: int) -> np.ndarray:
    """Positions of at most so many of n things, spread evenly over them; int64, ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def plot_predicted_against_true(
    axes: Axes, targets: np.ndarray, values: np.ndarray, look: Look, limits: tuple[float, float], target: str
) -> Axes:
    """Plot predicted (up) against true (across), float64 of shape (rows,), with the diagonal of a perfect model."""
    axes.plot(limits, limits, color=INK, linewidth=0.9, linestyle="--", zorder=1)
    _cloud(axes, targets, values, look)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.set_yticks([tick for tick in axes.get_xticks() if limits[0] <= tick <= limits[1]])
    axes.set_xlabel(tr("true {target}", target=short(target, _NAME_LENGTH)))
    axes.set_ylabel(tr("predicted"))
    return finished(axes)


def plot_residuals(axes: Axes, targets: np.ndarray, values: np.ndarray, look: Look) -> Axes:
    """Plot residuals, true − predicted, against predicted; a good model leaves a level cloud around zero."""
    axes.axhline(0, color=INK, linewidth=0.9, linestyle="--", zorder=1)
    _cloud(axes, values, targets - values, look)
    axes.set_xlabel(tr("predicted"))
    put_title(axes, tr("true − predicted"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    return finished(axes)


def _cloud(axes: Axes, across: np.ndarray, up: np.ndarray, look: Look) -> None:
    shown = evenly(len(across), MOST_POINTS)
    axes.plot(
        across[shown], up[shown], linestyle="none", marker=look.marker, markersize=4.2 if len(shown) < 300 else 2.6,
        markerfacecolor=look.color, markeredgecolor="none", alpha=0.72 if len(shown) < 300 else 0.45, clip_on=False,
    )  # fmt: skip


def plot_residual_histogram(axes: Axes, residuals: np.ndarray, look: Look) -> Axes:
    """Plot how often residuals of each size occur, with their mean."""
    bins = np.histogram_bin_edges(residuals, bins=min(40, max(8, int(2 * len(residuals) ** (1 / 2)))))
    axes.hist(residuals, bins=bins.tolist(), color=look.color, alpha=0.72, edgecolor="none", rwidth=0.92)
    axes.axvline(0, color=INK, linewidth=0.9, linestyle="--")
    axes.axvline(float(residuals.mean()), color=MUTED, linewidth=1.2, linestyle=":")
    axes.set_xlabel(tr("true − predicted"))
    put_title(axes, tr("rows"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return finished(axes)


def plot_rows(axes: Axes, targets: np.ndarray, values: np.ndarray, look: Look, name: str, xlabel: str) -> Axes:
    """Plot true and predicted values row by row, as two lines with a legend."""
    places = np.arange(1, len(targets) + 1)
    few = len(targets) <= 120
    axes.plot(places, targets, color=INK, linewidth=1.2, marker="o" if few else None, markersize=2.6, label=tr("true"))
    axes.plot(
        places, values, color=look.color, linewidth=1.2, linestyle=(0, (4, 1.6)), marker=look.marker if few else None,
        markersize=3.4, label=tr("predicted, {name}", name=short(name, _NAME_LENGTH)),
    )  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_xlim(0.5, len(targets) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10]))
    return finished(axes, legend="above")
