"""A search for better settings: its course, what mattered, and what it was worth on the test part."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup
from pydantic import Field, ValidationError

from clearmargin.errors import RunFolderError
from clearmargin.files import is_sealed
from clearmargin.language import tr
from clearmargin.report.audit_contents import Portion
from clearmargin.report.drawing import Drawing, draw, inline
from clearmargin.report.folder import StudyFiles
from clearmargin.report.tuning_figures import Axis, Line, Point, plot_history, plot_importance, plot_parallel
from clearmargin.report.verdicts import sentence
from clearmargin.report.wording import decimal, is_number, measured, percent, plural, points, seconds, sentences

MOST_AXES = 8  # settings of the parallel coordinates: the most important ones
BEST_SHARE = 0.1  # of the trials that are drawn boldly
FOLDER = "tuning"


class _Trial(Portion):
    number: int
    outcome: str
    settings: dict[str, Any]
    score: float | None
    measures: dict[str, float] | None


class _Space(Portion):
    values: list[Any] | None = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    default: Any

    @property
    def choices(self) -> list[Any]:
        """The values, numbers among themselves by size."""
        values = self.values or []
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        return sorted(values) if numbers else values


class _Compared(Portion):
    best: int
    trials: int


class _Summary(Portion):
    contender: str
    tuned: str | None
    measure: Literal["balanced_accuracy", "mean_squared_error"]
    folds: int
    own_spaces: bool
    spaces: dict[str, _Space]
    seconds: float
    best: int
    untuned: int | None
    importance: dict[str, float]
    importance_of: _Compared
    trials: list[_Trial] = Field(min_length=1)

    def trial(self, number: int) -> _Trial:
        """A trial by its number, which counts from 1."""
        return self.trials[number - 1]


@dataclass(frozen=True)
class Row:
    """One setting: where it was searched, what it was and what it became, and its importance; all as text."""

    name: str
    space: str
    untuned: str
    tuned: str
    importance: str


@dataclass(frozen=True)
class Tuning:
    """What the page shows of a search."""

    contender: str
    gain: str
    better: bool
    trials: str
    validation: str
    rows: tuple[Row, ...]
    importance: str
    has_importance: bool
    figures: tuple[Markup, ...]
    shipped: bool


def tuning(run: StudyFiles) -> Tuning | None:
    """Arrange ``tuning/tuning.json``; None for a run that no search led to.

    Raises
    ------
    RunFolderError
        When it was edited or damaged.
    """
    found = _read(run.folder / FOLDER / "tuning.json")
    if found is None:
        return None
    figures = [
        inline(draw(size, box, plot), f"tuning-{name}", description)
        for name, (size, box, plot, description) in _plots(found).items()
    ]
    return Tuning(
        contender=found.contender,
        gain=_gain(run.evaluation, found),
        better=found.tuned is not None,
        trials=_trials(found),
        validation=_validation(found),
        rows=tuple(_row(name, found) for name in _by_importance(found)),
        importance=_importance(found),
        has_importance=bool(found.importance),
        figures=tuple(figures),
        shipped=not found.own_spaces,
    )


def figure_files(run: StudyFiles) -> dict[str, Drawing]:
    """Draw the figures for papers, if there was a search."""
    found = _read(run.folder / FOLDER / "tuning.json")
    plots = {} if found is None else _plots(found)
    return {f"tuning-{name}.svg": draw(size, box, plot) for name, (size, box, plot, _) in plots.items()}


def tuning_step(run: StudyFiles) -> list[tuple[str, str]]:
    """What the account of the study says of a search."""
    found = _read(run.folder / FOLDER / "tuning.json")
    if found is None:
        return []
    values = {"name": found.contender, "n": len(found.trials), "settings": ", ".join(found.spaces)}
    if found.folds:
        judged = tr("judged over {folds} inner folds of all but the test part", folds=found.folds)
    else:
        judged = tr("judged by the validation part, from which temperature and thresholds come too")
    told = tr("Settings of {name} were searched in {n} trials ({settings}), {judged}.", judged=judged, **values)
    how = tr(
        "Settings were proposed by TPE (Bergstra et al. 2011); successive halving gave up those that lagged behind."
    )
    return [(tr("Tuning"), sentences(told, how))]


def _read(path: Path) -> _Summary | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(content, dict) and is_sealed(content)):
            raise ValueError("its content_sha256 is that of other figures")
        found = _Summary.model_validate(content)
        if not all(1 <= number <= len(found.trials) for number in (found.best, found.untuned or 1)):
            raise ValueError("it speaks of trials that it does not have")
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        raise RunFolderError(
            f"{path} was edited or damaged ({error}): run `clearmargin tune` again in another folder."
        ) from error
    return found


def _gain(evaluation: Mapping[str, Any], found: _Summary) -> str:
    """What the search was worth on the test part: the change with its interval, and the verdict on it."""
    if found.tuned is None:
        return tr("No trial was better on validation than the untuned settings: the search gained nothing.")
    names = {found.contender, found.tuned}
    pair = next((one for one in evaluation["comparisons"] if {one["first"], one["second"]} == names), None)
    if pair is None:
        return tr("What the search was worth is not known: one of the two has no result.")
    ahead = pair["first"] == found.tuned  # of numbers, the difference is how much less the first has
    sign = 1 if ahead != (evaluation["task"] == "regression") else -1
    ends = [sign * end if is_number(end := pair["difference"].get(key)) else math.nan for key in ("low", "high")]
    low, high = ends if sign > 0 else ends[::-1]
    value = sign * pair["difference"]["value"]
    if evaluation["task"] == "regression":
        told = {"value": measured(value, 3), "low": measured(low, 3), "high": measured(high, 3)}
        changed = tr("On the test part, tuning changed the RMSE by {value} ({low} to {high}; less is better).", **told)
    else:
        told = {"value": points(value), "low": points(low), "high": points(high)}
        changed = tr(
            "On the test part, tuning changed balanced accuracy by {value} percentage points ({low} to {high}).", **told
        )
    return sentences(changed, sentence(evaluation, pair))


def _trials(found: _Summary) -> str:
    """How many trials there were, and how they ended."""
    outcomes = Counter(trial.outcome for trial in found.trials)
    ended = {
        "complete": tr("{n} trained to the end", n=outcomes["complete"]),
        "pruned": tr("{n} given up early", n=outcomes["pruned"]),
        "repeated": tr("{n} repeats of settings", n=outcomes["repeated"]),
        "diverged": tr("{n} diverged", n=outcomes["diverged"]),
        "refused": tr("{n} refused, as their settings do not go together", n=outcomes["refused"]),
        "failed": tr("{n} failed", n=outcomes["failed"]),
    }
    told = tr(", ").join(text for outcome, text in ended.items() if outcomes[outcome])
    values = {"trials": plural(len(found.trials), "trial"), "time": seconds(found.seconds), "ended": told}
    return tr("{trials}, {time} of training in all: {ended}.", **values)


def _validation(found: _Summary) -> str:
    """What was reached where the trials were judged, and why that is not what to expect."""
    if found.untuned is None or found.tuned is None:
        return ""
    before, after = (_reached(found.trial(number), found.measure) for number in (found.untuned, found.best))
    values = {"measure": _measure(found), "before": before, "after": after, "trial": found.best}
    if found.folds:
        return tr(
            "Over {folds} inner folds, {measure} went from {before} untuned to {after} in trial {trial}: the best of "
            "many is flattered, so that only the test part tells what was gained.", folds=found.folds, **values,
        )  # fmt: skip
    return tr(
        "On validation, {measure} went from {before} untuned to {after} in trial {trial}: the best of many is "
        "flattered, so that only the test part tells what was gained.", **values,
    )  # fmt: skip


def _measure(found: _Summary) -> str:
    if found.measure == "balanced_accuracy":
        return tr("balanced accuracy")
    return tr("the mean squared error of the standardised target")


def _reached(trial: _Trial, measure: str) -> str:
    value = (trial.measures or {}).get(measure)
    return decimal(value) if measure == "balanced_accuracy" else measured(value, 4)


def _importance(found: _Summary) -> str:
    """What importance is, and on which trials it rests."""
    if not found.importance:
        return tr(
            "Importance is not given: it takes 20 trials, repeats not counted, 5 of them trained to the end, and not "
            "all of them alike."
        )
    return tr(
        "Importance (PED-ANOVA): how much the settings of the best {best} trials differ from those of all {trials}. A "
        "trial that was given up early or diverged is none of the best, whatever it had reached, and repeats are not "
        "counted. It says where good settings lie, not that a setting causes anything.",
        **found.importance_of.model_dump(),
    )


def _row(name: str, found: _Summary) -> Row:
    space = found.spaces[name]
    if space.values is not None:
        where = tr(", ").join(_value(value) for value in space.values)
    else:
        where = tr("{low} to {high}", low=_value(space.low), high=_value(space.high))
        where += tr(", logarithmic") if space.log else ""
    share = found.importance.get(name)
    return Row(
        name, where, _value(space.default), _value(found.trial(found.best).settings.get(name)), percent(share, 0)
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _by_importance(found: _Summary) -> list[str]:
    return sorted(found.spaces, key=lambda name: -found.importance.get(name, 0.0))


_Plot = tuple[tuple[float, float], tuple[float, float, float, float], Callable[[Any], Any], str]


def _plots(found: _Summary) -> dict[str, _Plot]:
    """Each figure by its name: size in inches, place of the axes, how to plot it, and what it shows."""
    better = 1 if found.measure == "balanced_accuracy" else -1
    where = tr("over inner folds") if found.folds else tr("on validation")
    title = tr("{measure}, {where}", measure=_measure(found), where=where)
    measures = [(trial, (trial.measures or {}).get(found.measure)) for trial in found.trials]
    reached = [Point(trial.number, value, trial.score is not None) for trial, value in measures if value is not None]
    untuned = None if found.untuned is None else (found.trial(found.untuned).measures or {}).get(found.measure)
    plots: dict[str, _Plot] = {
        "history": (
            (5.6, 2.9),
            (0.11, 0.17, 0.86, 0.67),
            lambda axes: plot_history(axes, reached, title, better, untuned),
            tr("What each trial reached, and the best so far"),
        )
    }
    if found.importance:
        shares = {name: found.importance.get(name, 0.0) for name in _by_importance(found)}
        height = 0.75 + 0.24 * len(shares)
        plots["importance"] = (
            (5.6, height),
            (0.36, 0.5 / height, 0.6, 1 - 0.85 / height),
            lambda axes: plot_importance(axes, shares),
            tr("How much the best trials differ from all, setting by setting"),
        )
    lines = _lines(found)
    if len(lines) > 1:
        names = _by_importance(found)[:MOST_AXES]
        axes_of = [_axis(name, found.spaces[name]) for name in names]
        height = 1.1 + 0.42 * len(names)
        plots["parallel"] = (
            (5.6, height),
            (0.36, 0.55 / height, 0.58, 1 - 0.95 / height),
            lambda axes: plot_parallel(axes, axes_of, lines),
            tr("The settings of all trials that were trained to the end, the best ones bold"),
        )
    return plots


def _lines(found: _Summary) -> list[Line]:
    """Trials that have a score, the best last, so that they are drawn on top."""
    scored = [trial for trial in found.trials if trial.score is not None]
    scored.sort(key=lambda trial: (trial.score, -trial.number))  # of equals, the first is the best
    bold = max(1, round(BEST_SHARE * len(scored)))
    names = _by_importance(found)[:MOST_AXES]
    return [
        Line([_place(trial.settings[name], found.spaces[name]) for name in names], number >= len(scored) - bold)
        for number, trial in enumerate(scored)
    ]


def _axis(name: str, space: _Space) -> Axis:
    if space.values is not None:
        return Axis(name, [(_place(value, space), _value(value)) for value in space.choices])
    return Axis(name, [(0.0, _value(space.low)), (1.0, _value(space.high))])


def _place(value: Any, space: _Space) -> float:
    """Where on its axis, from 0 to 1, a value is drawn."""
    if space.values is not None:
        texts = [_value(choice) for choice in space.choices]
        place = texts.index(_value(value)) if _value(value) in texts else 0
        return (place + 0.5) / len(texts)
    low, high, at = float(space.low or 0), float(space.high or 1), float(value)
    if space.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)
