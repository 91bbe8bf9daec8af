"""Exported files from elsewhere: what is wrong with them is said, and nothing of them is run before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from clearmargin.errors import ClearmarginError, UsageError, WeightsError
from clearmargin.exported import exported_contender, is_exported, open_exported, softmax
from clearmargin.exporting.onnx_file import make_onnx

PATH = Path("model.onnx")


@pytest.fixture(scope="module")
def content(tiny):
    return make_onnx(tiny, tiny.contender("one layer"), PATH, None)[0].content


def changed(content, change):
    model = onnx.load_model_from_string(content)
    change(model)
    return model.SerializeToString()


def put(key, value, *, raw=False):
    def change(model):
        kept = [entry for entry in model.metadata_props if entry.key != f"clearmargin.{key}"]
        text = value if raw else json.dumps(value)
        kept.append(onnx.StringStringEntryProto(key=f"clearmargin.{key}", value=text))
        del model.metadata_props[:]
        model.metadata_props.extend(kept)

    return change


def drop_metadata(model):
    del model.metadata_props[:]


def other_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3


def two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def outside_weights(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def foreign_operation(model):
    model.graph.node[0].domain = "com.example"


def with_function(model, domain):
    """The first node becomes a function of the file, which leaves the answers as they are."""
    node = model.graph.node[0]
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    names = [[f"{way}{place}" for place in range(len(named))] for way, named in (("i", node.input), ("o", node.output))]
    inner = helper.make_node(node.op_type, *names)
    inner.attribute.extend(node.attribute)
    model.functions.append(helper.make_function(domain, "Own", *names, [inner], opsets))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    node.domain, node.op_type = domain, "Own"
    del node.attribute[:]


def beside_a_function(model):
    with_function(model, "com.example")
    model.graph.node[1].domain = "com.example"


def function_of_the_runtime(model):
    with_function(model, "com.microsoft")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (drop_metadata, r"was not written by `clearmargin export`"),
        (put("classes", ["a"]), r"damaged, or of another version of clearmargin \('classes'\)"),
        (put("classes", ["alpha", "beta"]), r"graph .* is not what the file says.*1x16x16 in and \?x2 out, got"),
        (put("classes", "[" * 5000, raw=True), r"damaged"),
        (put("format", 2), r"damaged, or of another version"),
        (put("size_px", 10**9), r"'size_px'"),
        (put("size_px", 32), r"expected float32 \?x1x32x32 in"),
        (put("mean", [0.1, 0.2]), r"'mean' and 'std' need 1 numbers"),
        (put("std", [0.0]), r"do not fit images"),
        (put("temperature", 3.5), r"states two temperatures"),
        (put("temperature", "NaN", raw=True), r"'temperature'"),
        (put("decision", {"temperature": 1}), r"thresholds .* were changed since"),
        (put("color", "rgb"), r"need 3 numbers"),
        (put("input", "values"), r"do not fit images"),
        (put("extra", 1), r"'extra'"),
        (put("weights_sha256", "../../x"), r"'weights_sha256'"),
        (put("task", "regression"), r"a classification has 'classes'"),
        (other_input, r"got float32 \?x3x16x16 in"),
        (two_inputs, r"has 2 inputs"),
        (outside_weights, r"keeps weights .* in another file"),
        (foreign_operation, r"uses operations of 'com.example'"),
        (beside_a_function, r"uses operations of 'com.example'"),
        (function_of_the_runtime, r"uses operations of 'com.microsoft'"),
    ],
)
def test_what_is_wrong_is_said(content, change, complaint):
    with pytest.raises(WeightsError, match=complaint):
        exported_contender(changed(content, change), PATH)


def test_a_function_in_the_file_is_run(content):
    square = list(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8))
    with_one = exported_contender(changed(content, lambda model: with_function(model, "com.example")), PATH)
    np.testing.assert_array_equal(with_one.judged(square)[0], exported_contender(content, PATH).judged(square)[0])


@pytest.mark.parametrize("bad", [b"", b"not onnx", b"\x08\x0a" * 500])
def test_what_is_no_onnx_file(bad, tmp_path):
    (tmp_path / "x.onnx").write_bytes(bad)
    with pytest.raises(WeightsError):
        open_exported(tmp_path / "x.onnx")


def test_damage_anywhere_gives_a_typed_error_or_an_answer(content):
    random = np.random.default_rng(0)
    square = [np.zeros((16, 16, 1), np.uint8)]
    answers = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(0, len(damaged), 3):
            damaged[place] = random.integers(0, 256)
        for tried in (damaged[: random.integers(1, len(damaged))], damaged):
            try:
                probabilities, _ = exported_contender(bytes(tried), PATH).judged(square)
            except ClearmarginError:
                continue
            np.testing.assert_allclose(probabilities.sum(axis=1), 1)
            answers += 1
    assert answers  # damage that nobody notices is judged, and not refused throughout


def test_files_that_are_missing_or_too_large(tmp_path, monkeypatch, content):
    with pytest.raises(WeightsError, match="No such file"):
        open_exported(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(content)
    monkeypatch.setattr("clearmargin.exported.LARGEST_BYTES", 1000)
    with pytest.raises(WeightsError, match="larger than"):
        open_exported(tmp_path / "x.onnx")
    (tmp_path / "run.onnx").mkdir()
    assert [is_exported(tmp_path / name) for name in ("x.onnx", "X.ONNX", "run.onnx", "run")] == [
        True,
        True,
        False,
        False,
    ]


def test_what_it_can_not_do(content):
    file = exported_contender(content, PATH)
    assert file.history.empty
    with pytest.raises(UsageError, match="has no layers to look into: give its run"):
        _ = file.network
    with pytest.raises(UsageError, match="answers with classes"):
        file.estimates(np.zeros((1, 3)))
    probabilities, distances = file.judged([])
    assert probabilities.shape == (0, 3)
    assert distances.shape == (0,)


def test_softmax_is_that_of_torch():
    import torch

    logits = np.random.default_rng(0).normal(size=(20, 5)) * 300
    np.testing.assert_allclose(softmax(logits), torch.softmax(torch.from_numpy(logits), 1).numpy(), atol=1e-15)
