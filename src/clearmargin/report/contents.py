"""What the JSON files of a run folder must hold for the report: kinds of values, and tables of matching size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from clearmargin.errors import RunFolderError
from clearmargin.report.audit_contents import AuditFile, ControlFile, Figure, LeakageFile, Portion
from clearmargin.report.confidence_contents import (
    AbstentionBlock,
    CalibrationBlock,
    ConformalBlock,
    DecisionCurve,
    GateBlock,
    SubgroupColumn,
)


class _Pair(Portion):
    first: str
    second: str
    sentence: str
    distinguishable: bool
    difference: Figure


class _Reference(Portion):
    name: str
    metric: str
    value: float


class _ClassFigures(Portion):
    name: str = Field(alias="class")
    n: int
    groups: int
    recall: float | None
    precision: float | None
    specificity: float | None
    f1: float | None
    auc: float | None
    recall_low: float | None = None
    recall_high: float | None = None


class _Classified(Portion):
    errors: int
    metrics: dict[str, Figure]
    per_class: list[_ClassFigures]
    confusion: list[list[int]]
    calibration: CalibrationBlock | None = None
    conformal: ConformalBlock | None = None
    abstention: AbstentionBlock | None = None
    gate: GateBlock | None = None
    decision_curve: list[DecisionCurve] | None = None


class _Estimated(Portion):
    metrics: dict[str, Figure]


class _Evaluation(Portion):
    n: int = Field(ge=1)
    comparisons: list[_Pair]
    references: list[_Reference] | None = None
    confidence: float = 0.95
    part: str = "test"


class _ClassificationEvaluation(_Evaluation):
    classes: list[str] = Field(min_length=1)
    contenders: dict[str, _Classified] = Field(min_length=1)
    subgroups: list[SubgroupColumn] | None = None


class _RegressionEvaluation(_Evaluation):
    target: str
    contenders: dict[str, _Estimated] = Field(min_length=1)
    baselines: dict[str, _Estimated]


class _Environment(Portion):
    seed: int
    seconds: dict[str, float | None] = Field(default_factory=dict)


class _Split(Portion):
    asked: list[float] = Field(min_length=3, max_length=3)
    achieved: dict[str, float]
    counts: dict[str, dict[str, int]]
    groups: dict[str, int]
    patients: bool
    crossing_groups: int
    given: bool = False


class _Layer(Portion):
    layer: str
    output: list[int]
    parameters: int
    multiply_adds: int | None = None
    receptive_field: int | None = None


class _Parameters(Portion):
    total: int
    trained: int | None = None


class _Training(Portion):
    epochs_run: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    trunk_seconds: float | None = None


class _Model(Portion):
    name: str
    parameters: _Parameters
    training: _Training
    layers: list[_Layer]
    architecture: dict[str, Any] = Field(default_factory=dict)
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, float | None] = Field(default_factory=dict)


_FILES: Mapping[str, type[Portion]] = {
    "environment.json": _Environment,
    "audit.json": AuditFile,
    "leakage.json": LeakageFile,
    "control.json": ControlFile,
    "split.json": _Split,
    "model.json": _Model,
}
_EVALUATIONS: Mapping[str, type[Portion]] = {
    "classification": _ClassificationEvaluation,
    "regression": _RegressionEvaluation,
}


def check_contents(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a file whose values are not of the kind that the page shows.

    Raises
    ------
    RunFolderError
        Naming the first such place of the file.
    """
    expected = _EVALUATIONS.get(content.get("task", "")) if path.name == "evaluation.json" else _FILES.get(path.name)
    if expected is None:
        return
    try:
        expected.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        said = re.sub(r" or instance of \w+| after validation", "", first["msg"])
        raise _damaged(path, f"{place}: {said[:1].lower()}{said[1:]}") from error
    if expected is _ClassificationEvaluation:
        _check_sizes(path, content)


def _check_sizes(path: Path, evaluation: Mapping[str, Any]) -> None:
    """A row for each class in every table, and as many columns in the confusion matrix."""
    many = len(evaluation["classes"])
    for name, result in evaluation["contenders"].items():
        rows = result["confusion"]
        if len(rows) != many or any(len(row) != many for row in rows):
            raise _damaged(path, f"the confusion matrix of {name!r} is not {many} × {many}, as its classes are")
        if len(result["per_class"]) != many:
            raise _damaged(path, f"{name!r} has figures for {len(result['per_class'])} of {many} classes")


def _damaged(path: Path, reason: str) -> RunFolderError:
    return RunFolderError(f"{path} is damaged ({reason}). Run the study again.")
