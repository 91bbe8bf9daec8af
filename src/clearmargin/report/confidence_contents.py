"""What evaluation.json must hold of calibration, what models do not know, decision curves and subgroups."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from clearmargin.report.audit_contents import Figure, Portion


class _Bin(Portion):
    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


class _Uncalibrated(Portion):
    ece: float
    log_loss: float | None
    brier: float


class CalibrationBlock(Portion):
    """``calibration`` of a contender."""

    temperature: float
    bins: list[_Bin] = Field(min_length=1)
    ece: float
    ece_if_perfect: float | None
    ece_if_perfect_high: float | None
    uncalibrated: _Uncalibrated


class _ClassCoverage(Portion):
    name: str = Field(alias="class")
    n: int
    coverage: float | None


class ConformalBlock(Portion):
    """``conformal`` of a contender."""

    error_rate: float
    coverage: Figure
    expected_low: float | None
    expected_high: float | None
    mean_size: float
    sizes: list[int] = Field(min_length=1)
    per_class: list[_ClassCoverage]


class AbstentionBlock(Portion):
    """``abstention`` of a contender."""

    target_error: float
    threshold: float | None
    outcome: str
    accepted: int
    abstained: int
    error: Figure
    curve: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    aurc: float


class _Detected(Portion):
    kind: str
    n: int
    unlike: int
    share: float
    low: float | None
    high: float | None


class GateBlock(Portion):
    """``gate`` of a contender."""

    false_alarms: float
    expected_low: float | None = None
    expected_high: float | None = None
    threshold: float
    unlike: Figure
    unlike_n: int
    detected: list[_Detected]


class DecisionCurve(Portion):
    """One class of ``decision_curve`` of a contender."""

    name: str = Field(alias="class")
    n: int
    thresholds: list[float] = Field(min_length=1)
    net_benefit: list[float] = Field(min_length=1)
    treat_all: list[float] = Field(min_length=1)
    low: list[float] | None = None

    @model_validator(mode="after")
    def _as_many_of_each(self) -> DecisionCurve:
        low = self.treat_all if self.low is None else self.low
        if not len(self.thresholds) == len(self.net_benefit) == len(self.treat_all) == len(low):
            raise ValueError("thresholds, net_benefit, treat_all and low differ in length")
        return self


class _SubgroupFigures(Portion):
    accuracy: Figure
    balanced_accuracy: Figure
    gap: Figure
    p_holm: float | None
    differs: bool


class _SubgroupValue(Portion):
    value: str
    n: int | None
    suppressed: bool
    contenders: dict[str, _SubgroupFigures]


class SubgroupColumn(Portion):
    """One column of ``subgroups``."""

    column: str
    kind: str
    values: list[_SubgroupValue]
