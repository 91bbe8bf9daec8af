"""A synthetic run folder of a regression: made-up estimates, evaluated by the real evaluation."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w

from clearmargin.evaluation import (
    baseline_estimates,
    error_figures,
    evaluate_estimates,
    summarise_repeats,
    write_estimates,
)
from clearmargin.files import write_json, write_table, write_text
from clearmargin.recipe import slug
from clearmargin.records import Estimates

COLUMNS = ("crim", "rm", "age", "lstat")
REFERENCE = {"name": "tutorial, one split", "metric": "rmse", "value": 4.935908}


class SyntheticRegression:
    """Writes a run folder; ``errors`` maps contenders to the standard deviation of their errors (0: perfect)."""

    def __init__(
        self,
        folder: Path,
        errors: Mapping[str, float] | None = None,
        n: int = 500,
        name: str = "Boston housing: 1-D CNN on a table",
        target: str = "medv",
        unit: float = 1.0,
        row_name: Callable[[int], str] = lambda k: f"row {k + 1}",
        seeds: int = 0,
        references: bool = True,
        baselines: bool = True,
        group_of: int = 1,
        findings: tuple[dict[str, Any], ...] = (),
        columns: Mapping[str, str] | None = None,
        loss: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.name, self.target, self.seeds = folder, name, target, seeds
        self.errors = {"1-D CNN": 3.0} if errors is None else dict(errors)
        self.references = [dict(REFERENCE, value=REFERENCE["value"] * unit)] if references else []
        self.with_baselines, self.group_of, self.unit = baselines, group_of, unit
        self.loss = {"loss": "squared"} if loss is None else dict(loss)
        self.findings, self.columns = list(findings), columns
        self.random = np.random.default_rng(7)
        self.inputs = self.random.normal(size=(n, len(COLUMNS)))
        bent = 22 + 5 * self.inputs[:, 1] - 4 * np.maximum(self.inputs[:, 3], -0.5) + 2 * self.random.normal(size=n)
        self.targets = unit * np.clip(bent, 5, 50)
        self.names = np.array([row_name(k) for k in range(n)], dtype=object)
        self.groups = np.array([f"g{k // group_of}" for k in range(n)], dtype=object)
        self.parts = self._split(0)

    def _split(self, seed: int) -> np.ndarray:
        n_groups = -(-len(self.targets) // self.group_of)
        place = np.random.default_rng(seed).permutation(n_groups) / n_groups
        place = place[np.arange(len(self.targets)) // self.group_of]
        return np.where(place < 0.15, "test", np.where(place < 0.25, "validation", "train")).astype(object)

    def write(self) -> Path:
        """Write every file the report reads."""
        write_text(self.folder / "recipe.toml", tomli_w.dumps(self._recipe()))
        write_json(self.folder / "environment.json", self._environment())
        write_json(self.folder / "audit.json", self._audit())
        write_json(self.folder / "split.json", self._split_summary())
        rows = {"name": self.names, "label": self.targets, "group": self.groups, "part": self.parts}
        write_table(self.folder / "split.csv", pd.DataFrame(rows))
        said = {name: self._estimates(error) for name, error in self.errors.items()}
        for name, parts in said.items():
            self._write_contender(self.folder / "contenders" / slug(name), name, parts)
        baselines = self._baselines(self.parts, 0)
        for name, estimates in baselines.items():
            write_estimates(self.folder / "baselines" / slug(name) / "predictions.csv", {"test": estimates})
        contenders = {name: parts["test"] for name, parts in said.items()}
        evaluation = evaluate_estimates(contenders, baselines=baselines, target=self.target, resamples=200)
        repeats = {"repeats": self._repeats()} if self.seeds else {}
        write_json(self.folder / "evaluation.json", {**evaluation, "references": self.references, **repeats})
        return self.folder

    def _estimates(self, error: float) -> dict[Any, Estimates]:
        found = {}
        for part in ("validation", "test"):
            rows = np.flatnonzero(self.parts == part)
            noise = self.unit * error * self.random.standard_t(5, len(rows))
            found[part] = Estimates(self.names[rows], self.targets[rows], self.groups[rows], self.targets[rows] + noise)
        return found

    def _baselines(self, parts: np.ndarray, seed: int) -> dict[str, Estimates]:
        if not self.with_baselines:
            return {}
        known, test = parts != "test", np.flatnonzero(parts == "test")
        found = baseline_estimates(self.inputs[known], self.targets[known], self.inputs[test], seed)
        return {
            name: Estimates(self.names[test], self.targets[test], self.groups[test], values)
            for name, values in found.items()
        }

    def _repeats(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        for seed in range(self.seeds):
            parts = self._split(seed)
            test = self.targets[parts == "test"]
            for name, error in self.errors.items():
                values = test + self.unit * error * self.random.standard_t(5, len(test))
                rows.append({"seed": seed, "contender": name, "kind": "contender", **error_figures(test, values)})
            for name, one in self._baselines(parts, seed).items():
                figures = error_figures(one.targets, one.values)
                rows.append({"seed": seed, "contender": name, "kind": "baseline", **figures})
        n_test = int((self.parts == "test").sum())
        metrics = ("rmse", "mae", "mse", "r2")
        return summarise_repeats(pd.DataFrame(rows), n_train=len(self.targets) - n_test, n_test=n_test, metrics=metrics)

    def _write_contender(self, place: Path, name: str, parts: dict[Any, Estimates]) -> None:
        write_estimates(place / "predictions.csv", parts)
        epochs = np.arange(1, 41)
        wave = self.random.normal(0, 0.02, len(epochs))
        history = {
            "epoch": epochs,
            "learning_rate": 1e-3 * np.cos(epochs / 30),
            "train_loss": 1.0 * np.exp(-epochs / 6) + 0.05,
            "validation_loss": 0.9 * np.exp(-epochs / 6) + 0.15 + wave / 2,
            "validation_mean_absolute_error": 0.6 * np.exp(-epochs / 6) + 0.25 + wave / 2,
            "seconds": np.full(len(epochs), 0.1),
        }
        write_table(place / "history.csv", pd.DataFrame(history))
        keys = ("layer", "output", "parameters", "multiply_adds", "receptive_field")
        layers = [
            ("conv 64, 2, relu", [64, 12], 192, 1_536, 2),
            ("flatten", [768], 0, 0, 13),
            ("dense 32, relu", [32], 24_608, 24_576, 13),
            ("dense", [1], 33, 32, 13),
        ]
        known = self.parts == "train"
        model = {
            "format": 1,
            "name": name,
            "architecture": {"name": name, "architecture": "cnn"},
            "task": "regression",
            "target": {"name": self.target, "mean": float(self.targets[known].mean()), "std": 1.0},
            "preprocessing": {
                "columns": list(COLUMNS), "mean": self.inputs[known].mean(axis=0).tolist(),
                "std": self.inputs[known].std(axis=0).tolist(),
            },
            "weights_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "pretrained_sha256": None,
            "parameters": {"total": 24_833, "trained": 24_833},
            "multiply_adds": 26_144,
            "layers": [dict(zip(keys, layer, strict=True)) for layer in layers],
            "training": {
                "epochs_run": 40, "best_epoch": 33, "seconds": 1.9, "trunk_seconds": 0.0, "stopped_early": True,
                "precision": "float32",
            },
            "validation": {"loss": 0.15, "mean_absolute_error": 0.251},
        }  # fmt: skip
        write_json(place / "model.json", model)

    def _recipe(self) -> dict[str, Any]:
        training = {
            "epochs": 100, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.003, "schedule": "one-cycle",
            "weight_decay": 0.001, **self.loss, "early_stopping": 40, "keep": "best",
        }  # fmt: skip
        return {
            "name": self.name,
            "task": "regression",
            "seed": 0,
            "data": {"source": "/home/jane/secret/boston.csv", "target": self.target},
            "split": {"fractions": [0.75, 0.1, 0.15]},
            "training": training,
            "contender": [{"name": name, "architecture": "cnn", "training": training} for name in self.errors],
            "evaluation": {"confidence": 0.95, "resamples": 200, "references": self.references},
        }

    def _environment(self) -> dict[str, Any]:
        return {
            "format": 1, "clearmargin": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.0",
            "platform": "Linux x86_64", "processor": "Intel Xeon", "cores": 2, "seed": 0,
            "started": "2026-11-22T18:00:00+00:00", "finished": "2026-11-22T18:01:00+00:00",
            "seconds": {"table": 0.1, **{f"train {name}": 1.9 for name in self.errors}, "evaluation": 1.0},
        }  # fmt: skip

    def _audit(self) -> dict[str, Any]:
        n = len(self.targets)
        return {
            "format": 1, "simulated": False, "source_kind": "table",
            "counts": {"found": n + 2, "decoded": n, "excluded": 2}, "given": {}, "findings": self.findings,
            **({"columns": dict(self.columns)} if self.columns is not None else {}),
        }  # fmt: skip

    def _split_summary(self) -> dict[str, Any]:
        sizes = {part: int((self.parts == part).sum()) for part in ("train", "validation", "test")}
        return {
            "format": 1,
            "asked": [0.75, 0.1, 0.15],
            "achieved": {part: size / len(self.targets) for part, size in sizes.items()},
            "numeric": True,
            "counts": {part: {"rows": size} for part, size in sizes.items()},
            "groups": {part: len(set(self.groups[self.parts == part])) for part in sizes},
            "patients": self.group_of > 1,
            "given": False,
            "crossing_groups": 0,
        }


@pytest.fixture(scope="session")
def build_regression() -> Callable[..., Path]:
    """Build a run folder in a folder, from the settings of `SyntheticRegression`."""

    def build(folder: Path, **settings: Any) -> Path:
        return SyntheticRegression(folder / "run", **settings).write()

    return build


@pytest.fixture
def synthetic_regression(tmp_path: Path, build_regression: Callable[..., Path]) -> Callable[..., Path]:
    """The same, in this test's own folder."""
    return partial(build_regression, tmp_path)


def _beside(name: str) -> ModuleType:
    """A test module of the folder above, whose reader of pages and browser serve here too."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_browsing = _beside("test_browser")


@pytest.fixture(scope="session")
def browsing() -> ModuleType:
    """Opening pages in a real browser: `opened` and its scripts."""
    return _browsing
