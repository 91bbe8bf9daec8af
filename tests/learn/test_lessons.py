"""What the page computes, against sums written out another way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from clearmargin.learn.curves import cards
from clearmargin.learn.kernels import KERNELS
from clearmargin.learn.lessons import PATCH_PX, busiest_patch, kernel_scale, lessons, worked_example
from clearmargin.learn.page import number
from clearmargin.learn.pictures import grey_levels
from clearmargin.learn.subject import read_subject


@pytest.fixture(scope="module")
def slice_():
    return read_subject(None)


@pytest.fixture(scope="module")
def taught(slice_):
    return lessons(slice_)


def test_the_worked_example_is_the_tutorials():
    steps = worked_example()
    assert [(step["pixel"], step["weight"]) for step in steps] == [(1, 1), (0, -1), (1, 1), (1, -1)]
    assert [step["so_far"] for step in steps] == [1, 1, 2, 1]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.key)
def test_kernels_do_what_their_names_say(kernel):
    dot, ramp = np.zeros((5, 5)), np.tile(np.arange(5.0), (5, 1))
    dot[2, 2] = 1
    weights = np.array(kernel.weights).reshape(3, 3) / kernel.divisor
    np.testing.assert_allclose(ndimage.correlate(dot, kernel.values, mode="constant")[1:4, 1:4], weights[::-1, ::-1])
    if kernel_scale(kernel.values) == "signed":
        assert ndimage.correlate(np.full((5, 5), 7.0), kernel.values)[2, 2] == 0
    else:
        assert kernel.values.sum() == pytest.approx(1)
    across = ndimage.correlate(ramp, kernel.values)[2, 2]
    down = ndimage.correlate(ramp.T, kernel.values)[2, 2]
    assert ((across > 0, down > 0) == (True, False)) or kernel.key != "vertical"
    assert ((across > 0, down > 0) == (False, True)) or kernel.key != "horizontal"


def test_the_patch_is_where_the_edge_is():
    pixels = np.full((40, 40), 20, dtype=np.uint8)
    pixels[20:34, 25:] = 220
    row, column = busiest_patch(pixels)
    assert column <= 24 < 25 < column + PATCH_PX
    assert 20 <= row <= 34 - PATCH_PX
    assert busiest_patch(np.zeros((16, 16), dtype=np.uint8)) == (0, 0)


def test_sizes_after_stride_and_padding(taught, slice_):
    n = slice_.side_px
    for shown in taught["strides"]:
        places = range(0, n - 2 if shown["padding"] == "valid" else n, shown["stride"])
        assert shown["side"] == shown["picture"].width == len(places)


def test_the_dense_layer_leads_to_the_softmax(taught):
    sums = [
        sum(v * w for v, w in zip([1, 0, 2, 3, 0, 1, 1, 0], row, strict=True)) + b
        for row, b in zip(taught["weights"], taught["bias"], strict=True)
    ]
    assert taught["logits"].tolist() == sums == [2.5, 1.5, 0.5]
    np.testing.assert_allclose(taught["probabilities"], np.exp(sums) / np.exp(sums).sum())


def test_every_seed_of_dropout_is_numpys(taught):
    example = taught["dropout"]
    for seed, draws in enumerate(example["draws"]):
        np.testing.assert_allclose(draws, np.random.default_rng(seed).random(len(draws)), atol=1e-6)
    gone = np.array(example["draws"][0]) < example["rate"]
    np.testing.assert_allclose(example["after"], np.where(gone, 0, np.array(example["values"]) / (1 - example["rate"])))


def test_the_tutorials_six_functions_and_one_more(slice_):
    made = {card.kind: card for card in cards(slice_.pixels / 255)}
    assert list(made) == ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "maxout", "gelu"]
    assert made["sigmoid"].at == pytest.approx(1 / (1 + np.e))
    assert made["elu"].at == pytest.approx(1 / np.e - 1)
    assert made["relu"].picture.low == 0
    assert made["maxout"].lines


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (-0.0, "0"), (-0.004, "0"), (0.005, "0.01"), (-0.5, "−0.5"), (34.0, "34"), (100, "100"), (2.675, "2.68"),
    (-1234.567, "−1234.57"), (float("nan"), "–"),
])  # fmt: skip
def test_numbers_in_words(value, text):
    assert number(value) == text


def test_scales_of_pictures():
    values = np.array([[-2.0, 0.0, 1.0]])
    assert grey_levels(values, "signed").tolist() == [[1, 128, 192]]
    assert grey_levels(np.array([[0.0, 1.0, 4.0]]), "positive").tolist() == [[0, 64, 255]]
    assert grey_levels(np.array([[-9.0, 12.5, 300.0]]), "pixels").tolist() == [[0, 13, 255]]
    assert grey_levels(np.zeros((1, 2)), "signed").tolist() == [[128, 128]]
