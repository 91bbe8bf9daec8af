"""What contenders know that they don't know: prediction sets, withheld answers, and images unlike all they learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from clearmargin.language import tr
from clearmargin.report.confidence_figures import Line, plot_risk_coverage
from clearmargin.report.drawing import Drawing, draw, draw_grid, inline
from clearmargin.report.figures import Look
from clearmargin.report.folder import RunFiles
from clearmargin.report.wording import count, decimal, estimate, interval, is_number, percent, plural, sentences

SIZES_NAMED = 4  # sets of more classes are counted together
_RISK = ((5.4, 3.0), (0.12, 0.16, 0.85, 0.72))


@dataclass(frozen=True)
class Sets:
    """Prediction sets of one contender; numbers as text, ``sizes`` as shares of the samples."""

    name: str
    look: Look
    sentence: str
    coverage: str
    expected: str
    mean_size: str
    sizes: tuple[str, ...]
    worst: str
    note: str


@dataclass(frozen=True)
class Withheld:
    """What one contender answers, and what it withholds; numbers as text."""

    name: str
    look: Look
    sentence: str
    threshold: str
    answered: str
    error: str
    area: str
    note: str


@dataclass(frozen=True)
class Gate:
    """What one contender calls unlike its training part; numbers as text, ``found`` by kind of made-up image."""

    name: str
    look: Look
    sentence: str
    threshold: str
    meant: str
    false_alarms: str
    found: Mapping[str, str]
    note: str


@dataclass(frozen=True)
class Knowing:
    """What the page shows of all three; ``titles`` head the columns of set sizes, ``kinds`` those of made-up images.

    ``ring`` tells whether the figure marks a threshold.
    """

    sets: tuple[Sets, ...]
    titles: tuple[str, ...]
    withheld: tuple[Withheld, ...]
    figure: Markup
    ring: bool
    gates: tuple[Gate, ...]
    kinds: Mapping[str, str]


def knowing(run: RunFiles) -> Knowing | None:
    """Arrange the blocks ``conformal``, ``abstention`` and ``gate`` of ``evaluation.json``; None without any."""
    sets, withheld, gates = (_blocks(run, key) for key in ("conformal", "abstention", "gate"))
    if not sets and not withheld and not gates:
        return None
    lines = _lines(withheld)
    description = tr("Share of mistakes among the answers given, over the share of images that get one")
    figure = inline(draw(*_RISK, _plot(lines)), "abstention", description) if lines else Markup()
    most = min(SIZES_NAMED, len(run.evaluation["classes"]))
    return Knowing(
        tuple(_sets(name, look, found, most) for name, look, found in sets),
        (*map(str, range(most)), str(most) if most == len(run.evaluation["classes"]) else f"{most}+"),
        tuple(_withheld(name, look, found) for name, look, found in withheld),
        figure,
        any(line.mark is not None for line in lines),
        tuple(_gate(name, look, found) for name, look, found in gates),
        {one["kind"]: _kind(one["kind"]) for _, _, found in gates for one in found["detected"]},
    )


def figure_files(run: RunFiles) -> dict[str, Drawing]:
    """Draw the sheet for papers, if there is anything to draw."""
    lines = _lines(_blocks(run, "abstention"))
    return {"abstention.svg": draw_grid(1, 1, (5.6, 3.4), [_plot(lines)])} if lines else {}


def _blocks(run: RunFiles, key: str) -> list[tuple[str, Look, Mapping[str, Any]]]:
    found = [(c.name, Look(k), c.result.get(key)) for k, c in enumerate(run.contenders)]
    return [(name, look, block) for name, look, block in found if block]


def _plot(lines: Sequence[Line]) -> Any:
    return partial(plot_risk_coverage, lines=lines, title=tr("Mistakes among the answers given"))


def _lines(blocks: Sequence[tuple[str, Look, Mapping[str, Any]]]) -> list[Line]:
    lines = []
    for name, look, found in blocks:
        curve = np.array(found["curve"], dtype=np.float64).reshape(-1, 2)
        answered, error = _share_answered(found), found["error"]["value"]
        mark = (answered, error) if found["threshold"] is not None and answered and is_number(error) else None
        if len(curve):
            lines.append(Line(name, look, curve[:, 0], curve[:, 1], mark))
    return lines


def _share_answered(found: Mapping[str, Any]) -> float:
    return float(found["accepted"] / max(1, found["accepted"] + found["abstained"]))


def _sets(name: str, look: Look, found: Mapping[str, Any], most: int) -> Sets:
    total = max(1, sum(found["sizes"]))
    counts = [*found["sizes"], *([0] * most)]
    shares = [*counts[:most], sum(counts[most:])]
    defined = [one for one in found["per_class"] if is_number(one["coverage"])]
    worst = min(defined, key=lambda one: one["coverage"], default=None)
    sentence = tr(
        "The sets of {name} hold the true class in {coverage} of the images (promised: {promised}), with {size} "
        "classes on average.",
        name=name,
        coverage=percent(found["coverage"]["value"]),
        promised=percent(1 - found["error_rate"], 0),
        size=decimal(found["mean_size"], 2),
    )
    return Sets(
        name, look, sentence, estimate(found["coverage"]), interval(found["expected_low"], found["expected_high"]),
        decimal(found["mean_size"], 2), tuple(percent(share / total) for share in shares),
        "" if worst is None else tr("{label}: {value}", label=worst["class"], value=decimal(worst["coverage"])),
        found.get("note") or "",
    )  # fmt: skip


def _withheld(name: str, look: Look, found: Mapping[str, Any]) -> Withheld:
    values = {
        "name": name,
        "answered": percent(_share_answered(found)),
        "error": percent(found["error"]["value"]),
        "target": percent(found["target_error"], 0),
        "withheld": plural(found["abstained"], "image"),
    }
    if found["outcome"] == "few":
        sentence = tr("{name} withholds nothing: the validation part is too small to fix a threshold.", **values)
    elif found["threshold"] is None:
        sentence = tr(
            "{name} would have to withhold every answer: on the validation part, no confidence keeps the mistakes at "
            "{target} or fewer.",
            **values,
        )
    else:
        sentence = tr(
            "{name} answers {answered} of the images and is wrong in {error} of these (meant: at most {target}); "
            "{withheld} would go to a person.",
            **values,
        )
    return Withheld(
        name, look, sentence, decimal(found["threshold"]),
        tr("{n} of {all}", n=count(found["accepted"]), all=count(found["accepted"] + found["abstained"])),
        estimate(found["error"]), decimal(found["aurc"]), found.get("note") or "",
    )  # fmt: skip


def _kind(kind: str) -> str:
    """What made-up images are called in the head of a table."""
    return {"blank": tr("Blank images"), "noise": tr("Noise")}.get(kind, kind)


def _gate(name: str, look: Look, found: Mapping[str, Any]) -> Gate:
    foreign, called = (sum(one[key] for one in found["detected"]) for key in ("n", "unlike"))
    values = {
        "name": name,
        "n": plural(found["unlike_n"], "test image"),
        "share": percent(found["unlike"]["value"]),
        "meant": percent(found["false_alarms"], 0),
        "found": count(called),
        "images": plural(foreign, "image"),
    }
    sentence = tr("{name} calls {n} unlike all it learned from: false alarms in {share} (meant: {meant}).", **values)
    if foreign:
        told = tr("Of {images} that are no pictures of anything, blank or noise, it calls {found} so.", **values)
        sentence = sentences(sentence, told)
    expected = interval(found.get("expected_low"), found.get("expected_high"))
    return Gate(
        name, look, sentences(sentence, _explained(found)), decimal(found["threshold"], 2),
        tr("{meant} (expected: {range})", meant=values["meant"], range=expected) if _ranged(found) else values["meant"],
        estimate(found["unlike"]),
        {one["kind"]: _detected(one) for one in found["detected"]}, found.get("note") or "",
    )  # fmt: skip


def _ranged(found: Mapping[str, Any]) -> bool:
    """Whether it is known how far the false alarms of a gate may be off."""
    return is_number(found.get("expected_low")) and is_number(found.get("expected_high"))


def _explained(found: Mapping[str, Any]) -> str:
    """Whether so few validation images explain that the false alarms are more than was meant."""
    share, least = found["unlike"]["value"], found["unlike"]["low"]
    if not _ranged(found) or not share > found["false_alarms"]:
        return ""
    between = {"low": percent(found["expected_low"]), "high": percent(found["expected_high"])}
    if (least if is_number(least) else share) > found["expected_high"]:
        return tr(
            "That is more than a threshold from this validation part explains ({low} to {high} are to be expected): "
            "these images differ from it.",
            **between,
        )
    return tr(
        "A threshold from this validation part gives {low} to {high}: with its interval, this share is in line with "
        "it.",
        **between,
    )


def _detected(one: Mapping[str, Any]) -> str:
    """How many were found, and the interval of their share."""
    number = tr("{n} of {all}", n=count(one["unlike"]), all=count(one["n"]))
    return f"{number} ({interval(one['low'], one['high'])})" if is_number(one["low"]) else number
