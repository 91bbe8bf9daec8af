"""A tiny finished run, networks with first weights, and what they become as ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import _without_figures

import clearmargin as cm
from clearmargin.files import file_sha256, write_tensors
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Contender
from clearmargin.trained import TrainedContender

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
for _needed in ("onnxruntime", "onnxscript"):
    pytest.importorskip(_needed, reason=f"{_needed} is not installed")


_traced: dict[Any, bytes] = {}


@pytest.fixture(autouse=True, scope="session")
def _trace_once() -> Iterator[None]:
    """Tracing a network takes a second and more: the same weights are traced once for all tests."""
    from clearmargin.exporting import graph

    trace = graph._traced

    def traced(contender: TrainedContender) -> Any:
        key = (contender.description["weights_sha256"], graph.plain_network)
        if key not in _traced:
            _traced[key] = trace(contender).SerializeToString()
        return onnx.load_model_from_string(_traced[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_traced", traced)
        yield


@pytest.fixture(scope="session")
def tiny(class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> cm.Run:
    """Two plain CNNs on 16 px grey images of three classes, with blank sheets for the figures: nobody looks at them."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with _without_figures():
        return cm.run(tiny_recipe, data=class_folder, out=out, overrides=["training.epochs=2"])


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[..., TrainedContender]:
    """Build a contender from its architecture, with first weights from a seed: of images, or of a table's columns."""

    def build(
        size_px: int = 32, color: str = "rgb", columns: int = 0, place: Path = tmp_path, **architecture: Any
    ) -> TrainedContender:
        channels = 3 if color == "rgb" else 1
        shape = (1, columns) if columns else (channels, size_px, size_px)
        named = {"name": "untrained", **architecture}
        network = build_network(Contender.model_validate(named), shape, 1 if columns else 3)
        initialise(network, torch.Generator().manual_seed(1))
        for number, parameter in enumerate(network.parameters()):  # zeros would hide a forgotten bias
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
        write_tensors(place / "model.safetensors", network.state_dict())
        answer = {"target": {"name": "y", "mean": 20.0, "std": 4.0}} if columns else {"classes": ["a", "b", "=c"]}
        inputs = columns or channels
        framing = (
            {"columns": [f"x{k}" for k in range(columns)]} if columns
            else {"size_px": size_px, "fit": "pad", "color": color, "trim": False, "intensity": "as-is"}
        )  # fmt: skip
        pre = {**framing, "mean": [0.4] * inputs, "std": [0.3] * (inputs - 1) + [0.0 if columns else 0.25]}
        description = {
            "architecture": named,
            "task": "regression" if columns else "classification",
            **answer,
            "preprocessing": pre,
            "training": {"precision": "float32"},
            "weights_sha256": file_sha256(place / "model.safetensors"),
        }
        return TrainedContender("untrained", place, description)

    return build
