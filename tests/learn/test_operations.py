"""The small public API: PyTorch's numbers, this package's own layers, and messages that say what would fit."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import clearmargin
from clearmargin.errors import UsageError
from clearmargin.learn import activate, convolve, dense, dropout, flatten, pool
from clearmargin.models.layers import build_layers
from clearmargin.recipe_layers import Conv

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("module", ["learn", "learn.operations", "learn.activations"])
def test_the_examples_in_the_docstrings_are_true(module):
    result = doctest.testmod(import_module(f"clearmargin.{module}"))
    assert (result.failed, result.attempted > 3) == (0, True)


def test_it_is_reached_from_the_package():
    assert clearmargin.learn.convolve is convolve


def test_the_functions_need_numpy_only():
    heavy = ("torch", "pandas", "scipy", "sklearn", "PIL", "jinja2", "matplotlib", "pydantic")
    code = f"import sys, clearmargin.learn; print(*sorted(set(sys.modules) & {set(heavy)!r}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_the_tutorials_sum():
    assert convolve([[1, 0], [1, 1]], [[1, -1], [1, -1]]).tolist() == [[1.0]]


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["valid", "same", 0, 1, 2]),
    seed=st.integers(0, 99),
)
def test_convolve_is_torchs(channels, filters, height, width, rows, columns, stride, padding, seed):
    random = np.random.default_rng(seed)
    image, kernel = (
        random.normal(size=(channels, height, width)),
        random.normal(size=(filters, channels, rows, columns)),
    )
    bias = random.normal(size=filters)
    if isinstance(padding, int):
        sides = (padding,) * 4
    else:  # for functional.pad: left, right, top, bottom
        total = (columns - 1, rows - 1) if padding == "same" else (0, 0)
        sides = tuple(part for zeros in total for part in (zeros // 2, zeros - zeros // 2))
    padded = functional.pad(torch.tensor(image), sides)
    if rows > padded.shape[1] or columns > padded.shape[2]:
        with pytest.raises(UsageError, match="kernel must fit"):
            convolve(image, kernel, stride, padding, bias)
        return
    expected = functional.conv2d(padded[None], torch.tensor(kernel), torch.tensor(bias), stride)[0].numpy()
    np.testing.assert_allclose(convolve(image, kernel, stride, padding, bias), expected, **CLOSE)
    if padding == "same":
        assert expected.shape[1:] == (-(-height // stride), -(-width // stride))
        if stride == 1 and rows % 2 and columns % 2:  # torch warns that even kernels are slow
            same = functional.conv2d(torch.tensor(image)[None], torch.tensor(kernel), padding="same")[0].numpy()
            np.testing.assert_allclose(convolve(image, kernel, padding="same"), same, **CLOSE)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_convolve_is_the_packages_own_layer(kernel, stride, padding):
    network, _ = build_layers([Conv(conv=4, kernel=kernel, stride=stride, padding=padding)], (2, 11, 8), 2, "a test")
    image = RANDOM.normal(size=(2, 11, 8)).astype(np.float32)
    convolution = next(module for module in network if isinstance(module, torch.nn.Conv2d))
    layers = torch.nn.Sequential(*list(network)[: list(network).index(convolution) + 1])
    with torch.inference_mode():
        expected = layers(torch.tensor(image)[None])[0].numpy()
    weights, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
    np.testing.assert_allclose(convolve(image, weights, stride, padding, bias), expected, rtol=1e-5, atol=1e-6)


def test_one_channel_or_several_one_filter_or_several():
    grey, kernel = RANDOM.integers(0, 256, (6, 7), dtype=np.uint8), RANDOM.normal(size=(3, 3))
    plain = convolve(grey, kernel)
    assert (plain.shape, plain.dtype) == ((4, 5), np.float64)
    np.testing.assert_array_equal(convolve(grey[None], kernel), plain)
    np.testing.assert_array_equal(convolve(grey[None], kernel[None]), plain)
    np.testing.assert_array_equal(convolve(grey, kernel[None, None]), plain[None])
    colour, one = RANDOM.normal(size=(3, 6, 7)), RANDOM.normal(size=(3, 3, 3))
    apart = sum(convolve(channel, weights) for channel, weights in zip(colour, one, strict=True))
    np.testing.assert_allclose(convolve(colour, one), apart, **CLOSE)
    assert convolve(colour, one[None]).shape == (1, 4, 5)


def test_bytes_do_not_overflow_and_the_input_stays_as_it_is():
    image = np.full((3, 3), 255, dtype=np.uint8)
    assert convolve(image, np.ones((3, 3), dtype=np.uint8)).item() == 9 * 255
    assert pool(image, "sum", 3).item() == 9 * 255
    assert image.dtype == np.uint8
    assert (image == 255).all()


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(0, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    size=st.integers(1, 5),
    stride=st.none() | st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_pool_is_torchs(channels, height, width, size, stride, seed):
    shape = (channels, height, width) if channels else (height, width)
    image = np.random.default_rng(seed).normal(size=shape)
    if size > min(height, width):
        with pytest.raises(UsageError, match=f"at most {min(height, width)}"):
            pool(image, "max", size, stride)
        return
    batch = torch.tensor(image).reshape(1, -1, height, width)
    average = functional.avg_pool2d(batch, size, stride)
    expected = {"max": functional.max_pool2d(batch, size, stride), "average": average, "sum": average * size**2}
    for kind, values in expected.items():
        out = pool(image, kind, size, stride)
        np.testing.assert_allclose(out, values.numpy().reshape(out.shape), **CLOSE)
        assert out.ndim == image.ndim


@pytest.mark.parametrize(("kind", "settings", "oracle"), [
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("relu", {}, torch.relu),
    ("leaky_relu", {}, functional.leaky_relu),
    ("leaky_relu", {"slope": 0.2}, lambda x: functional.leaky_relu(x, 0.2)),
    ("elu", {}, functional.elu),
    ("elu", {"alpha": 1.7}, lambda x: functional.elu(x, 1.7)),
    ("gelu", {}, functional.gelu),
    ("softmax", {}, lambda x: torch.softmax(x, -1)),
    ("softmax", {"axis": 0}, lambda x: torch.softmax(x, 0)),
    ("maxout", {"pieces": 3}, lambda x: torch.stack([x[0:3].amax(0), x[3:6].amax(0)])),
    ("maxout", {"pieces": 2, "axis": -1}, lambda x: functional.max_pool1d(x, 2)),
])  # fmt: skip
@pytest.mark.parametrize("scale", [1, 30, 1e4])
def test_activations_are_torchs(kind, settings, oracle, scale):
    values = np.concatenate([RANDOM.normal(size=(6, 4, 7)) * scale, np.zeros((6, 4, 1))], axis=2)
    np.testing.assert_allclose(activate(values, kind, **settings), oracle(torch.tensor(values)).numpy(), **CLOSE)


def test_what_is_not_finite_stays_as_in_torch():
    values = np.array([np.inf, -np.inf, np.nan, 1.0])
    for kind, oracle in (("relu", torch.relu), ("sigmoid", torch.sigmoid), ("softmax", lambda x: torch.softmax(x, 0))):
        np.testing.assert_array_equal(activate(values, kind), oracle(torch.tensor(values)).numpy())


def test_flatten_dense_and_dropout():
    maps = RANDOM.normal(size=(2, 3, 4))
    row = flatten(maps)
    np.testing.assert_array_equal(row, torch.flatten(torch.tensor(maps)).numpy())
    weights, bias = RANDOM.normal(size=(5, 24)), RANDOM.normal(size=5)
    expected = functional.linear(torch.tensor(row), torch.tensor(weights), torch.tensor(bias)).numpy()
    np.testing.assert_allclose(dense(row, weights, bias), expected, **CLOSE)
    kept = dropout(np.ones(20_000), 0.3, seed=1)
    assert set(kept) == {0.0, 1 / 0.7}
    assert (kept == 0).mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 20_000))
    np.testing.assert_array_equal(kept, dropout(np.ones(20_000), 0.3, seed=1))
    assert (kept != dropout(np.ones(20_000), 0.3, seed=2)).any()
    np.testing.assert_array_equal(dropout(maps, 0), maps)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: convolve(np.zeros(4), np.zeros((1, 1))), "must have shape (height, width) or (channels, height, width)"),
    (lambda: convolve(np.zeros((1, 1, 4, 4)), np.zeros((1, 1))), "got 4 dimension(s): (1, 1, 4, 4)"),
    (lambda: convolve(np.zeros((3, 8, 8)), np.zeros((3, 3))), "(filters, 3, rows, columns), got (3, 3)"),
    (lambda: convolve(np.zeros((8, 8, 3)), np.zeros((3, 3))), "Channels come first: image.transpose(2, 0, 1)"),
    (lambda: convolve(np.zeros((8, 8)), np.zeros(3)), "kernel must have shape (rows, columns)"),
    (lambda: convolve(np.zeros((2, 2)), np.zeros((3, 3))), "a kernel of 3 x 3 and, with its padding, an image of 2"),
    (lambda: convolve(np.zeros((4, 4)), np.zeros((3, 3)), 0), "The stride must be a whole number of at least 1, got 0"),
    (lambda: convolve(np.zeros((4, 4)), np.zeros((3, 3)), 1.5), "got 1.5"),
    (lambda: convolve(np.zeros((4, 4)), np.zeros((3, 3)), True), "got True"),
    (lambda: convolve(np.zeros((4, 4)), np.zeros((3, 3)), padding="full"), "or 'same', must be a whole number"),
    (lambda: convolve(np.zeros((4, 4)), np.zeros((3, 3)), padding=-1), "at least 0, got -1"),
    (lambda: convolve(np.zeros((4, 4)), np.zeros((2, 1, 3, 3)), bias=[1, 2, 3]), "one number or 2, one for each"),
    (lambda: convolve(np.zeros((0, 4)), np.zeros((3, 3))), "at least one number, got shape (0, 4)"),
    (lambda: convolve([[1, 2], [3]], np.zeros((1, 1))), "rows of equal length"),
    (lambda: convolve([["a"]], np.zeros((1, 1))), "The image must hold real numbers, got <U1"),
    (lambda: convolve([[1j]], np.zeros((1, 1))), "real numbers, got complex128"),
    (lambda: pool(np.zeros((4, 4)), "median"), "one of 'max', 'average', 'sum', got 'median'"),
    (lambda: pool(np.zeros((4, 4)), "max", 5), "take a size of at most 4"),
    (lambda: pool(np.zeros((4, 4)), "max", 2, 0), "The stride must be"),
    (lambda: pool(np.zeros(4)), "got 1 dimension(s)"),
    (lambda: activate([1.0], "swish"), "one of 'sigmoid', 'tanh', 'relu'"),
    (lambda: activate([1.0, 2, 3], "maxout"), "a number of channels that 2 divides, got 3"),
    (lambda: activate(3.0, "softmax"), "The axis must be one of the 0"),
    (lambda: activate([1.0], "softmax", axis=2), "got 2"),
    (lambda: activate(None), "real numbers"),
    (lambda: dense([1, 2], [[1, 2, 3]]), "got (2,) and (1, 3)"),
    (lambda: activate([1.0], "leaky_relu", slope="steep"), "The slope must hold real numbers"),
    (lambda: activate([1.0], "elu", alpha=[1, 2]), "The alpha must be one finite number, got [1, 2]"),
    (lambda: dropout([1.0], 1), "below 1, got 1"),
    (lambda: dropout([1.0], float("nan")), "The rate must be one finite number"),
    (lambda: dropout([1.0], 0.5, seed=-1), "The seed must be"),
])  # fmt: skip
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(UsageError) as error:
        call()
    assert message in str(error.value)
