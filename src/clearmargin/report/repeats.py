"""A study repeated over seeds: table and dots, for any task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from clearmargin.evaluation.repeats_verdict import METRICS
from clearmargin.evaluation.spread import spread_in_words
from clearmargin.language import tr
from clearmargin.report.drawing import draw, draw_grid, inline
from clearmargin.report.figures import Look
from clearmargin.report.folder import StudyFiles
from clearmargin.report.overview import p_values
from clearmargin.report.strips import Strip, plot_seeds
from clearmargin.report.verdicts import repeats_sentence
from clearmargin.report.wording import (
    capitalized,
    fitting_digits,
    is_number,
    listed,
    measured,
    numbers,
    plural,
    retold_text,
    sentences,
    short,
)

SENTENCES = 3
_WIDTH, _LEFT = 5.4, 0.3
IN_UNITS = {"rmse", "mae", "mse", "log_loss", "errors"}  # the others are shares
# What values a metric can have; those that are not named are shares from 0 to 1.
RANGES = {
    "mcc": (-1.0, 1.0),
    "r2": (-math.inf, 1.0),
    **dict.fromkeys(IN_UNITS, (0.0, math.inf)),
}
_ROUNDING = 1e-9  # a spread below is that of the arithmetic


@dataclass(frozen=True)
class Summary:
    """One metric of one contender over the seeds; numbers as text."""

    mean: str
    sd: str
    interval: str
    range: str


@dataclass(frozen=True)
class Row:
    """One contender or baseline."""

    name: str
    look: Look
    cells: tuple[Summary, ...]


@dataclass(frozen=True)
class Pair:
    """One comparison over the seeds; numbers as text."""

    facts: Mapping[str, Any]
    looks: tuple[Look, Look]
    difference: str
    p: tuple[str, str]


@dataclass(frozen=True)
class Repeats:
    """What the page shows of a repeated study."""

    unit: str
    seeds: int
    titles: tuple[str, ...]
    rows: tuple[Row, ...]
    references: tuple[tuple[str, tuple[str, ...]], ...]
    sentences: tuple[str, ...]
    pairs: tuple[Pair, ...]
    figure: Markup
    same_test: bool
    method: str
    headline: str
    note: str
    legend: str
    spread: tuple[str, ...]


def repeats(run: StudyFiles, looks: Mapping[str, Look]) -> Repeats | None:
    """Arrange ``evaluation.json``'s repeats, if there are any; ``looks`` are those of the rest of the page."""
    found = run.evaluation.get("repeats")
    if not found:
        return None
    summaries = {**found["contenders"], **found["baselines"]}
    shown = [metric for metric in found["metrics"] if metric != "errors"][:4]
    digits = {metric: _digits(metric, summaries) for metric in shown}
    own = {name: looks.get(name, Look(len(looks) + k)) for k, name in enumerate(summaries)}
    pairs, unit = found["comparisons"], _unit(found)
    return Repeats(
        unit=unit,
        seeds=_rounds(found),
        titles=tuple(title(metric) for metric in shown),
        rows=tuple(
            Row(name, own[name], tuple(_summary(_within(metric, one[metric]), digits[metric]) for metric in shown))
            for name, one in summaries.items()
        ),
        references=tuple(
            (reference["name"], tuple(_reference(reference, metric, digits[metric]) for metric in shown))
            for reference in _references(run, shown)
        ),
        sentences=_sentences(run.evaluation),
        pairs=tuple(
            Pair(
                pair,
                (own[pair["first"]], own[pair["second"]]),
                _difference(_within_difference(shown[0], pair["difference"])),
                p_values(pair, len(pairs)),
            )
            for pair in pairs
        ),
        figure=inline(_draw(run, own), "seeds", _described(shown[0], found, summaries, digits[shown[0]])),
        same_test=bool(found.get("same_test")),
        method=_method(found),
        headline=_headline(run, shown[0], digits[shown[0]]),
        note=found.get("note") or "",
        legend=_legend(found),
        spread=tuple(spread_in_words(found)) if "varied" in found else (),
    )


def _within(metric: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with the limits of the interval cut off where the metric ends."""
    return _cut_off(figures, *RANGES.get(metric, (0.0, 1.0)))


def _within_difference(metric: str, difference: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a difference between two values of the metric."""
    lowest, highest = RANGES.get(metric, (0.0, 1.0))
    return _cut_off(difference, lowest - highest, highest - lowest)


def _cut_off(figures: Mapping[str, Any], lowest: float, highest: float) -> dict[str, Any]:
    limits = {key: min(max(figures[key], lowest), highest) for key in ("low", "high") if is_number(figures.get(key))}
    return {**figures, **limits}


def _method(found: Mapping[str, Any]) -> str:
    """How intervals and p-values were made, and that what lies beyond the range of a metric is not shown."""
    pairs = found["comparisons"]
    if not pairs:
        return ""
    parts = [*found["contenders"].values(), *found["baselines"].values()]
    cut = any(_within(metric, one[metric]) != one[metric] for one in parts for metric in found["metrics"])
    cut |= any(_within_difference(found["metrics"][0], pair["difference"]) != pair["difference"] for pair in pairs)
    method = next((pair["p_method"] for pair in pairs if is_number(pair["p_value"])), "")
    note = tr("intervals are cut off where the metric ends (evaluation.json has them whole)") if cut else ""
    return tr("; ").join(filter(None, [retold_text(method), note]))


def _rounds(found: Mapping[str, Any]) -> int:
    """How often the study was done."""
    return int(found.get("rounds", len(found["seeds"])))


def title(metric: str) -> str:
    """A metric's name at the head of a column."""
    return capitalized(metric_name(metric))


def metric_name(metric: str) -> str:
    """A metric's name in the middle of a sentence."""
    words = {
        "accuracy": tr("accuracy"),
        "balanced_accuracy": tr("balanced accuracy"),
        "macro_f1": tr("macro F1"),
        "log_loss": tr("log loss"),
        "errors": tr("errors"),
    }
    return words.get(metric, METRICS[metric][0])


def _described(metric: str, found: Mapping[str, Any], summaries: Mapping[str, Any], digits: int | None) -> str:
    """What the figure says, for those who can't see it."""
    means = [
        tr("{name} {value}", name=short(name), value=_spread(one[metric], digits)) for name, one in summaries.items()
    ]
    values = {"metric": title(metric), "rounds": plural(_rounds(found), _unit(found)), "values": listed(means)}
    return tr("{metric} of every contender over {rounds}, mean ± standard deviation: {values}", **values)


def _unit(found: Mapping[str, Any]) -> str:
    return str(found.get("unit", "seed"))


def _digits(metric: str, summaries: Mapping[str, Any]) -> int | None:
    """Decimals that suit the means, and up to two more when the smallest standard deviation needs them."""
    found = [one[metric] for one in summaries.values()]
    digits = fitting_digits(one["mean"] for one in found) if metric in IN_UNITS else 3
    spreads = [spread for spread in numbers(one["sd"] for one in found) if spread > _ROUNDING]
    if digits is None or not spreads:
        return digits
    needed = -math.floor(math.log10(min(spreads) / 3))  # one significant digit, two where it would be a 1 or a 2
    return min(max(digits, needed), digits + 2)


def _summary(figures: Mapping[str, Any], digits: int | None) -> Summary:
    mean, sd, low, high, least, most = (
        measured(figures.get(key), digits) for key in ("mean", "sd", "low", "high", "min", "max")
    )
    between = tr("({low} to {high})", low=low, high=high) if is_number(figures.get("low")) else ""
    return Summary(mean, sd, between, tr("{low} to {high}", low=least, high=most))


def _references(run: StudyFiles, shown: Sequence[str]) -> list[Mapping[str, Any]]:
    return [one for one in run.evaluation.get("references") or () if one["metric"] in shown]


def _reference(reference: Mapping[str, Any], metric: str, digits: int | None) -> str:
    return measured(reference["value"], digits) if reference["metric"] == metric else ""


def _sentences(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """The best contender against the others, then against the baselines, the strongest first."""
    found = evaluation["repeats"]
    leader = _best(found, "contenders")
    if leader is None:
        return ()

    def lead(pair: Mapping[str, Any]) -> tuple[bool, float]:
        ahead = pair["difference"]["value"]
        return pair["baseline"] is not None, ahead if pair["first"] == leader else -ahead

    told = [pair for pair in found["comparisons"] if leader in (pair["first"], pair["second"])]
    return tuple(repeats_sentence(evaluation, pair) for pair in sorted(told, key=lead)[:SENTENCES])


def _best(found: Mapping[str, Any], kind: str) -> str | None:
    """The contender (or baseline) with the best mean of the first metric."""
    metric = found["metrics"][0]
    sign = -1 if METRICS[metric][1] else 1
    means = {name: one[metric]["mean"] for name, one in found[kind].items() if is_number(one[metric]["mean"])}
    return min(means, key=lambda name: sign * means[name]) if means else None


def _difference(difference: Mapping[str, Any]) -> str:
    ends = numbers(difference[key] for key in ("value", "low", "high"))
    digits = fitting_digits([max(map(abs, ends))])
    value, *limits = (measured(end, digits) for end in ends)
    return tr("{value} ({low} to {high})", value=value, low=limits[0], high=limits[1]) if limits else value


def _headline(run: StudyFiles, metric: str, digits: int | None) -> str:
    """One sentence for the first screen: mean and spread of the best contender, and of the best baseline."""
    found = run.evaluation["repeats"]
    leader, floor = _best(found, "contenders"), _best(found, "baselines")
    if leader is None:
        return ""
    values = {
        "rounds": plural(_rounds(found), _unit(found)),
        "name": leader,
        "metric": metric_name(metric),
        "value": _spread(found["contenders"][leader][metric], digits),
    }
    if floor is None:
        return tr("Over {rounds}, {name} has a mean {metric} of {value} (mean ± standard deviation).", **values)
    return tr(
        "Over {rounds}, {name} has a mean {metric} of {value}; the best baseline, {baseline}, {floor} "
        "(mean ± standard deviation).",
        **values, baseline=floor, floor=_spread(found["baselines"][floor][metric], digits),
    )  # fmt: skip


def _spread(figures: Mapping[str, Any], digits: int | None) -> str:
    mean, sd = measured(figures["mean"], digits), measured(figures["sd"], digits)
    return f"{mean} ± {sd}" if is_number(figures["sd"]) else mean


def _strips(run: StudyFiles, metric: str, looks: Mapping[str, Look]) -> list[Strip]:
    found = run.evaluation["repeats"]
    summaries = {**found["contenders"], **found["baselines"]}
    return [_strip(name, looks[name], one[metric]) for name, one in summaries.items()]


def _strip(name: str, look: Look, figures: Mapping[str, Any]) -> Strip:
    whole = [row for row in figures.get("trained") or () if len(numbers(row)) == len(row)]
    if not whole:
        return Strip(name, look, np.array(numbers(figures["values"])))
    trained = np.array(whole, dtype=np.float64)
    return Strip(name, look, trained.mean(axis=1), trained)


def _plot(run: StudyFiles, metric: str, looks: Mapping[str, Look]) -> Any:
    beside = {one["name"]: one["value"] for one in _references(run, [metric])}
    found = run.evaluation["repeats"]
    heading = _heading(_unit(found), metric=title(metric), n=_rounds(found))
    strips = _strips(run, metric, looks)
    return lambda axes: plot_seeds(axes, strips, heading, beside)


def _heading(unit: str, **values: object) -> str:
    if unit == "fold":
        return tr("{metric}, one dot a fold ({n})", **values)
    if unit == "initialisation":
        return tr("{metric}, one dot an initialisation ({n})", **values)
    return tr("{metric}, one dot a seed ({n})", **values)


def _legend(found: Mapping[str, Any]) -> str:
    """What the marks of the figure are."""
    unit, trained = _unit(found), found.get("initialisations", 1)
    if trained > 1:
        own = tr("Rings: initialisations of one split, on its line; their mean is a dot.")
        return sentences(own, tr("Bar: the mean of all."))
    if unit == "initialisation":
        return tr("Dots: initialisations; bar: their mean.")
    return tr("Dots: folds; bar: their mean.") if unit == "fold" else tr("Dots: seeds; bar: their mean.")


def _draw(run: StudyFiles, looks: Mapping[str, Look]) -> str:
    height = 0.85 + 0.42 * len(looks)
    box = (_LEFT, 0.3 / height, 0.98 - _LEFT, 1 - 0.85 / height)
    return draw((_WIDTH, height), box, _plot(run, run.evaluation["repeats"]["metrics"][0], looks))


def figure_files(run: StudyFiles, looks: Mapping[str, Look]) -> dict[str, str]:
    """Draw the sheet for papers, if the study was repeated."""
    found = run.evaluation.get("repeats")
    if not found:
        return {}
    own = {name: looks.get(name, Look(k)) for k, name in enumerate({**found["contenders"], **found["baselines"]})}
    plots = [_plot(run, metric, own) for metric in found["metrics"][:4]]
    return {"seeds.svg": draw_grid(math.ceil(len(plots) / 2), min(2, len(plots)), (5.6, 0.9 + 0.4 * len(own)), plots)}
