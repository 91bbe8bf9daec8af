"""The price of leakage: what the same cheap classifier reaches on splits that leak, and on one that does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from clearmargin.language import tr, using
from clearmargin.report.drawing import Drawing, draw, inline, language_of_files, write_drawings
from clearmargin.report.figures import INK, MUTED, RIGHT, WRONG, finished
from clearmargin.report.folder import StudyFiles
from clearmargin.report.overview import Mark, Scale, round_scale
from clearmargin.report.wording import (
    capitalized,
    decimal,
    estimate,
    is_number,
    listed,
    numbers,
    plural,
    points,
    retold_text,
)

CLEAN = "leak-free"
_TEXT_SIZE = 9.0
_WIDTH = 4.6


@dataclass(frozen=True)
class Copied:
    """Accuracy on test images with, or without, a copy in training."""

    n: float
    text: str
    mark: Mark


@dataclass(frozen=True)
class SplitRow:
    """One way of splitting."""

    name: str
    clean: bool
    n_test: float | None
    accuracy: str
    with_copy: Copied | None
    without_copy: Copied | None


@dataclass(frozen=True)
class Control:
    """The same classifier on shuffled labels; ``chance_at`` is percent of its scale."""

    text: str
    chance: str
    holds: bool
    sentence: str
    mark: Mark
    chance_at: float | None


@dataclass(frozen=True)
class Price:
    """What the section shows."""

    headline: str
    classifier: str
    sentences: tuple[str, ...]
    figure: Markup
    rows: tuple[SplitRow, ...]
    scale: Scale
    control: Control | None
    made: str

    @property
    def by_copies(self) -> bool:
        return any(row.with_copy or row.without_copy for row in self.rows)


def price_of_leakage(run: StudyFiles) -> Price | None:
    """Arrange the content of ``leakage.json`` and write ``figures/leakage.svg``; None where it was not measured."""
    leakage = run.leakage
    if leakage is None:
        return None
    splits = leakage["splits"]
    accuracies = [row["accuracy"] for row in splits]
    copied = [part["accuracy"] for row in splits for part in _by_copies(row) if part and part.get("accuracy")]
    scale = round_scale(_ends([*accuracies, *copied]), 0, 1)
    difference = leakage.get("difference") or {}
    elsewhere = {difference.get("sentence"), (leakage.get("control") or {}).get("sentence")}
    said = [sentence for sentence in leakage.get("sentences") or [] if sentence not in elsewhere]
    svg = draw_price(leakage)
    with using(language_of_files()):
        write_drawings(run.folder / "figures", {"leakage.svg": draw_price(leakage)})
    return Price(
        headline=difference.get("sentence", ""),
        classifier=_introduced(leakage),
        sentences=(*said, *(leakage.get("notes") or [])),
        figure=inline(svg, "leakage", _described(splits)),
        rows=tuple(_row(row, scale) for row in splits),
        scale=scale,
        control=_control(leakage.get("control")),
        made=_made(leakage),
    )


def _by_copies(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("with_copy"), row.get("without_copy")


def _ends(figures: Sequence[Mapping[str, Any]]) -> list[float]:
    return numbers(figure.get(key) for figure in figures for key in ("value", "low", "high"))


def _name(row: Mapping[str, Any]) -> str:
    names = {
        "given": tr("the given parts"),
        "random": tr("a random split"),
        "copies together": tr("only copies together"),
        "leak-free": tr("the leak-free split"),
    }
    return names.get(row["split"], str(row["split"]))


def _described(splits: Sequence[Mapping[str, Any]]) -> str:
    """What the figure says, for those who can't see it."""
    told = [
        tr("{split} {value}", split=_name(row), value=estimate(row["accuracy"]))
        for row in splits
    ]  # fmt: skip
    return tr("The price of leakage, accuracy: {values}", values=listed(told))


def _row(row: Mapping[str, Any], scale: Scale) -> SplitRow:
    copied = [
        Copied(part["n"], _said(part.get("accuracy") or {}), scale.mark(part.get("accuracy") or {})) if part else None
        for part in _by_copies(row)
    ]
    return SplitRow(_name(row), row["split"] == CLEAN, row.get("n_test"), estimate(row["accuracy"]), *copied)


def _control(control: Mapping[str, Any] | None) -> Control | None:
    if control is None:
        return None
    scale = Scale(0.0, 1.0, 0)
    return Control(
        estimate(control["accuracy"]),
        decimal(control["chance"]),
        control["holds"],
        control["sentence"],
        scale.mark(control["accuracy"]),
        scale.place(control["chance"]),
    )


def _made(leakage: Mapping[str, Any]) -> str:
    seeds = leakage.get("seeds") or []
    told = []
    if leakage.get("features"):
        told.append(tr("features: {features}", features=retold_text(leakage["features"])))
    if leakage.get("classifier"):
        told.append(tr("classifier: {classifier}", classifier=retold_text(leakage["classifier"])))
    if seeds:
        told.append(tr("over {rounds}", rounds=plural(len(seeds), "seed")))
    if methods := _methods(leakage):
        told.append(tr("intervals: {methods}", methods=methods))
    return tr("{text}.", text=capitalized(tr("; ").join(told))) if told else ""


def _methods(leakage: Mapping[str, Any]) -> str:
    """How the intervals were made; where not all in one way, for which figures."""
    figures = {_name(row): row["accuracy"] for row in leakage["splits"]}
    for row in leakage["splits"]:
        parts = zip(_names_by_copies(row), _by_copies(row), strict=True)
        figures.update({name: part.get("accuracy") or {} for name, part in parts if part})
    if leakage.get("difference"):
        figures[tr("the difference")] = leakage["difference"]
    if leakage.get("control"):
        figures[tr("the control")] = leakage["control"]["accuracy"]
    named: dict[str, list[str]] = {}
    for name, figure in figures.items():
        if is_number(figure.get("low")) and figure.get("method"):
            named.setdefault(figure["method"], []).append(name)
    if len(named) < 2:
        return "".join(map(retold_text, named))
    return tr("; ").join(
        tr("{method} for {metrics}", method=retold_text(method), metrics=listed(names))
        for method, names in named.items()
    )


def _names_by_copies(row: Mapping[str, Any]) -> tuple[str, str]:
    return tr("{split} with a copy", split=_name(row)), tr("{split} without", split=_name(row))


def _said(figure: Mapping[str, Any]) -> str:
    """A figure with its interval, or the words that it has none, and why."""
    if is_number(figure.get("low")) or not is_number(figure.get("value")):
        return estimate(figure)
    why = re.sub(r"^(none|no interval)\W*", "", str(figure.get("method") or ""))
    value = decimal(figure["value"])
    if not why:
        return tr("{value} (no interval)", value=value)
    return tr("{value} (no interval: {reason})", value=value, reason=retold_text(why))


def _introduced(leakage: Mapping[str, Any]) -> str:
    """Who was measured: none of the contenders, but a simple classifier."""
    how = str(leakage.get("classifier") or "").removesuffix(" on standardised features")
    features = str(leakage.get("features") or "").split(",")[0]  # the whole of it stands below
    if how and features:
        values = {"classifier": retold_text(how), "features": retold_text(features)}
        return tr("a simple classifier ({classifier} on features of {features})", **values)
    if how or features:
        return tr("a simple classifier ({classifier})", classifier=retold_text(how or features))
    return tr("a simple classifier")


def draw_price(leakage: Mapping[str, Any]) -> Drawing:
    """Draw accuracy under each split on one scale, with the gap between the two that are compared, as SVG."""
    height = 1.05 + 0.48 * len(leakage["splits"])
    box = (0.28, 0.5 / height, 0.68, 1 - 0.62 / height)
    return draw((_WIDTH, height), box, lambda axes: plot_price(axes, leakage["splits"], leakage.get("difference")))


def plot_price(axes: Axes, splits: Sequence[Mapping[str, Any]], difference: Mapping[str, Any] | None) -> Axes:
    """Plot a dot with its interval for every split, first on top; squares leak, the disc does not."""
    scale = round_scale(_ends([row["accuracy"] for row in splits]), 0, 1)
    for place, row in enumerate(splits):
        clean, found = row["split"] == CLEAN, row["accuracy"]
        color, marker = (RIGHT, "o") if clean else (WRONG, "s")
        if is_number(found.get("low")) and is_number(found.get("high")):
            axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=1.8, solid_capstyle="butt")
        if is_number(found.get("value")):
            axes.plot([found["value"]], [place], color=color, marker=marker, markersize=8, linestyle="none")
            axes.annotate(
                decimal(found["value"]), (found["value"], place), xytext=(0, 7), textcoords="offset points",
                ha="center", va="bottom", color=INK, fontsize=_TEXT_SIZE, fontweight="bold",
            )  # fmt: skip
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(len(splits) + 0.1, -0.75)
    _gap(axes, splits, difference)
    axes.set_yticks(range(len(splits)), labels=[_name(row) for row in splits])
    axes.set_xlabel(tr("accuracy on test images"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{max(scale.digits, 2)}f}"))
    return finished(axes)


def _gap(axes: Axes, splits: Sequence[Mapping[str, Any]], difference: Mapping[str, Any] | None) -> None:
    """An arrow below the rows, from the accuracy of one split to that of the other, with the difference in words."""
    place = {row["split"]: number for number, row in enumerate(splits)}
    if not difference or not {difference["first"], difference["second"]} <= set(place):
        return
    rows = [place[difference[which]] for which in ("first", "second")]
    ends = [splits[row]["accuracy"].get("value") for row in rows]
    if not all(is_number(end) for end in ends):
        return
    floor = len(splits) - 0.42
    for row, end in zip(rows, ends, strict=True):
        axes.plot([end, end], [row, floor], color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    arrow = {"arrowstyle": "<->", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (ends[0], floor), (ends[1], floor), arrowprops=arrow)
    ends_told = {key: points(difference.get(key)) for key in ("value", "low", "high")}
    told = tr("{value} points", **ends_told)
    if is_number(difference.get("low")):
        told = tr("{value} points ({low} to {high})", **ends_told)
    middle = axes.transLimits.transform((sum(ends) / 2, 0))[0]
    axes.text(
        min(max(middle, 0.32), 0.68), floor + 0.12, told,
        transform=axes.get_yaxis_transform(), ha="center", va="top", color=INK, fontsize=_TEXT_SIZE,
    )  # fmt: skip
