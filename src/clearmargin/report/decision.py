"""Whether acting on a contender does more good than harm: decision curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from clearmargin.language import tr
from clearmargin.report.confidence_figures import Line, plot_decision_curve
from clearmargin.report.drawing import Drawing, draw, draw_grid, inline
from clearmargin.report.figures import Look
from clearmargin.report.folder import RunFiles
from clearmargin.report.wording import percent, short

PANELS = 8
_PANEL = ((2.9, 2.5), (0.26, 0.175, 0.71, 0.7))
_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One class against the rest: a curve of each contender, that of treating everybody, and lower bands by name."""

    name: str
    lines: tuple[Line, ...]
    everybody: np.ndarray
    lows: Mapping[str, np.ndarray | None]

    def plot(self, axes: Any) -> Any:
        """Draw the panel."""
        return plot_decision_curve(axes, self.lines, self.everybody, self.name)


@dataclass(frozen=True)
class DecisionCurves:
    """What the page shows; ``left_out`` counts classes without a panel."""

    sentences: tuple[str, ...]
    figures: tuple[Markup, ...]
    left_out: int


def decision_curves(run: RunFiles) -> DecisionCurves | None:
    """Arrange the blocks ``decision_curve`` of ``evaluation.json``; None without any."""
    panels, in_all = _panels(run)
    if not panels:
        return None
    return DecisionCurves(
        tuple(_sentence(panel, run.evaluation.get("confidence", 0.95)) for panel in panels[:4]),
        tuple(
            inline(
                draw(*_PANEL, panel.plot),
                f"decision-{k}",
                tr("Net benefit of acting on {label}, over thresholds", label=short(panel.name)),
            )
            for k, panel in enumerate(panels)
        ),
        in_all - len(panels),
    )


def figure_files(run: RunFiles) -> dict[str, Drawing]:
    """Draw the sheet for papers, if there is anything to draw."""
    panels, _ = _panels(run)
    if not panels:
        return {}
    columns = min(_COLUMNS, len(panels))
    plots = [panel.plot for panel in panels]
    return {"decision-curves.svg": draw_grid(-(-len(plots) // columns), columns, (3.2, 2.9), plots)}


def _panels(run: RunFiles) -> tuple[list[Panel], int]:
    """Panels of the classes with most images, and how many there could be."""
    blocks = {c.name: (Look(k), c.result.get("decision_curve") or []) for k, c in enumerate(run.contenders)}
    counts = {one["class"]: one["n"] for _, block in blocks.values() for one in block}
    kept = set(sorted(counts, key=lambda name: -counts[name])[:PANELS])
    found = []
    for label in (label for label in counts if label in kept):
        lines, everybody = [], np.zeros(0)
        lows: dict[str, np.ndarray | None] = {}
        for name, (look, block) in blocks.items():
            for one in block:
                if one["class"] == label:
                    thresholds, benefit = (
                        np.array(one[key], dtype=np.float64) for key in ("thresholds", "net_benefit")
                    )
                    lines.append(Line(name, look, thresholds, benefit))
                    everybody = np.array(one["treat_all"], dtype=np.float64)
                    lows[name] = None if one.get("low") is None else np.array(one["low"], dtype=np.float64)
        found.append(Panel(label, tuple(lines), everybody, lows))
    return found, max(len(counts), len(run.evaluation["classes"]))


def _sentence(panel: Panel, confidence: float) -> str:
    """Where the contender with the widest such range is surely worth more than treating everybody or nobody."""
    values: dict[str, Any] = {"label": short(panel.name, 32), "confidence": f"{100 * confidence:.6g}"}
    known = [(name, low) for name, low in panel.lows.items() if low is not None]
    if not known:
        return tr("“{label}”: how far chance moves these curves is not known.", **values)
    runs = {name: _longest(low > 0) for name, low in known}
    name, (first, last) = max(runs.items(), key=lambda one: one[1][1] - one[1][0])
    if first == last:
        return tr(
            "“{label}”: no contender is shown to do more good than treating everybody or nobody ({confidence} % band "
            "over all thresholds). With few images only a large advantage would show.",
            **values,
        )
    thresholds = panel.lines[0].x
    values |= {"name": name, "low": percent(thresholds[first], 0), "high": percent(thresholds[last - 1], 0)}
    return tr(
        "“{label}”: for who would act from a probability between {low} and {high} on, acting on {name} does more good "
        "than treating everybody or nobody ({confidence} % band over all thresholds, of this class and contender "
        "alone).",
        **values,
    )


def _longest(above: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of True; both 0 without one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(np.int64), [0]]))).reshape(-1, 2)
    if not len(edges):
        return 0, 0
    first, last = edges[int(np.argmax(edges[:, 1] - edges[:, 0]))]
    return int(first), int(last)
