"""Figures on part of the test images, by columns of a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearmargin.language import tr
from clearmargin.report.figures import Look
from clearmargin.report.folder import RunFiles
from clearmargin.report.wording import count, estimate, interval, is_number, points, probability_value

ROWS_SHOWN = 60  # of a column


@dataclass(frozen=True)
class Row:
    """One value of a column for one contender; numbers as text, empty where they are suppressed."""

    value: str
    first: bool
    n: str
    contender: str
    look: Look | None
    accuracy: str
    balanced_accuracy: str
    gap: str
    p: str
    apart: bool


@dataclass(frozen=True)
class Column:
    """One column of the manifest."""

    name: str
    tertiles: bool
    sentence: str
    rows: tuple[Row, ...]
    suppressed: int
    left_out: int


def subgroups(run: RunFiles) -> list[Column]:
    """Arrange ``subgroups`` of ``evaluation.json``, if there are any."""
    looks = {contender.name: Look(k) for k, contender in enumerate(run.contenders)}
    return [_column(found, looks) for found in run.evaluation.get("subgroups") or []]


def _column(found: Mapping[str, Any], looks: Mapping[str, Look]) -> Column:
    rows = [row for value in found["values"] if not value["suppressed"] for row in _rows(value, looks)]
    suppressed = sum(bool(value["suppressed"]) for value in found["values"])
    tertiles = found["kind"] == "tertiles"
    return Column(
        found["column"], tertiles, _sentence(found), tuple(rows[:ROWS_SHOWN]), suppressed, len(rows[ROWS_SHOWN:])
    )


def _rows(value: Mapping[str, Any], looks: Mapping[str, Look]) -> Sequence[Row]:
    n = count(value["n"])
    if not value["contenders"]:  # it holds all images, so that there is no rest to compare it with
        return [Row(str(value["value"]), True, n, "", None, "", "", "", "", False)]
    return [
        Row(
            str(value["value"]), place == 0, n, name, looks.get(name, Look(0)), estimate(one["accuracy"]),
            estimate(one["balanced_accuracy"]), _gap(one["gap"]), probability_value(one["p_holm"]), one["differs"],
        )
        for place, (name, one) in enumerate(value["contenders"].items())
    ]  # fmt: skip


def _gap(gap: Mapping[str, Any]) -> str:
    if not is_number(gap.get("low")):
        return points(gap["value"])
    return f"{points(gap['value'])} ({interval(100 * gap['low'], 100 * gap['high'], 1)})"


def _sentence(found: Mapping[str, Any]) -> str:
    """The largest gap that is none of chance, or that there is none."""
    gaps = [
        (abs(one["gap"]["value"]), value["value"], name, one["gap"]["value"])
        for value in found["values"]
        for name, one in value["contenders"].items()
        if one["differs"] and is_number(one["gap"]["value"])
    ]
    if not gaps:
        return tr(
            "No value of “{column}” stands out by test and interval both: every gap may be chance.",
            column=found["column"],
        )
    _, value, name, gap = max(gaps)
    values = {"name": name, "column": found["column"], "value": value, "by": points(gap)}
    return tr("{name} differs where “{column}” is “{value}”: accuracy {by} points against the rest.", **values)
