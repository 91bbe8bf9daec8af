"""Small classifiers as ONNX files, as somebody else might publish them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

WEIGHTS = np.array([[4.0, -2.0, 1.0], [-3.0, 5.0, 0.5], [1.0, 0.0, -6.0]], dtype=np.float32)  # (channels, classes)


def build_model(
    *,
    batch: int | str = "batch",
    layout: str = "nhwc",
    size_px: int = 16,
    channels: int = 3,
    weights: np.ndarray = WEIGHTS,
    ends_in: str = "Softmax",
    domain: str = "",
) -> onnx.ModelProto:
    """A classifier by the mean of each channel: a product with ``weights``, and what it ``ends_in``, if anything."""
    shape = [batch, size_px, size_px, channels] if layout == "nhwc" else [batch, channels, size_px, size_px]
    axes = [1, 2] if layout == "nhwc" else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    if ends_in:
        nodes.append(helper.make_node(ends_in, ["logits"], ["answers"], domain=domain))
    output = "answers" if ends_in else "logits"
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", 13)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture(scope="session")
def build_onnx() -> Callable[..., onnx.ModelProto]:
    """The function that makes such a classifier."""
    return build_model


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """The function that writes such a classifier and returns its path."""

    def save(name: str = "model.onnx", **what: object) -> Path:
        path = tmp_path / name
        path.write_bytes(build_model(**what).SerializeToString())
        return path

    return save
