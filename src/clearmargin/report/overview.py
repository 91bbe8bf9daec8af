"""The first screen: verdict and comparison."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearmargin.evaluation.intervals import FEW_GROUPS, FEWEST_GROUPS, bootstrap_method
from clearmargin.evaluation.rounds import alone, first_round
from clearmargin.evaluation.verdict import single_sentence
from clearmargin.language import tr
from clearmargin.report.figures import Look
from clearmargin.report.folder import RunFiles, StudyFiles, TrainedFiles
from clearmargin.report.verdicts import sentence
from clearmargin.report.wording import (
    count,
    decimal,
    is_number,
    large,
    listed,
    numbers,
    plural,
    points,
    probability_value,
    retold_text,
    seconds,
    sentences,
    short,
)

VERDICTS_SHOWN = 3


@dataclass(frozen=True)
class Metric:
    """A column of the comparison: its key in ``evaluation.json`` and how to read it.

    Metrics with the same ``scale`` are drawn on one; without it a metric has its own.
    """

    key: str
    english: str
    higher_is_better: bool
    lowest: float
    highest: float
    scale: str = ""

    @property
    def title(self) -> str:
        """Its name in the language of the moment; what has none there is an abbreviation."""
        return metric_title(self.english)


def metric_title(english: str) -> str:
    """The name of a metric in the language of the moment; abbreviations are the same everywhere."""
    words = {
        "Accuracy": tr("Accuracy"),
        "Balanced accuracy": tr("Balanced accuracy"),
        "Macro F1": tr("Macro F1"),
        "Log loss": tr("Log loss"),
        "Brier score": tr("Brier score"),
    }
    return words.get(english, english)


METRICS = (
    Metric("accuracy", "Accuracy", True, 0, 1, "share"),
    Metric("balanced_accuracy", "Balanced accuracy", True, 0, 1, "share"),
    Metric("macro_f1", "Macro F1", True, 0, 1, "share"),
    Metric("mcc", "MCC", True, -1, 1),
    Metric("auc", "AUC", True, 0, 1),
    Metric("log_loss", "Log loss", False, 0, math.inf),
    Metric("brier", "Brier score", False, 0, 2),
)


@dataclass(frozen=True)
class Mark:
    """A dot with its whisker on a scale that a whole column shares; places are percent of its width."""

    at: float | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Scale:
    """A numeric range that begins and ends on round numbers."""

    low: float
    high: float
    digits: int

    def place(self, value: float | None) -> float | None:
        """Where a value lies, in percent from the left, cut off at the ends."""
        if value is None or not is_number(value):
            return None
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def mark(self, metric: Mapping[str, Any]) -> Mark:
        """Place a value and its interval."""
        low, high = self.place(metric.get("low")), self.place(metric.get("high"))
        return Mark(self.place(metric.get("value")), low, high if low is not None else None)


def round_scale(
    values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf, least_span: float = 0.02
) -> Scale:
    """Find a scale of round numbers around ``values``, within ``lowest`` and ``highest``.

    It spans at least ``least_span``, so that a single value is not blown up.
    """
    if not values:
        return Scale(0.0, 1.0, 0)
    span = max(max(values) - min(values), least_span) or max(map(abs, values)) or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    step = next(step * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if step * factor * 4 >= span)
    low = max(math.floor(min(values) / step - 0.15) * step, lowest)
    high = min(math.ceil(max(values) / step + 0.15) * step, highest)
    return Scale(low, high if high > low else low + step, max(0, -math.floor(math.log10(step) + 1e-9)))


@dataclass(frozen=True)
class Column:
    """A metric's column: its scale, one cell a contender, the baseline's value, and those of references as text."""

    metric: Metric
    scale: Scale
    cells: tuple[tuple[Mapping[str, Any], Mark], ...]
    baseline: float | None
    references: tuple[str, ...]


def references(run: StudyFiles) -> list[Mapping[str, Any]]:
    """Figures from elsewhere, as the recipe gives them."""
    return list(run.evaluation.get("references") or ())


def comparison_columns(run: RunFiles) -> list[Column]:
    """Columns of the comparison table, cells in the order of the contenders."""
    baseline = run.evaluation.get("baseline", {})
    columns = []
    for metric in METRICS:
        scale = _column_scale(run, metric)
        found = [contender.result["metrics"].get(metric.key) or {} for contender in run.contenders]
        cells = tuple((cell, scale.mark(cell)) for cell in found)
        beside = tuple(
            decimal(reference["value"]) if reference["metric"] == metric.key else "" for reference in references(run)
        )
        columns.append(Column(metric, scale, cells, baseline.get(metric.key), beside))
    return columns


def _column_scale(run: RunFiles, metric: Metric) -> Scale:
    together = [other.key for other in METRICS if other is metric or (metric.scale and other.scale == metric.scale)]
    found = [c.result["metrics"].get(key) or {} for c in run.contenders for key in together]
    ends = [cell.get(key) for cell in found for key in ("value", "low", "high")]
    return round_scale(numbers(ends), metric.lowest, metric.highest)


@dataclass(frozen=True)
class Difference:
    """One pair of contenders, with where the mark of the difference goes."""

    facts: Mapping[str, Any]
    looks: tuple[Look, Look]
    mark: Mark
    difference: str
    accuracy_difference: str
    second_as_good: str


def differences(run: RunFiles) -> tuple[list[Difference], Scale]:
    """Each comparison as a row, and the scale (fractions, zero in the middle) they share."""
    found = run.evaluation["comparisons"]
    ends = [pair["difference"].get(key) for pair in found for key in ("value", "low", "high")]
    largest = max(map(abs, numbers(ends)), default=0.01)
    outer = round_scale([0.0, largest]).high
    scale = Scale(-outer, outer, 1)
    looks = {contender.name: Look(k) for k, contender in enumerate(run.contenders)}
    rows = [
        Difference(
            pair,
            (looks[pair["first"]], looks[pair["second"]]),
            scale.mark(pair["difference"]),
            _points(pair["difference"]),
            _points(pair.get("accuracy_difference") or {}),
            decimal(pair.get("p_other_at_least_as_good")),
        )
        for pair in found
    ]
    return rows, scale


def _points(difference: Mapping[str, Any]) -> str:
    if not is_number(difference.get("low")):
        return points(difference.get("value"))
    between = tr("{low} to {high}", low=points(difference["low"]), high=points(difference["high"]))
    return f"{points(difference['value'])} ({between})"


def verdict(run: RunFiles) -> tuple[list[str], int]:
    """The sentences a hurried reader takes home, and how many further ones the table of pairs holds."""
    pairs = run.evaluation["comparisons"]
    if not pairs:
        return [alone(run.evaluation, single_sentence(run.evaluation))], 0
    leader = max(run.contenders, key=lambda c: c.result["metrics"]["balanced_accuracy"]["value"] or 0).name
    told = sorted(
        pairs, key=lambda pair: (leader not in (pair["first"], pair["second"]), pair["difference"]["value"] or 0)
    )
    told_first = [alone(run.evaluation, sentence(run.evaluation, pair)) for pair in told[:VERDICTS_SHOWN]]
    return told_first, len(pairs) - len(told_first)


def contender_costs(contenders: Iterable[TrainedFiles]) -> list[dict[str, str]]:
    """Parameters and training time of each contender, in words."""
    costs = []
    for contender in contenders:
        training = contender.model["training"]
        costs.append(
            {
                "parameters": large(contender.model["parameters"]["total"]),
                "trained": large(contender.model["parameters"].get("trained")),
                "seconds": seconds((training.get("seconds") or 0) + (training.get("trunk_seconds") or 0))
                if contender.learned_here
                else "–",
            }
        )
    return costs


_EFFECT = re.compile(r" \(design effect [\d.]+\)$")  # another for each contender: too much for a note below a table


def interval_methods(run: RunFiles) -> str:
    """Say how the intervals were made, and for which metrics each way was used."""
    groups, clustered = run.evaluation.get("groups", FEW_GROUPS), run.evaluation.get("clustered", False)
    warned = {bootstrap_method(groups, clustered): bootstrap_method(FEW_GROUPS, clustered)}  # `few_groups` says it once
    methods: dict[str, dict[str, None]] = {}
    for contender in run.contenders:
        for metric in METRICS:
            cell = contender.result["metrics"].get(metric.key) or {}
            if cell.get("method"):
                method = _EFFECT.sub("", warned.get(cell["method"], cell["method"]))
                methods.setdefault(method, {})[metric.title] = None
    if len(methods) == 1:
        return retold_text(next(iter(methods)))
    return tr("; ").join(
        tr("{method} for {metrics}", method=retold_text(method), metrics=listed(list(titles)))
        for method, titles in methods.items()
    )


def few_groups(evaluation: Mapping[str, Any]) -> str:
    """What to warn of when the bootstrap has little to draw from; empty when there is enough of it."""
    groups = evaluation.get("groups", FEW_GROUPS)
    if groups >= FEW_GROUPS:
        return ""
    values = {"n": count(groups), "few": FEW_GROUPS}
    if evaluation.get("clustered"):
        return tr("Few groups in the test part ({n}, fewer than {few}): bootstrap intervals are too narrow.", **values)
    return tr("Few images in the test part ({n}, fewer than {few}): bootstrap intervals are too narrow.", **values)


def rare_class(evaluation: Mapping[str, Any]) -> str:
    """What to warn of when a class has few test images, or groups, however many there are of the others; else empty.

    The bootstrap knows no variance of a class that happens to be answered rightly throughout: intervals of figures that
    weigh classes alike are too narrow. Balanced accuracy has its interval from the classes instead.
    """
    contenders = list(evaluation["contenders"].values())
    classes = (contenders[0].get("per_class") or ()) if contenders else ()
    rows = [row for row in classes if 0 < row["groups"] < FEW_GROUPS]
    if not rows:
        return ""
    rarest = min(rows, key=lambda row: row["groups"])
    if few_groups(evaluation) and rarest["groups"] >= FEWEST_GROUPS:  # which says it of all classes
        return ""
    values = {"class_name": short(rarest["class"], 60), "n": count(rarest["groups"]), "few": FEW_GROUPS}
    if evaluation.get("clustered"):
        return tr(
            "Few groups in the test part with images of a class (“{class_name}”: {n}, fewer than {few}): intervals of "
            "macro F1, MCC and AUC are too narrow.",
            **values,
        )
    return tr(
        "Few test images of a class (“{class_name}”: {n}, fewer than {few}): intervals of macro F1, MCC and AUC are "
        "too narrow.",
        **values,
    )


def sample_size(evaluation: Mapping[str, Any]) -> str:
    """How precise the accuracy is, and how many images would make it more so; empty where it was not computed."""
    found = evaluation.get("sample_size")
    if not found:
        return ""
    needed = tr(
        "±5 points would need {five} images, ±3 points {three}.",
        five=count(found["n_for_5_points"]),
        three=count(found["n_for_3_points"]),
    )
    if not is_number(found.get("accuracy_half_width")):
        return needed
    reach = decimal(100 * found["accuracy_half_width"], 1)
    return sentences(tr("The interval of the accuracy reaches ±{points} points.", points=reach), needed)


def table_caption(evaluation: Mapping[str, Any], noun: str) -> str:
    """What the table of the comparison shows."""
    told = first_round(evaluation)
    values = {
        "things": plural(evaluation["n"], noun),
        "percent": f"{100 * evaluation.get('confidence', 0.95):g}",
        "round": retold_text(told),
    }
    if not told:
        return tr("On {things} of the test part, each value with its {percent} % interval", **values)
    if told.startswith("seed"):
        return tr("With {round}, on {things} of the test part, each value with its {percent} % interval", **values)
    return tr("On {round}, on {things} of the test part, each value with its {percent} % interval", **values)


def p_values(pair: Mapping[str, Any], pairs: int) -> tuple[str, str]:
    """P-value of a pair, and after Holm's correction (empty for a single pair)."""
    raw = pair.get("p_value", pair.get("mcnemar_mid_p"))
    return probability_value(raw), probability_value(pair.get("p_holm")) if pairs > 1 else ""
