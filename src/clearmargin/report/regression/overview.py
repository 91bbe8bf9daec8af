"""The first screen of a regression: verdict, comparison with the baselines, differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clearmargin.evaluation.rounds import alone
from clearmargin.language import tr
from clearmargin.report.figures import Look
from clearmargin.report.overview import Mark, Metric, Scale, p_values, references, round_scale
from clearmargin.report.regression.folder import RegressionRun
from clearmargin.report.verdicts import sentence
from clearmargin.report.wording import fitting_digits, listed, measured, numbers, plural, retold_text, sentences

VERDICTS_SHOWN = 4
FEW_TEST_ROWS = 100
METRICS = (
    Metric("rmse", "RMSE", False, 0, math.inf),
    Metric("mae", "MAE", False, 0, math.inf),
    Metric("mse", "MSE", False, 0, math.inf),
    Metric("r2", "R²", True, -math.inf, 1),
)


@dataclass(frozen=True)
class Cell:
    """A figure with its interval as text, and its mark."""

    value: str
    interval: str
    mark: Mark


@dataclass(frozen=True)
class Column:
    """A metric's column: ends of its scale, one cell a row of the table, and one text for each reference."""

    metric: Metric
    low: str
    high: str
    cells: tuple[Cell, ...]
    references: tuple[str, ...]


def looks(run: RegressionRun) -> dict[str, Look]:
    """Colour and marker of every contender and baseline, by name, the same everywhere."""
    return {name: Look(k) for k, name in enumerate([*run.evaluation["contenders"], *run.evaluation["baselines"]])}


def columns(run: RegressionRun) -> list[Column]:
    """Columns of the comparison, cells in the order of `looks`."""
    found = [*run.evaluation["contenders"].values(), *run.evaluation["baselines"].values()]
    return [_column(run, metric, [one["metrics"].get(metric.key) or {} for one in found]) for metric in METRICS]


def _column(run: RegressionRun, metric: Metric, figures: list[Mapping[str, Any]]) -> Column:
    scale = round_scale(
        numbers(figure.get(key) for figure in figures for key in ("value", "low", "high")),
        metric.lowest,
        metric.highest,
        least_span=0.02 if metric.key == "r2" else 0.0,
    )
    digits = 3 if metric.key == "r2" else fitting_digits(figure.get("value") for figure in figures)
    ends = scale.digits if digits is not None else None
    return Column(
        metric,
        measured(scale.low, ends),
        measured(scale.high, ends),
        tuple(_cell(figure, scale, digits) for figure in figures),
        tuple(
            measured(reference["value"], digits) if reference["metric"] == metric.key else ""
            for reference in references(run)
        ),
    )


def _cell(figure: Mapping[str, Any], scale: Scale, digits: int | None) -> Cell:
    low, high = (measured(figure.get(key), digits) for key in ("low", "high"))
    between = tr("({low} to {high})", low=low, high=high) if figure.get("low") is not None else ""
    return Cell(measured(figure.get("value"), digits), between, scale.mark(figure))


def verdict(run: RegressionRun) -> tuple[list[str], int]:
    """The sentences a hurried reader takes home, and how many further ones the table of pairs holds.

    The contender with the lowest RMSE against the others, then against the baselines, the strongest first; of a study
    that was repeated, these sentences are those of `clearmargin.report.repeats`.
    """
    best = min(run.contenders, key=lambda contender: contender.result["metrics"]["rmse"]["value"])
    told = [pair for pair in run.evaluation["comparisons"] if best.name in (pair["first"], pair["second"])]
    told.sort(key=lambda pair: (pair["baseline"] is not None, _rmse(run, pair, best.name)))
    shown = 0 if run.evaluation.get("repeats") else VERDICTS_SHOWN  # what many splits say comes before what one does
    pairs = [sentence(run.evaluation, pair) for pair in told[:shown]]
    return [alone(run.evaluation, _reached(run, best.name)), *pairs], len(run.evaluation["comparisons"]) - len(pairs)


def _rmse(run: RegressionRun, pair: Mapping[str, Any], best: str) -> float:
    other = pair["second"] if pair["first"] == best else pair["first"]
    found = {**run.evaluation["contenders"], **run.evaluation["baselines"]}[other]
    return float(found["metrics"]["rmse"]["value"])


def _reached(run: RegressionRun, name: str) -> str:
    found = run.evaluation["contenders"][name]["metrics"]["rmse"]
    digits = fitting_digits([found["value"]])
    figures = {key: measured(found[key], digits) for key in ("value", "low", "high")}
    reached = tr("{value} ({low} to {high})", **figures) if found["low"] is not None else figures["value"]
    elsewhere = listed([
        tr("{name} {value}", name=reference["name"], value=measured(reference["value"], digits))
        for reference in references(run)
        if reference["metric"] == "rmse"
    ])  # fmt: skip
    reference = tr("For reference: {values}.", values=elsewhere) if elsewhere else ""
    told = tr(
        "{name} predicts {target} with an RMSE of {value} on {rows} of one split.",
        name=name, target=run.target, value=reached, rows=plural(run.evaluation["n"], "test row"),
    )  # fmt: skip
    return sentences(told, reference)


@dataclass(frozen=True)
class Difference:
    """One pair, with where the mark of its difference goes."""

    facts: Mapping[str, Any]
    looks: tuple[Look, Look]
    mark: Mark
    rmse: str
    mae: str
    p: tuple[str, str]


def differences(run: RegressionRun) -> tuple[list[Difference], tuple[str, str]]:
    """Each comparison as a row, and the ends of the scale (zero in the middle) they share."""
    found = run.evaluation["comparisons"]
    ends = numbers(pair["difference"].get(key) for pair in found for key in ("value", "low", "high"))
    outer = round_scale([0.0, max(map(abs, ends), default=1.0)], least_span=0.0)
    scale = Scale(-outer.high, outer.high, outer.digits)
    look = looks(run)
    rows = [
        Difference(
            pair,
            (look[pair["first"]], look[pair["second"]]),
            scale.mark(pair["difference"]),
            _between(pair["difference"]),
            _between(pair["mae_difference"]),
            p_values(pair, len(found)),
        )
        for pair in found
    ]
    digits = outer.digits if fitting_digits([outer.high]) is not None else None
    return rows, (measured(scale.low, digits), measured(scale.high, digits))


def _between(difference: Mapping[str, Any]) -> str:
    ends = numbers(difference[key] for key in ("value", "low", "high"))
    digits = fitting_digits([max(map(abs, ends))])
    value, *limits = (measured(end, digits) for end in ends)
    return tr("{value} ({low} to {high})", value=value, low=limits[0], high=limits[1]) if limits else value


def interval_methods(run: RegressionRun) -> str:
    """How the intervals were made."""
    found = [*run.evaluation["contenders"].values(), *run.evaluation["baselines"].values()]
    methods = {
        figure["method"]: None for one in found for figure in one["metrics"].values() if figure["low"] is not None
    }
    return tr("; ").join(map(retold_text, methods))
