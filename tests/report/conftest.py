"""A synthetic run folder: made-up predictions, evaluated by the real evaluation."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w

from clearmargin.evaluation import evaluate, read_predictions, write_predictions
from clearmargin.evaluation.misclassified import confident_mistakes
from clearmargin.files import write_bytes, write_json, write_table, write_text
from clearmargin.inside.matrix import image_matrix
from clearmargin.inside.pictures import filters_png, maps_png, overlay_jpeg, picture_png
from clearmargin.recipe import slug
from clearmargin.records import Predictions
from clearmargin.report.thumbnails import save_thumbnails

TUMOURS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SKILLS = {"VGG16": 3.6, "plain CNN": 2.2, "wide CNN": 2.0}


@pytest.fixture(autouse=True)
def figures_as_needed(request: pytest.FixtureRequest) -> None:
    """Render figures where a test looks at them: where it, or its module, is marked ``rendered``; as PDF by ``pdf``."""
    marker = request.node.get_closest_marker("rendered")
    if marker is None:
        request.getfixturevalue("blank_figures")
    elif not marker.kwargs.get("pdf"):
        request.getfixturevalue("blank_pdf")


class SyntheticRun:
    """Writes a run folder; ``skills`` maps contenders to how far the true class stands out (inf: always right)."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str] = TUMOURS,
        skills: dict[str, float] | None = None,
        n_test: int = 60,
        name: str = "Brain tumour: plain CNN against VGG16",
        image_name: Callable[[int, str], str] = lambda k, label: f"{label}/image ({k}).jpg",
        simulated: bool = False,
        patients: bool = False,
        findings: Sequence[dict[str, Any]] = (),
        images: dict[str, list[str]] | None = None,
        references: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.folder, self.classes, self.n_test = folder, tuple(classes), n_test
        self.skills = dict(list(SKILLS.items())[:2]) if skills is None else skills
        self.name, self.simulated, self.patients = name, simulated, patients
        self.findings, self.references = list(findings), list(references)
        self.random = np.random.default_rng(7)
        self._place(image_name, images)

    def _place(self, image_name: Callable[[int, str], str], images: dict[str, list[str]] | None) -> None:
        n = 10 * self.n_test
        labels = np.array([self.classes[k % len(self.classes)] for k in range(n)], dtype=object)
        names = np.array([image_name(k, label) for k, label in enumerate(labels)], dtype=object)
        if images:
            pools = {label: iter(found) for label, found in images.items()}
            names = np.array([next(pools[label]) for label in labels], dtype=object)
        groups = np.array([f"p{k // 4:04d}" if self.patients else f"i{k:05d}" for k in range(n)], dtype=object)
        unit = np.arange(n) // (4 if self.patients else len(self.classes)) % 10
        parts = np.where(unit == 9, "test", np.where(unit == 8, "validation", "train")).astype(object)
        self.rows = pd.DataFrame({"name": names, "label": labels, "group": groups, "part": parts})

    def write(self) -> Path:
        """Write every file the report reads."""
        write_text(self.folder / "recipe.toml", tomli_w.dumps(self._recipe()))
        write_json(self.folder / "environment.json", self._environment())
        write_json(self.folder / "audit.json", self._audit())
        write_json(self.folder / "split.json", self._split())
        write_table(self.folder / "split.csv", self.rows)
        predictions = {contender: self._predict(skill) for contender, skill in self.skills.items()}
        for contender, parts in predictions.items():
            self._write_contender(self.folder / "contenders" / slug(contender), contender, parts)
        evaluation = evaluate(
            {contender: parts["test"] for contender, parts in predictions.items()},
            train_labels=self.rows["label"][self.rows["part"] == "train"].to_numpy(dtype=object),
            resamples=200,
        )
        write_json(self.folder / "evaluation.json", {**evaluation, "references": self.references})
        return self.folder

    def _predict(self, skill: float) -> dict[Any, Predictions]:
        parts = {}
        for part in ("validation", "test"):
            rows = self.rows[self.rows["part"] == part]
            truth = np.array([self.classes.index(label) for label in rows["label"]])
            logits = self.random.normal(0, 1.6, (len(rows), len(self.classes)))
            if np.isinf(skill):
                logits[:] = 0
                skill = 9.0
            logits[np.arange(len(rows)), truth] += skill
            odds = np.exp(logits)
            parts[part] = Predictions(
                rows["name"].to_numpy(dtype=object), rows["label"].to_numpy(dtype=object),
                rows["group"].to_numpy(dtype=object), self.classes, odds / odds.sum(axis=1, keepdims=True),
            )  # fmt: skip
        return parts

    def _write_contender(self, place: Path, contender: str, parts: dict[Any, Predictions]) -> None:
        write_predictions(place / "predictions.csv", parts)
        epochs = np.arange(1, 13)
        wave = self.random.normal(0, 0.02, 12)
        write_table(
            place / "history.csv",
            pd.DataFrame(
                {
                    "epoch": epochs,
                    "learning_rate": 1e-3 * np.cos(epochs / 8),
                    "train_loss": 1.2 * np.exp(-epochs / 4) + 0.02,
                    "train_accuracy": 1 - 0.5 * np.exp(-epochs / 3),
                    "validation_loss": 0.9 * np.exp(-epochs / 3) + 0.3 + wave,
                    "validation_accuracy": 0.9 - 0.4 * np.exp(-epochs / 3) + wave,
                    "validation_balanced_accuracy": 0.9 - 0.4 * np.exp(-epochs / 3) + wave,
                    "seconds": np.full(12, 9.5),
                }
            ),
        )
        write_json(place / "model.json", self._model(contender))

    def _model(self, contender: str) -> dict[str, Any]:
        large = contender == "VGG16"
        layers = [
            ("conv 32, 3x3, relu", [32, 224, 224], 896, 43_352_064, 3),
            ("max pool 2", [32, 112, 112], 0, 0, 4),
            ("conv 64, 3x3, relu", [64, 112, 112], 18_496, 231_211_008, 8),
            ("global average pool", [64], 0, 0, 224),
            ("dense", [len(self.classes)], 65 * len(self.classes), 64 * len(self.classes), 224),
        ]
        keys = ("layer", "output", "parameters", "multiply_adds", "receptive_field")
        return {
            "format": 1,
            "name": contender,
            "architecture": {"name": contender},
            "task": "classification",
            "classes": list(self.classes),
            "preprocessing": {
                "size_px": 224, "fit": "pad", "color": "rgb", "mean": [0.485, 0.456, 0.406], "std": [0.2, 0.2, 0.2],
            },
            "weights_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "pretrained_sha256": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0" if large else None,
            "parameters": {"total": 14_978_372 if large else 1_204_356, "trained": 1_204_356},
            "multiply_adds": 15_346_630_656 if large else 274_563_328,
            "training": {
                "epochs_run": 12, "best_epoch": 9, "seconds": 131.4 if large else 252.3,
                "trunk_seconds": 288.2 if large else 0.0, "stopped_early": False, "precision": "bfloat16",
            },
            "validation": {"loss": 0.31, "accuracy": 0.91, "balanced_accuracy": 0.9134},
            "layers": [dict(zip(keys, layer, strict=True)) for layer in layers],
        }  # fmt: skip

    def _recipe(self) -> dict[str, Any]:
        training = {
            "epochs": 12, "batch_size": 32, "optimizer": "adamw", "learning_rate": 0.001, "schedule": "one-cycle",
            "weight_decay": 0.01, "early_stopping": 4, "keep": "best", "class_weights": False,
            "augmentation": {"flip_horizontal": True, "rotate_degrees": 10.0, "noise": 0.0, "cached_views": 2},
        }  # fmt: skip
        contenders: list[dict[str, Any]] = []
        for contender in self.skills:
            vgg = contender == "VGG16"
            own = {"weights": "imagenet", "freeze_through": "block4"} if vgg else {}
            contenders.append(
                {"name": contender, "architecture": "vgg16" if vgg else "cnn", **own, "training": training}
            )
        return {
            "name": self.name,
            "task": "classification",
            "seed": 0,
            "data": {"source": "/home/jane/secret/brain-tumor-mri.zip", "size_px": 224, "fit": "pad", "color": "rgb"},
            "split": {"fractions": [0.8, 0.1, 0.1], "group_by": "patient", "near_duplicates": "together"},
            "training": training,
            "contender": contenders,
            "evaluation": {"confidence": 0.95, "resamples": 200},
        }

    def _environment(self) -> dict[str, Any]:
        training = {f"train {contender}": 252.3 for contender in self.skills}
        return {
            "format": 1, "clearmargin": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.0",
            "platform": "Linux x86_64", "processor": "Intel Xeon", "cores": 2, "memory_bytes": 8_000_000_000,
            "features": ["avx512_bf16", "amx_bf16"], "seed": 0, "started": "2026-11-22T18:00:00+00:00",
            "finished": "2026-11-22T18:14:00+00:00", "peak_memory_bytes": 2_040_109_465,
            "seconds": {"images": 9.1, "audit": 0.2, "split": 0.1, **training, "evaluation": 8.0},
        }  # fmt: skip

    def _counts(self) -> dict[str, dict[str, int]]:
        table = pd.crosstab(self.rows["part"], self.rows["label"])
        return {
            part: {label: int(table.loc[part, label]) for label in self.classes}
            for part in ("train", "validation", "test")
        }

    def _audit(self) -> dict[str, Any]:
        excluded = sum(len(f["samples"]) for f in self.findings if f["kind"] == "unreadable-images")
        return {
            "format": 1,
            "simulated": self.simulated,
            "source_kind": "phantom" if self.simulated else "zip",
            "counts": {"found": len(self.rows) + excluded, "decoded": len(self.rows), "excluded": excluded},
            "classes": {label: int((self.rows["label"] == label).sum()) for label in self.classes},
            "given": {},
            "findings": self.findings,
        }

    def _split(self) -> dict[str, Any]:
        counts = self._counts()
        return {
            "format": 1,
            "asked": [0.8, 0.1, 0.1],
            "achieved": {part: sum(found.values()) / len(self.rows) for part, found in counts.items()},
            "counts": counts,
            "groups": {part: int(self.rows["group"][self.rows["part"] == part].nunique()) for part in counts},
            "patients": self.patients,
            "given": False,
            "crossing_groups": 0,
        }


@pytest.fixture
def synthetic_run(tmp_path: Path) -> Callable[..., Path]:
    """Build a run folder from the settings of `SyntheticRun`."""

    def build(**settings: Any) -> Path:
        return SyntheticRun(tmp_path / "run", **settings).write()

    return build


@pytest.fixture
def noise_pictures() -> Callable[[Sequence[str]], dict[str, np.ndarray]]:
    """Pictures that compress badly, the same for the same name."""

    def pictures(names: Sequence[str]) -> dict[str, np.ndarray]:
        random = np.random.default_rng(1)
        return {name: random.integers(0, 256, (224, 224, 3), dtype=np.uint8) for name in names}

    return pictures


def _keep(run_folder: Path, contender: str, name: str = '"><img src=x onerror=alert(9)>\u202e\udce9') -> Path:
    """Write an inside folder as `look_inside` does, from noise."""
    random = np.random.default_rng(0)
    place = run_folder / "contenders" / slug(contender)
    said = read_predictions(place / "predictions.csv")["test"]
    folder, pixels = place / "inside", random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for file in ("sample.png", "look-1.png", "look-2.png"):
        write_bytes(folder / file, picture_png(pixels))
    for file in ("look-1-said.jpg", "look-2-said.jpg"):
        write_bytes(folder / file, overlay_jpeg(pixels, random.random((4, 4))))
    write_bytes(folder / "filters.png", filters_png(random.normal(size=(12, 3, 5, 5))))
    write_bytes(folder / "maps-1.png", maps_png(random.random((8, 32, 32))))
    save_thumbnails(folder / "nearest", [name], lambda names: dict.fromkeys(names, pixels))
    answer = {"name": name, "label": said.classes[0], "probability": 0.9, "true_probability": 0.9}
    right = {**answer, "predicted": said.classes[0], "picture": "look-1.png", "said": "look-1-said.jpg"}
    wrong = {**answer, "predicted": said.classes[1], "picture": "look-2.png", "said": "look-2-said.jpg", "true": None}
    pairs = [{"name": said.names[row], "nearest": name, "distance": 0.25} for row in confident_mistakes(said)]
    content = {
        "format": 1,
        "sample": {**right, "picture": "sample.png", "size": [64, 64], "matrix": image_matrix(pixels)},
        "filters": {
            "picture": "filters.png", "layer": "conv 12, 5x5", "filters": 12, "shown": 12, "channels": 3,
            "learned": False,
        },
        "maps": [{"picture": "maps-1.png", "layer": "conv 12, 5x5, relu", "shape": [12, 32, 32],
                  "channels": list(range(8))}],
        "grad_cam": {"layer": "conv 12, 5x5, relu", "shape": [4, 4], "looks": [right, wrong]},
        "nearest": {"distance": "cosine", "candidates": 900, "compared": 400, "features": 12, "pairs": pairs},
    }  # fmt: skip
    write_json(folder / "inside.json", content)
    return folder


@pytest.fixture
def keep() -> Callable[..., Path]:
    """Give a contender of a synthetic run an inside folder: (run folder, contender, a name for its images)."""
    return _keep


def _beside(name: str) -> ModuleType:
    """A test module of this folder, for what other tests want of it."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reading() -> ModuleType:
    """The strict reader of pages: `read_page`, `words`, `assert_inert`."""
    return _beside("test_page")


@pytest.fixture(scope="session")
def leaking() -> ModuleType:
    """Making a run folder leak, and finding the word for it everywhere: `leak`, `assert_all_leaky`."""
    return _beside("test_leaks")
