"""Foreign classifiers: what they are fed, what they answer, and which files are refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import UsageError, WeightsError, WorkError
from clearmargin.foreign import foreign_preprocessing, open_foreign, open_stored
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.records import Preprocessing

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

CLASSES = ("a", "b", "c")
WEIGHTS = np.array([[4.0, -2.0, 1.0], [-3.0, 5.0, 0.5], [1.0, 0.0, -6.0]])


def settings(path: Path, **more: object) -> ForeignContender:
    given = {"name": "guest", "onnx": str(path), "size_px": 16, "scaling": "0..1", "outputs": "probabilities"}
    return ForeignContender.model_validate({**given, "classes": list(CLASSES), **more})


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_answers_are_those_of_the_arithmetic(
    save_model: Callable[..., Path], images: np.ndarray, batch: int | str, layout: str
) -> None:
    model = open_foreign(settings(save_model(batch=batch, layout=layout)), CLASSES)
    assert model.feeding.layout == layout
    expected = softmax((images / 255).mean(axis=(1, 2)) @ WEIGHTS)
    np.testing.assert_allclose(model.probabilities(images), expected, atol=1e-6)
    assert model.probabilities(images[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"scaling": "0..255"}, lambda pixels: pixels),
        ({"scaling": "-1..1"}, lambda pixels: pixels / 127.5 - 1),
        (
            {"scaling": "imagenet"},
            lambda pixels: (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
        (
            {"scaling": None, "mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 4.0]},
            lambda pixels: (pixels / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4],
        ),
        (
            # mean and std are said in the order red, green, blue, whatever the order of the channels
            {"scaling": None, "mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 4.0], "channels": "bgr"},
            lambda pixels: ((pixels / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4])[..., ::-1],
        ),
    ],
)
def test_pixels_are_scaled_as_the_author_did(
    save_model: Callable[..., Path], images: np.ndarray, how: dict, expected: Callable
) -> None:
    # weights this small keep the softmax away from its ends, where a wrong scaling could hide
    weights = (WEIGHTS / 500).astype(np.float32)
    model = open_foreign(settings(save_model(weights=weights), **how), CLASSES)
    wanted = softmax(expected(images.astype(np.float64)).mean(axis=(1, 2)) @ weights.astype(np.float64))
    np.testing.assert_allclose(model.probabilities(images), wanted, atol=1e-6)


def test_grey_models_take_one_channel(save_model: Callable[..., Path], images: np.ndarray) -> None:
    weights = np.array([[1.0, -1.0, 0.5]], dtype=np.float32)
    chosen = settings(save_model(channels=1, weights=weights), channels="gray")
    assert foreign_preprocessing(chosen, Preprocessing(32, "crop")).shape == (1, 16, 16)
    assert foreign_preprocessing(chosen, Preprocessing(32, "crop")).fit == "crop"
    grey = images[..., :1]
    expected = softmax((grey / 255).mean(axis=(1, 2)) @ weights)
    np.testing.assert_allclose(open_foreign(chosen, CLASSES).probabilities(grey), expected, atol=1e-6)


def test_logits_become_probabilities_and_classes_are_put_in_order(
    save_model: Callable[..., Path], images: np.ndarray
) -> None:
    path = save_model(ends_in="")
    chosen = settings(path, outputs="logits", map={"a": "zeta", "b": "alpha", "c": "mu"})
    model = open_foreign(chosen, ("alpha", "mu", "zeta"))
    expected = softmax((images / 255).mean(axis=(1, 2)) @ WEIGHTS)[:, [1, 2, 0]]
    np.testing.assert_allclose(model.probabilities(images), expected, atol=1e-6)


def test_what_is_called_probabilities_has_to_be(save_model: Callable[..., Path], images: np.ndarray) -> None:
    model = open_foreign(settings(save_model(ends_in="")), CLASSES)
    with pytest.raises(WorkError, match=r"last operation of model.onnx is MatMul.*set outputs = \"logits\""):
        model.probabilities(images)
    with pytest.raises(WeightsError, match=r"last operation of model.onnx is a Softmax.*\"probabilities\""):
        open_foreign(settings(save_model(), outputs="logits"), CLASSES)


def test_numbers_that_are_not_finite_are_refused(save_model: Callable[..., Path], images: np.ndarray) -> None:
    weights = WEIGHTS.astype(np.float32).copy()
    weights[0, 0] = np.inf
    model = open_foreign(settings(save_model(weights=weights)), CLASSES)
    with pytest.raises(WorkError, match="not finite"):
        model.probabilities(images)


@pytest.mark.parametrize(
    ("classes", "map_", "said"),
    [
        (("a", "b", "c", "d"), {}, "nothing of it covers 'd'"),
        (("a", "b"), {}, "none of the study's classes is 'c'"),
        (("a", "b", "c"), {"c": "x"}, r"none of the study's classes is 'c' \(as 'x'\)"),
    ],
)
def test_the_classes_of_the_study_are_covered_once(
    save_model: Callable[..., Path], classes: tuple, map_: dict, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        open_foreign(settings(save_model(), map=map_), classes)


def test_close_names_are_suggested(save_model: Callable[..., Path]) -> None:
    own = ["glioma", "notumor", "pituitary"]
    with pytest.raises(UsageError) as raised:
        open_foreign(settings(save_model(), classes=own), ("glioma_tumor", "no_tumor", "pituitary"))
    assert 'perhaps map = { "glioma" = "glioma_tumor", "notumor" = "no_tumor" }' in str(raised.value)


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ({"size_px": 20}, {}, r"has the shape \?x20x20x3, which does not fit size_px = 16"),
        ({}, {"layout": "nchw"}, r'does not fit .* in the layout "nchw"'),
        ({"batch": 4}, {}, "takes batches of exactly 4 images"),
        ({"weights": WEIGHTS.astype(np.float32)[:, :2]}, {}, r"output .* has the shape \?x2: expected a row of 3"),
        ({"domain": "evil.ops", "ends_in": "Softmax"}, {}, "uses operations of 'evil.ops', which take a library"),
    ],
)
def test_a_file_that_is_not_what_the_recipe_says_is_refused(
    save_model: Callable[..., Path], model: dict, more: dict, said: str
) -> None:
    with pytest.raises(WeightsError, match=said):
        open_foreign(settings(save_model(**model), **more), CLASSES)


def test_a_layout_that_the_shape_leaves_open_is_asked_for(save_model: Callable[..., Path]) -> None:
    path = save_model()
    model = onnx.load(str(path))
    for size in model.graph.input[0].type.tensor_type.shape.dim:
        size.dim_param = "open"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="fits size_px = 16 and 3 channels in both layouts: set layout"):
        open_foreign(settings(path), CLASSES)
    assert open_foreign(settings(path, layout="nhwc"), CLASSES).feeding.layout == "nhwc"


def test_weights_in_another_file_are_not_followed(save_model: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(36))
    path = save_model()
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=r"keeps weights .* in another file"):
        open_foreign(settings(path), CLASSES)


def test_weights_in_another_file_are_found_inside_branches_too(save_model: Callable[..., Path]) -> None:
    path = save_model()
    model = onnx.load(str(path))
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0])
    hidden.ClearField("float_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../elsewhere.bin")
    inner = helper.make_graph([helper.make_node("Constant", [], ["x"], value=hidden)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["means"], ["y"], then_branch=inner, else_branch=inner))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match=r"keeps weights .* in another file"):
        open_foreign(settings(path), CLASSES)


def test_several_outputs_are_refused(save_model: Callable[..., Path]) -> None:
    path = save_model()
    model = onnx.load(str(path))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="1 inputs and 2 outputs"):
        open_foreign(settings(path), CLASSES)


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x07" * 50, b"ORTM" + bytes(100)])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        open_foreign(settings(path), CLASSES)


def test_flipped_bytes_give_words_and_never_a_traceback(save_model: Callable[..., Path], images: np.ndarray) -> None:
    path = save_model()
    sound = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(sound)
        for place in random.integers(0, len(sound), random.integers(1, 6)):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(bytes(damaged[: random.choice([len(sound), random.integers(1, len(sound))])]))
        try:
            said = open_foreign(settings(path), CLASSES).probabilities(images)
        except (WeightsError, WorkError):
            continue
        np.testing.assert_allclose(said.sum(axis=1), 1)


def test_the_file_in_a_run_folder_is_bound_by_its_hash(save_model: Callable[..., Path]) -> None:
    path = save_model()
    chosen = settings(path)
    sha256 = open_foreign(chosen, CLASSES).sha256
    assert open_stored(chosen, CLASSES, path, sha256).sha256 == sha256
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(WeightsError, match=r"SHA-256 differs from model\.json"):
        open_stored(chosen, CLASSES, path, sha256)
    path.unlink()
    with pytest.raises(WeightsError, match="is missing"):
        open_stored(chosen, CLASSES, path, sha256)


@pytest.mark.parametrize(
    "named", ["nobody-has-this-package:model.onnx", "numpy:../../etc/passwd.onnx", "numpy:no-such-file.onnx"]
)
def test_a_file_of_a_package_that_is_not_there(named: str) -> None:
    with pytest.raises(WeightsError, match=r"not installed or has no such file|There is no file"):
        open_foreign(settings(Path(named)), CLASSES)


def test_nothing_is_sent_and_no_socket_opened(save_model: Callable[..., Path]) -> None:
    code = f"""
import sys
def hook(event, args):
    if event.startswith("socket.") and event not in ("socket.gethostname",):
        raise SystemExit(f"a socket was used: {{event}} {{args}}")
sys.addaudithook(hook)
import os, numpy as np
from clearmargin.foreign import open_foreign
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.records import Preprocessing
chosen = ForeignContender(name="guest", onnx={str(save_model())!r}, size_px=16, scaling="0..1",
                          outputs="probabilities", classes=["a", "b", "c"])
open_foreign(chosen, ("a", "b", "c")).probabilities(np.zeros((2, 16, 16, 3), np.uint8))
print(os.environ["ORT_DISABLE_TELEMETRY"], "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["1", "True"], "")
