"""Per contender: learning curves, predicted against true, residuals, the test rows as lines, the largest errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from clearmargin.language import tr
from clearmargin.records import PARTS
from clearmargin.report.drawing import Drawing, draw, draw_grid, inline
from clearmargin.report.figures import Look, plot_estimates
from clearmargin.report.regression.figures import (
    MOST_POINTS,
    evenly,
    plot_predicted_against_true,
    plot_residual_histogram,
    plot_residuals,
    plot_rows,
)
from clearmargin.report.regression.folder import RegressionContender, RegressionRun
from clearmargin.report.regression.overview import METRICS, looks
from clearmargin.report.results import plot_curve
from clearmargin.report.wording import count, fitting_digits, measured, part_title, percent, sentences, short

QUANTITIES = ("loss", "mean_absolute_error")
LARGEST_ERRORS = 12
ROWS_IN_ORDER = 150
ROWS_SORTED = 400
_SCATTER = ((2.75, 2.75), (0.18, 0.16, 0.78, 0.8))
_RESIDUALS = ((4.1, 2.9), (0.115, 0.165, 0.86, 0.73))
_LINES = ((9.0, 3.0), (0.055, 0.15, 0.935, 0.73))


@dataclass(frozen=True)
class Panel:
    """Predicted against true for a contender or a baseline."""

    name: str
    look: Look
    figure: Markup


def scatter_panels(run: RegressionRun) -> list[Panel]:
    """One panel for each contender and, where they were kept, baseline, all on the same scale."""
    return [
        Panel(
            name,
            looks(run)[name],
            inline(draw(*_SCATTER, plot), f"scatter-{k}", _scatter_label(run, name)),
        )
        for k, (name, plot) in enumerate(_scatters(run).items())
    ]


def _scatter_label(run: RegressionRun, name: str) -> str:
    """What the panel says, for those who can't see it."""
    found = {**run.evaluation["contenders"], **run.evaluation["baselines"]}[name]["metrics"]["rmse"]["value"]
    return tr(
        "{name}: predicted against true on the test rows; RMSE {value}",
        name=short(name), value=measured(found, fitting_digits([found])),
    )  # fmt: skip


def _scatters(run: RegressionRun) -> dict[str, Any]:
    said = {contender.name: contender.estimates for contender in run.contenders} | dict(run.baselines)
    ends = np.concatenate([np.concatenate([one.targets, one.values]) for one in said.values()])
    margin = 0.04 * float(np.ptp(ends)) or 1.0
    limits = float(ends.min()) - margin, float(ends.max()) + margin
    return {
        name: partial(
            plot_predicted_against_true,
            targets=one.targets, values=one.values, look=looks(run)[name], limits=limits, target=run.target,
        )
        for name, one in said.items()
    }  # fmt: skip


@dataclass(frozen=True)
class Error:
    """One of the rows with the largest errors; numbers as text."""

    name: str
    true: str
    predicted: str
    residual: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Detail:
    """What is shown about one contender's estimates."""

    residuals: tuple[Markup, ...]
    residual_sentence: str
    lines: tuple[tuple[Markup, str], ...]
    errors: tuple[Error, ...]


def details(run: RegressionRun) -> list[Detail]:
    """Residuals, lines and the largest errors of every contender."""
    return [_detail(run, contender) for contender in run.contenders]


def _detail(run: RegressionRun, contender: RegressionContender) -> Detail:
    look, name = looks(run)[contender.name], short(contender.name)
    sentence = _residual_sentence(contender)
    residuals = tuple(
        inline(
            draw(*_RESIDUALS, plot),
            f"residuals-{contender.slug}-{k}",
            tr("{name}: {figure}. {finding}", name=name, figure=label, finding=sentence),
        )
        for k, (label, plot) in enumerate(_residual_plots(contender, look))
    )
    lines = tuple(
        (
            inline(draw(*_LINES, plot), f"lines-{contender.slug}-{k}", tr("{name}: {figure}", name=name, figure=label)),
            label,
        )
        for k, (label, plot) in enumerate(_line_plots(contender, look))
    )
    return Detail(residuals, sentence, lines, _largest_errors(run, contender))


def _residual_plots(contender: RegressionContender, look: Look) -> list[tuple[str, Any]]:
    said = contender.estimates
    return [
        (
            tr("residuals against predicted"),
            partial(plot_residuals, targets=said.targets, values=said.values, look=look),
        ),
        (
            tr("histogram of residuals"),
            partial(plot_residual_histogram, residuals=said.targets - said.values, look=look),
        ),
    ]


def _residual_sentence(contender: RegressionContender) -> str:
    residuals = contender.estimates.targets - contender.estimates.values
    sizes = np.abs(residuals)
    digits = fitting_digits([float(sizes.mean())])
    middle, tail = np.quantile(sizes, [0.5, 0.9])
    mean = float(residuals.mean())
    values = {
        "half": measured(float(middle), digits),
        "most": measured(float(tail), digits),
        "mean": measured(abs(mean), digits),
    }
    if mean > 0:
        told = tr(
            "Half of the errors are below {half}, nine of ten below {most}; on average it predicts {mean} too low.",
            **values,
        )
    else:
        told = tr(
            "Half of the errors are below {half}, nine of ten below {most}; on average it predicts {mean} too high.",
            **values,
        )
    worst = np.sort(sizes**2)[::-1]
    tenth = max(1, len(sizes) // 10)
    if len(sizes) >= 20 and worst.sum() > 0:
        share = percent(float(worst[:tenth].sum() / worst.sum()), 0)
        tail_told = tr("The {n} largest errors make {share} of the squared error.", n=count(tenth), share=share)
        told = sentences(told, tail_told)
    return told


def _line_plots(contender: RegressionContender, look: Look) -> list[tuple[str, Any]]:
    """True and predicted row by row: in the order of the file, and sorted by the true value."""
    said, n = contender.estimates, len(contender.estimates.targets)
    first = np.arange(min(n, ROWS_IN_ORDER))
    order = np.argsort(said.targets, kind="stable")[evenly(n, ROWS_SORTED)]
    shown = tr("test rows, in the order of the file")
    if n > ROWS_IN_ORDER:
        shown = tr("test rows, the first {n} of {all}, in order", n=ROWS_IN_ORDER, all=count(n))
    ranked = tr("test rows, sorted by the true value")
    if n > ROWS_SORTED:
        ranked = tr("test rows, {n} of {all}, sorted by the true value", n=ROWS_SORTED, all=count(n))
    return [
        (
            label,
            partial(
                plot_rows, targets=said.targets[rows], values=said.values[rows], look=look, name=contender.name,
                xlabel=label,
            ),
        )
        for label, rows in ((shown, first), (ranked, order))
    ]  # fmt: skip


def _largest_errors(run: RegressionRun, contender: RegressionContender) -> tuple[Error, ...]:
    said = contender.estimates
    residuals = said.targets - said.values
    rows = np.argsort(-np.abs(residuals), kind="stable")[:LARGEST_ERRORS]
    digits = fitting_digits([float(np.abs(residuals).mean())])
    others = [one.values for one in _others(run, contender).values()]
    return tuple(
        Error(
            str(said.names[row]),
            measured(float(said.targets[row]), digits),
            measured(float(said.values[row]), digits),
            measured(float(residuals[row]), digits),
            tuple(measured(float(values[row]), digits) for values in others),
        )
        for row in rows
    )


def _others(run: RegressionRun, contender: RegressionContender) -> dict[str, Any]:
    said = {other.name: other.estimates for other in run.contenders if other is not contender}
    return said | dict(run.baselines)


def other_names(run: RegressionRun) -> list[list[str]]:
    """For each contender the names over the columns of what others predict for its largest errors."""
    return [list(_others(run, contender)) for contender in run.contenders]


def points_note(run: RegressionRun) -> str:
    """Say when a cloud shows only some of the rows."""
    n = run.evaluation["n"]
    if n <= MOST_POINTS:
        return ""
    return tr("Shown are {shown} of {n} rows, evenly chosen.", shown=count(MOST_POINTS), n=count(n))


@dataclass(frozen=True)
class TargetRow:
    """How the target is distributed in one part; numbers as text."""

    part: str
    name: str
    rows: int
    figures: tuple[str, ...]


def target_table(run: RegressionRun) -> list[TargetRow]:
    """Mean, standard deviation, smallest, median and largest target of each part."""
    digits = fitting_digits([float(np.abs(run.targets).mean())]) if len(run.targets) else 2
    table = []
    for part in PARTS:
        own = run.targets[(run.split_rows["part"] == part).to_numpy()]
        figures = (own.mean(), own.std(), own.min(), np.median(own), own.max()) if len(own) else (None,) * 5
        told = tuple(measured(None if figure is None else float(figure), digits) for figure in figures)
        table.append(TargetRow(part, part_title(part), len(own), told))
    return table


def input_table(run: RegressionRun) -> list[tuple[str, str, str, str]]:
    """Name, meaning, mean and standard deviation (of the training part) of every input column."""
    done = run.contenders[0].model.get("preprocessing", {})
    names, means, spreads = (done.get(key) or [] for key in ("columns", "mean", "std"))
    if not len(names) == len(means) == len(spreads):
        means = spreads = [None] * len(names)
    meanings = column_meanings(run)
    rows = []
    for name, mean, spread in zip(names, means, spreads, strict=True):
        digits = fitting_digits([spread or mean])
        rows.append((str(name), meanings.get(str(name), ""), measured(mean, digits), measured(spread, digits)))
    return rows


def column_meanings(run: RegressionRun) -> dict[str, str]:
    """What the columns mean, where the audit says so."""
    said = run.audit.get("columns")
    return {str(name): str(text) for name, text in said.items()} if isinstance(said, dict) else {}


def figure_files(run: RegressionRun) -> dict[str, Drawing]:
    """Draw the sheets for papers, as file name to SVG."""
    scatters = list(_scatters(run).values())
    across = min(3, len(scatters))
    look = looks(run)
    curves = [
        partial(plot_curve, contender, look[contender.name], quantity)
        for contender in run.contenders
        for quantity in QUANTITIES
    ]
    files = {
        "predicted-against-true.svg": draw_grid(-(-len(scatters) // across), across, (3.4, 3.6), scatters),
        "learning-curves.svg": draw_grid(len(run.contenders), 2, (4.2, 2.8), curves),
        "comparison.svg": draw_grid(2, 2, (4.2, 0.9 + 0.3 * len(look)), _estimate_plots(run)),
    }
    for contender in run.contenders:
        residuals = [plot for _, plot in _residual_plots(contender, look[contender.name])]
        files[f"residuals-{contender.slug}.svg"] = draw_grid(1, 2, (4.2, 3.0), residuals)
        lines = [plot for _, plot in _line_plots(contender, look[contender.name])]
        files[f"true-and-predicted-{contender.slug}.svg"] = draw_grid(2, 1, (9.0, 3.1), lines)
    return files


def _estimate_plots(run: RegressionRun) -> list[Any]:
    found = {**run.evaluation["contenders"], **run.evaluation["baselines"]}
    return [
        partial(
            plot_estimates,
            estimates={name: one["metrics"].get(metric.key) or {"value": None} for name, one in found.items()},
            title=metric.title,
        )
        for metric in METRICS
    ]
