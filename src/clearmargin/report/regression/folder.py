"""The run folder of a regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.estimates import read_estimates
from clearmargin.evaluation.regression_metrics import error_figures
from clearmargin.recipe import slug
from clearmargin.records import Estimates
from clearmargin.report.folder import (
    StudyFiles,
    TrainedFiles,
    missing,
    read_csv,
    read_evaluation,
    read_study,
    trained,
)


@dataclass(frozen=True)
class RegressionContender(TrainedFiles):
    """What the run folder holds about one contender; ``estimates`` are for the part that was evaluated."""

    estimates: Estimates


@dataclass(frozen=True)
class RegressionRun(StudyFiles):
    """The run folder of a regression.

    Attributes
    ----------
    contenders
        In the order of ``evaluation.json``.
    baselines
        What each baseline estimates, where ``baselines/*/predictions.csv`` says so.
    targets
        Of every row of ``split.csv``, float64 of shape (rows,).
    """

    contenders: tuple[RegressionContender, ...]
    baselines: Mapping[str, Estimates]
    targets: np.ndarray

    @property
    def target(self) -> str:
        return str(self.evaluation["target"])


def read_regression(folder: Path) -> RegressionRun:
    """Read what a finished regression left in its folder.

    Raises
    ------
    RunFolderError
        When a file is missing or damaged, or when two files contradict each other.
    """
    evaluation = read_evaluation(folder)
    contenders = tuple(
        RegressionContender(
            model["name"], place.name, model, read_csv(place / "history.csv", ("epoch",)), result,
            _estimates(place / "predictions.csv", result, evaluation),
        )
        for place, model, result in trained(folder, evaluation, "target")
    )  # fmt: skip
    places = {name: folder / "baselines" / slug(name) / "predictions.csv" for name in evaluation["baselines"]}
    study = read_study(folder, evaluation)
    return RegressionRun(
        **study,
        contenders=contenders,
        baselines={
            name: _estimates(path, evaluation["baselines"][name], evaluation)
            for name, path in places.items()
            if path.is_file()
        },
        targets=_targets(study["split_rows"]["label"], folder),
    )


def _estimates(path: Path, result: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Estimates:
    part = evaluation.get("part", "test")
    if not path.is_file():
        raise missing(path)
    parts = read_estimates(path)
    if part not in parts:
        raise RunFolderError(f"{path} holds no predictions for the part {part}. Run the study again.")
    estimates = parts[part]
    said, found = result["metrics"]["rmse"]["value"], error_figures(estimates.targets, estimates.values)["rmse"]
    if len(estimates.names) != evaluation["n"] or not np.isclose(said, found, rtol=1e-6, atol=0):
        raise RunFolderError(
            f"{path} and evaluation.json do not belong together: RMSE {found:.6g} in {len(estimates.names)} rows "
            f"against {said:.6g} in {evaluation['n']}. Evaluate the run again."
        )
    return estimates


def _targets(labels: Any, folder: Path) -> np.ndarray:
    try:
        return np.array([float(label) for label in labels], dtype=np.float64)
    except ValueError as error:
        raise RunFolderError(
            f"{folder / 'split.csv'} is damaged: a target is not a number ({error}). Run the study again."
        ) from error
