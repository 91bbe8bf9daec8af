"""The table [evaluation] of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clearmargin.recipe_conflicts import evaluation_conflicts, refuse
from clearmargin.recipe_layers import Settings


class Reference(Settings):
    """A figure from elsewhere that the report shows beside the study's own."""

    name: str = Field(min_length=1, max_length=100, pattern=r"\S")
    metric: str = Field(min_length=1, max_length=50)
    value: float


class EvaluationSettings(Settings):
    """How figures get their intervals, over how many seeds the study is repeated, and what is looked at beside.

    Each of the ``repeats`` after the first splits and trains anew with the next seed; its predictions are kept, its
    weights are not. On each split, all is trained from so many ``initialisations``: that tells the luck of the split
    from the luck of training. ``error_rate`` is that of conformal sets, ``abstain_error`` that of answers which are not
    withheld, ``gate_false_alarms`` the share of usual images that may be called unlike the training part.
    ``prevalence`` is the share of a class where the model will be used, for the predictive values there; ``subgroups``
    names columns of a manifest.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200, le=1_000_000)
    repeats: int = Field(default=1, ge=1, le=1000)
    initialisations: int = Field(default=1, ge=1, le=100)
    references: list[Reference] = Field(default=[], max_length=20)
    prevalence: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default={})
    subgroups: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=50)
    error_rate: float = Field(default=0.1, ge=0.001, le=0.5)
    conformal: Literal["marginal", "class-conditional"] = "marginal"
    abstain_error: float = Field(default=0.05, ge=0.001, le=0.5)
    gate_false_alarms: float = Field(default=0.05, ge=0.001, le=0.5)

    @model_validator(mode="after")
    def _settings_go_together(self) -> EvaluationSettings:
        refuse(evaluation_conflicts(dict(self)))
        return self
