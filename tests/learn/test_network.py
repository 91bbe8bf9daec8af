"""A look into a network: what it shows is what the network computed."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from clearmargin.errors import SourceError, UsageError
from clearmargin.learn import activate, convolve, dense, flatten, pool
from clearmargin.learn.network import MAPS_SHOWN, MOST_STAGES, look_inside
from clearmargin.learn.subject import Subject, read_subject
from clearmargin.models.inputs import to_input
from clearmargin.trained import TrainedContender

LAYERS = [
    {"conv": 12, "kernel": 4, "activation": "tanh"},
    {"pool": "average"},
    {"dropout": 0.5},
    {"conv": 5, "kernel": 3, "stride": 2, "padding": "valid", "activation": "leaky_relu"},
    {"flatten": True},
    {"dense": 7, "activation": "relu"},
]


@pytest.fixture(scope="module")
def slice_():
    return read_subject(None)


def test_every_stage_is_what_the_small_functions_compute(untrained, slice_):
    contender = untrained(name="plain", layers=LAYERS)
    view = look_inside(contender, slice_)
    state = {key: value.numpy() for key, value in contender.network.state_dict().items()}
    weights = [state[key] for key in state if key.endswith("weight")]
    biases = [state[key] for key in state if key.endswith("bias")]
    image = to_input(contender.prepare(slice_.content, "x")[None], (0.4,), (0.3,))[0].numpy()
    first = activate(convolve(image, weights[0], padding="same", bias=biases[0]), "tanh")
    pooled = pool(first, "average")
    second = activate(convolve(pooled, weights[1], 2, "valid", biases[1]), "leaky_relu")
    third = activate(dense(flatten(second), weights[2], biases[2]), "relu")
    logits = dense(third, weights[3], biases[3])
    expected = [
        ("conv 12, 4×4, Tanh", first),
        ("average pool, 2×2", pooled),
        ("conv 5, 3×3, stride 2, LeakyReLU", second),
        ("flatten", flatten(second)),
        ("dense 7, ReLU", third),
        ("dense 3", logits),
    ]
    assert [stage.label for stage in view.stages] == [label for label, _ in expected]
    for stage, (_, values) in zip(view.stages, expected, strict=True):
        np.testing.assert_allclose(stage.output, values, rtol=1e-4, atol=1e-5)
    assert [answer[0] for answer in view.answers] == [contender.classes[k] for k in np.argsort(-logits)]
    assert sum(answer[2] for answer in view.answers) == pytest.approx(1)
    assert view.answers[0][1] == pytest.approx(logits.max(), rel=1e-4)
    assert (len(view.filters), view.filter_shape, view.filters[0].width) == (12, "1×4×4", 4)
    assert len(view.stages[0].maps) == MAPS_SHOWN
    busiest = sorted(np.argsort(-first.std(axis=(1, 2)))[:MAPS_SHOWN].tolist())
    assert [channel for channel, _ in view.stages[0].maps] == busiest
    assert not any(module._forward_hooks for module in contender.network.modules())


@pytest.mark.parametrize(("weights", "cut"), [("none", "none"), ("imagenet", "block4")])
def test_vgg16_whose_activations_work_in_place(untrained, slice_, weights, cut):
    contender = untrained(32, "rgb", name="VGG16", architecture="vgg16", weights=weights, freeze_through=cut)
    view = look_inside(contender, slice_)
    assert [stage.label.split(",")[0] for stage in view.stages if stage.label.startswith("conv")] == (
        ["conv 64"] * 2 + ["conv 128"] * 2 + ["conv 256"] * 3 + ["conv 512"] * 6
    )
    inputs = to_input(contender.prepare(slice_.content, "x")[None], (0.4,) * 3, (0.3,) * 3)
    with torch.inference_mode():
        second_block = contender.network.features[:10](inputs)[0].numpy()
    stage = next(stage for stage in view.stages if stage.shape == (128, 8, 8))
    np.testing.assert_allclose(stage.output, second_block, rtol=1e-3, atol=1e-4)
    assert (view.filters_total, len(view.filters), view.filter_shape) == (64, 64, "3×3×3")
    assert view.filters_learned == (cut == "none")
    assert len(view.stages) <= MOST_STAGES
    assert view.stages[-1].label == "dense 3"


def test_a_network_without_convolution_and_a_very_deep_one(untrained, slice_):
    flat = look_inside(untrained(name="flat", layers=[{"flatten": True}, {"dense": 4}]), slice_)
    assert (flat.filters, flat.filters_total) == ([], 0)
    assert flat.stages[0].strip.width == 64
    deep = untrained(name="deep", layers=[{"conv": 2, "activation": "relu"}] * 40 + [{"pool": "global_max"}])
    view = look_inside(deep, slice_)
    assert (len(view.stages), view.stages_left_out) == (MOST_STAGES, 43 - MOST_STAGES)
    assert view.stages[-1].label == "dense 3"
    assert view.stages[-2].strip is not None


@pytest.mark.parametrize(("takes", "said"), [
    ({"columns": ["crim", "zn"]}, "takes rows of a table and its task is regression"),
    ({"size_px": 32, "fit": "pad", "color": "rgb"}, "takes an image and its task is regression"),
])  # fmt: skip
def test_a_model_of_another_kind_is_refused(tmp_path, slice_, takes, said):
    with pytest.raises(UsageError, match="models that classify images") as error:
        look_inside(TrainedContender("1-D CNN", tmp_path, {"preprocessing": takes, "task": "regression"}), slice_)
    assert said in str(error.value)


def test_an_image_that_only_the_page_could_read(untrained):
    broken = Subject("x.png", b"no image", np.zeros((16, 16), dtype=np.uint8), 16, 16, False)
    with pytest.raises(SourceError, match=r"x\.png can't be used"):
        look_inside(untrained(name="plain", layers=LAYERS), broken)


def test_colour_filters_are_pictures_in_colour(untrained, slice_):
    view = look_inside(untrained(16, "rgb", name="colour", layers=LAYERS), slice_)
    with Image.open(io.BytesIO(base64.b64decode(view.filters[0].uri.partition(",")[2]))) as picture:
        assert (picture.mode, picture.size) == ("RGB", (4, 4))
