"""What audit.json and leakage.json must hold for the report: kinds of values."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Portion(BaseModel):
    """A part of a file; what is not named here is free."""

    model_config = ConfigDict(strict=True)


class Figure(Portion):
    """A value with its interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None


class _Counts(Portion):
    found: int
    decoded: int


class _CopyPair(Portion):
    first: str
    second: str
    similarity: float | None = None
    how: str = ""
    first_label: str | float | None = None
    second_label: str | float | None = None
    first_part: str | None = None
    second_part: str | None = None


class _CopiesOfClass(Portion):
    tested: int
    with_copy: int
    identical: int | None = None


class _Suspect(Portion):
    name: str
    given: str
    suggested: str
    p_given: float | None = None
    p_suggested: float | None = None


class _Property(Portion):
    name: str = Field(alias="property")
    balanced_accuracy: float | None
    chance: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    flagged: bool = False
    by_class: str | None = None


class _Together(Portion):
    balanced_accuracy: float | None
    chance: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    flagged: bool = False


class _Evidence(Portion):
    pairs: list[_CopyPair] | None = None
    by_class: dict[str, _CopiesOfClass] | None = None
    clusters: int | None = None
    largest: int | None = None
    features: str | None = None
    out_of_fold_accuracy: float | None = None
    suspects: list[_Suspect] | None = None
    properties: list[_Property] | None = None
    together: _Together | None = None
    values: dict[str, float | None] | None = None


class _Finding(Portion):
    severity: Literal["serious", "warning", "note"]
    kind: str
    message: str
    remedy: str = ""
    samples: list[str] = []
    evidence: _Evidence = _Evidence()


class AuditFile(Portion):
    """``audit.json``."""

    counts: _Counts
    findings: list[_Finding]
    classes: dict[str, int] = {}
    given: dict[str, dict[str, int]] | None = None


class _Copied(Portion):
    n: float  # a mean over seeds
    accuracy: Figure | None = None


class _LeakageSplit(Portion):
    split: str
    accuracy: Figure
    balanced_accuracy: Figure | None = None
    n_test: float | None = None
    with_copy: _Copied | None = None
    without_copy: _Copied | None = None


class _LeakageDifference(Portion):
    first: str
    second: str
    value: float | None
    low: float | None = None
    high: float | None = None
    sentence: str


class _Control(Portion):
    accuracy: Figure
    chance: float | None
    holds: bool
    sentence: str


class LeakageFile(Portion):
    """``leakage.json``."""

    splits: list[_LeakageSplit] = Field(min_length=1)
    difference: _LeakageDifference | None = None
    control: _Control | None = None
    sentences: list[str] = []
    features: str = ""
    classifier: str = ""
    seeds: list[Any] = []
    notes: list[str] = []


class ControlFile(Portion):
    """``control.json``."""

    accuracy: Figure | None
    chance: float | None
    holds: bool | None
    reason: str | None = None
    crossing: int = 0
    learned: int = 0
    tested: int = 0
    shuffles: int = 0
