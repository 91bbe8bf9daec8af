"""Training never sees the test part: whatever lies there, the same bytes come out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from clearmargin.contest import first_network, train_contender
from clearmargin.evaluation import read_predictions
from clearmargin.models.weight_files import TRUNK_SHAPES
from clearmargin.recipe import Contender, EvaluationSettings
from clearmargin.records import Inputs, Preprocessing, Sample, Split
from clearmargin.task import Classification

PARTS = np.array(["train"] * 10 + ["validation"] * 4 + ["test"] * 6, dtype=object)
TEST = np.flatnonzero(PARTS == "test")
TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "class_weights": True,
    "precision": "float32",
    "augmentation": {"flip_horizontal": True, "brightness": 0.1},
}
CNN = {
    "name": "plain",
    "layers": [{"conv": 4, "batch_norm": True, "activation": "relu"}, {"pool": "max"}, {"dropout": 0.2}],
    "training": TRAINING,
}


class Guarded:
    """Rows that don't let anybody look at the test part before the model is on the disk."""

    def __init__(self, values: np.ndarray, model: Path) -> None:
        self.values, self.model, self.shape, self.dtype = values, model, values.shape, values.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        assert self.model.exists() or not set(rows.tolist()) & set(TEST.tolist())
        return self.values[rows]


@pytest.fixture
def train(tmp_path, monkeypatch):
    def train(described: dict, name: str, values: np.ndarray, labels: np.ndarray) -> Path:
        folder = tmp_path / name
        monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / f"{name} cache"))
        names = np.array([f"{number}.png" for number in range(len(values))], dtype=object)
        pixels = Inputs(
            rows=Guarded(values, folder / "model.json"),
            samples=tuple(Sample(*pair) for pair in zip(names, labels, strict=True)),
            facts=pd.DataFrame({"name": names, "pixel_sha256": names}),
            findings=(),
            found=len(values),
            key=name,
            preprocessing=Preprocessing(values.shape[1]),
            simulated=False,
        )
        split = Split(names, labels, names, PARTS, (0.5, 0.2, 0.3), patients=False)
        contender = Contender.model_validate(described)
        network, pretraining = first_network(contender, (3, values.shape[1], values.shape[2]), 2, seed=1)
        task = Classification(("no", "yes"))
        train_contender(
            contender, network, pretraining, task, pixels, split, folder, 1, EvaluationSettings(), lambda *_: None
        )
        return folder

    return train


@pytest.fixture(params=["plain", "VGG"])
def contender(request, tmp_path) -> dict:
    if request.param == "plain":
        return CNN
    drawn = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=drawn) * 0.05 for name, shape in TRUNK_SHAPES.items()}
    save_file(tensors, tmp_path / "trunk.safetensors")
    return {
        "name": "VGG",
        "architecture": "vgg16",
        "weights": str(tmp_path / "trunk.safetensors"),
        "freeze_through": "block5",
        "training": TRAINING,
    }


def test_noise_in_the_test_part_leaves_every_byte_of_the_model_alone(contender, train):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (len(PARTS), 32, 32, 3), dtype=np.uint8)
    labels = np.array(["no", "yes"] * 10, dtype=object)
    noisy, relabelled = values.copy(), labels.copy()
    noisy[TEST] = rng.integers(0, 256, noisy[TEST].shape)
    relabelled[TEST] = relabelled[TEST][::-1]

    first = train(contender, "as it is", values, labels)
    second = train(contender, "noise", noisy, relabelled)

    for file in ("model.safetensors", "gate.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    described = [json.loads((folder / "model.json").read_text()) for folder in (first, second)]
    for description in described:
        del description["training"]["seconds"], description["training"]["trunk_seconds"], description["content_sha256"]
        assert set(description["decision"]) >= {"temperature", "conformal", "abstention", "gate"}
    assert described[0] == described[1]
    said = [read_predictions(folder / "predictions.csv") for folder in (first, second)]
    assert np.array_equal(said[0]["validation"].probabilities, said[1]["validation"].probabilities)
    assert not np.array_equal(said[0]["test"].probabilities, said[1]["test"].probabilities)
    assert said[0]["test"].names.tolist() == [f"{number}.png" for number in TEST]
