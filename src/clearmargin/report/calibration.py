"""Whether probabilities mean what they say: the section on calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from clearmargin.language import tr
from clearmargin.report.confidence_figures import Reliability, plot_reliability
from clearmargin.report.drawing import Drawing, draw, draw_grid, inline
from clearmargin.report.figures import Look
from clearmargin.report.folder import RunFiles
from clearmargin.report.wording import decimal, percent, sentences, short

TYPICAL = 0.9  # the confidence that a sentence is about, where there are answers of about that
FEWEST = 10  # answers in a bin that a sentence is about
_PANEL = ((2.6, 2.65), (0.18, 0.165, 0.78, 0.74))
_COLUMNS = 3


@dataclass(frozen=True)
class Calibration:
    """What the page shows of one contender; ``note`` is a sentence of the file."""

    name: str
    look: Look
    sentence: str
    figure: Markup
    temperature: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    perfect: str
    note: str


def calibration(run: RunFiles) -> list[Calibration]:
    """Arrange the blocks ``calibration`` of ``evaluation.json``; contenders without one are left out."""
    clustered = bool(run.evaluation.get("clustered"))
    return [
        _calibration(name, Look(k), found, clustered)
        for k, (name, found) in enumerate(_blocks(run).items())
        if found is not None and found["bins"]
    ]


def figure_files(run: RunFiles) -> dict[str, Drawing]:
    """Draw the sheet for papers, if there is anything to draw."""
    shown = [_reliability(name, Look(k), found) for k, (name, found) in enumerate(_blocks(run).items()) if found]
    if not shown:
        return {}
    columns = min(_COLUMNS, len(shown))
    plots = [partial(plot_reliability, shown=one) for one in shown]
    return {"calibration.svg": draw_grid(-(-len(plots) // columns), columns, (3.0, 3.2), plots)}


def _blocks(run: RunFiles) -> dict[str, Mapping[str, Any] | None]:
    return {contender.name: contender.result.get("calibration") for contender in run.contenders}


def _calibration(name: str, look: Look, found: Mapping[str, Any], clustered: bool) -> Calibration:
    shown = _reliability(name, look, found)
    description = tr("Reliability of {name}: accuracy over confidence", name=short(name))
    keys, raw = ("ece", "brier", "log_loss"), found["uncalibrated"]
    return Calibration(
        name=name,
        look=look,
        sentence=sentences(_typical(name, found["bins"]), _judged(found, clustered)),
        figure=inline(draw(*_PANEL, partial(plot_reliability, shown=shown)), f"calibration-{look.index}", description),
        temperature=decimal(found["temperature"], 2),
        before={key: decimal(raw.get(key)) for key in keys},
        after={key: decimal(found.get(key)) for key in keys},
        perfect=tr("not known")
        if clustered
        else tr(
            "{mean} (95 % below {high})",
            mean=decimal(found["ece_if_perfect"]), high=decimal(found["ece_if_perfect_high"]),
        ),
        note=found.get("note") or "",
    )  # fmt: skip


def _reliability(name: str, look: Look, found: Mapping[str, Any]) -> Reliability:
    bins = [one for one in found["bins"] if one["n"]]
    confidence, accuracy = (
        np.array([one[key] for one in bins], dtype=np.float64) for key in ("confidence", "accuracy")
    )
    edges = tuple(edge for one in bins for edge in (one["low"], one["high"]))
    return Reliability(name, look, confidence, accuracy, np.array([one["n"] for one in bins], dtype=np.int64), edges)


def _typical(name: str, bins: list[Mapping[str, Any]]) -> str:
    """What an answer with a typical confidence is worth."""
    filled = [one for one in bins if one["n"] >= FEWEST] or [max(bins, key=lambda one: one["n"])]
    nearest = min(filled, key=lambda one: abs((one["confidence"] or 0) - TYPICAL))
    if not nearest["n"]:
        return ""
    return tr(
        "When {name} says {confidence}, it is right in {accuracy} ({n} answers).",
        name=name,
        confidence=percent(nearest["confidence"], 0),
        accuracy=percent(nearest["accuracy"], 0),
        n=nearest["n"],
    )


def _judged(found: Mapping[str, Any], clustered: bool) -> str:
    """The calibration error beside that of a perfect model, which is known for independent samples alone."""
    if clustered:
        return tr(
            "Its calibration error is {ece}. What a perfect model's would be is known for independent images; images "
            "in groups like these are not, so that the two are not compared.",
            ece=decimal(found["ece"]),
        )
    values = {"ece": decimal(found["ece"]), "high": decimal(found["ece_if_perfect_high"])}
    if found["ece"] <= found["ece_if_perfect_high"]:
        return tr("Its calibration error of {ece} is no larger than that of a perfect model may be here.", **values)
    return tr("Its calibration error of {ece} is larger than chance explains (up to {high} here).", **values)
