"""Cheap features: pooled pixels without weights, VGG16's layers with them, and what the cache keeps."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clearmargin import features, weight_places
from clearmargin.features import MOST_PIXELS, PIXELS, VGG16, image_features, side_px
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD, to_input
from clearmargin.models.weight_files import TRUNK_SHAPES
from clearmargin.records import Columns, Inputs, Preprocessing


class Memory:
    """Rows in memory that count how often they are read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype, self.reads = values, values.shape, values.dtype, 0

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.reads += len(rows)
        return self.values[rows].copy()


def silent(*_: object) -> None:
    """No progress."""


def made(images: int = 6, side: int = 64, channels: int = 3, key: str = "k", seed: int = 0) -> Inputs:
    pixels = np.random.default_rng(seed).integers(0, 256, (images, side, side, channels)).astype(np.uint8)
    how = Preprocessing(side, color="rgb" if channels == 3 else "gray")
    return Inputs(Memory(pixels), (), pd.DataFrame(), (), images, key, how, simulated=False)


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearmargin.features.weights_at_hand", lambda cache: False)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of VGG16's trunk, in a file as a user may name it."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator) * (2 / max(1, int(np.prod(shape[1:])))) ** 0.5
        for name, shape in TRUNK_SHAPES.items()
    }
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(tensors, path)
    return path


def test_without_weights_pixels_are_pooled_and_torch_stays_out(tmp_path: Path, without_weights: None) -> None:
    inputs = made(side=32)
    found = image_features(inputs, silent, cache=tmp_path)
    assert found.name == PIXELS
    assert "weights are not on this machine" in found.note
    expected = inputs.rows.values.reshape(6, 16, 2, 16, 2, 3).mean(axis=(2, 4)).reshape(6, -1)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, expected, atol=1.01)  # rounded to whole grey levels, along each side
    assert list(tmp_path.iterdir()) == []


def test_grey_images_in_three_channels_are_kept_once(tmp_path: Path, without_weights: None) -> None:
    grey = made(channels=1, side=20)
    colour = Inputs(
        Memory(np.repeat(grey.rows.values, 3, axis=-1)), (), pd.DataFrame(), (), 6, "k", Preprocessing(20), False
    )
    one, other = (image_features(each, silent, cache=tmp_path).values for each in (grey, colour))
    assert one.shape == (6, 256)
    np.testing.assert_array_equal(one, other)


def test_of_many_images_each_is_pooled_to_less(
    tmp_path: Path, without_weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MOST_POOLED", 6 * 3 * 5**2 + 1)
    found = image_features(made(side=20), silent, cache=tmp_path)
    assert found.values.shape == (6, 5 * 5 * 3)
    assert "pooled to 5 x 5 pixels" in found.note
    monkeypatch.undo()
    assert 10**6 * 3 * 6**2 <= features.MOST_POOLED < 10**6 * 3 * 7**2  # a million colour images: 6 x 6, 432 MB


def test_storing_and_reading_features_takes_no_second_copy(tmp_path: Path) -> None:
    import tracemalloc

    values = np.random.default_rng(0).standard_normal((20_000, 128)).astype(np.float32)  # 10 MB
    path = tmp_path / "features" / "some.bin"
    tracemalloc.start()
    features._store(path, values)
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.reset_peak()
    read = features._stored(path, 20_000)
    assert tracemalloc.get_traced_memory()[1] < 1.2 * values.nbytes
    tracemalloc.stop()
    np.testing.assert_array_equal(read, values)
    content = path.read_bytes()
    assert hashlib.sha256(content[32:]).digest() == content[:32]
    np.testing.assert_array_equal(np.load(io.BytesIO(content[32:])), values)
    assert features._stored(path, 19_999) is None


def test_importing_and_pooling_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np, pandas as pd\n"
        "from clearmargin import features, weight_places\n"
        "from clearmargin.records import Inputs, Preprocessing\n"
        "class Rows:\n"
        "    shape, dtype = (4, 32, 32, 1), np.dtype(np.uint8)\n"
        "    def read(self, rows): return np.zeros((len(rows), 32, 32, 1), np.uint8)\n"
        "weight_places.WHEEL = 'clearmargin-absent-wheel'\n"
        "inputs = Inputs(Rows(), (), pd.DataFrame(), (), 4, 'k', Preprocessing(32, color='gray'), False)\n"
        "print(features.image_features(inputs, lambda *a: None).name, 'torch' in sys.modules)"
    )
    environment = {"CLEARMARGIN_CACHE": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == f"{PIXELS} False"


def test_vgg16_features_are_the_means_of_its_maps(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weight_places.ENVIRONMENT_VARIABLE, str(weights_file))
    monkeypatch.setattr("clearmargin.models.precision.fastest_precision", lambda: torch.float32)
    inputs = made(images=3)
    found = image_features(inputs, silent, cache=tmp_path)
    assert (found.name, found.note, found.values.shape) == (VGG16, "", (3, 1024))
    from safetensors.torch import load_file

    tensors, x, means = load_file(weights_file), to_input(inputs.rows.values, IMAGENET_MEAN, IMAGENET_STD), []
    names = sorted({int(name.split(".")[1]) for name in tensors})
    for place, number in enumerate(names, start=1):  # written out once more, layer by layer
        x = torch.relu(
            torch.nn.functional.conv2d(
                x, tensors[f"features.{number}.weight"], tensors[f"features.{number}.bias"], padding=1
            )
        )
        if place in (2, 4, 7, 10, 13):
            x = torch.nn.functional.max_pool2d(x, 2)
        if place in (10, 13):
            means.append(x.mean((2, 3)))
    expected = torch.cat(means, dim=1).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0.05, atol=0.02 * expected.std())


def test_features_are_kept_and_a_damaged_file_is_made_again(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weight_places.ENVIRONMENT_VARIABLE, str(weights_file))
    inputs = made(images=3)
    first = image_features(inputs, silent, cache=tmp_path).values
    reads = inputs.rows.reads
    with monkeypatch.context() as patched:
        patched.setattr(features, "_vgg16_features", lambda *_: pytest.fail("was computed again"))
        np.testing.assert_array_equal(image_features(inputs, silent, cache=tmp_path).values, first)
    (stored,) = (tmp_path / "features").iterdir()
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    np.testing.assert_array_equal(image_features(inputs, silent, cache=tmp_path).values, first)
    assert inputs.rows.reads == reads  # block 4 was still in the cache of the trunk
    assert not np.array_equal(image_features(made(3, key="other", seed=1), silent, cache=tmp_path).values, first)


def test_of_two_processes_one_computes_features_and_the_other_waits(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(weight_places.ENVIRONMENT_VARIABLE, str(weights_file))
    computed, found = list[int](), list[np.ndarray]()

    def slowly(*_: object) -> np.ndarray:
        computed.append(1)
        while not caplog.messages:  # until the other has come
            time.sleep(0.01)
        return np.full((3, 4), len(computed), np.float32)

    monkeypatch.setattr(features, "_vgg16_features", slowly)
    threads = [
        threading.Thread(target=lambda: found.append(image_features(made(images=3), silent, cache=tmp_path).values))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(*found)
    assert computed == [1]
    assert caplog.messages == ["Another process computes features of these images: waiting for it."]


def test_a_study_finds_the_frozen_layers_done(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearmargin.models import build_network, set_first_weights
    from clearmargin.models.precision import choose_precision
    from clearmargin.recipe import Contender, Training
    from clearmargin.training.feeds import Feeds

    monkeypatch.setenv(weight_places.ENVIRONMENT_VARIABLE, str(weights_file))
    inputs = made(images=3)
    image_features(inputs, silent, cache=tmp_path)
    reads = inputs.rows.reads
    contender = Contender(name="VGG16", architecture="vgg16", freeze_through="block4")
    network = build_network(contender, (3, 64, 64), 3)
    set_first_weights(network, contender, 7, tmp_path)
    precision = choose_precision("auto")
    feeds = Feeds(network, Training(), inputs, IMAGENET_MEAN, IMAGENET_STD, cache=tmp_path, precision=precision)
    feeds.plain(np.arange(3))
    assert inputs.rows.reads == reads


def test_weights_that_cannot_be_used_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights at all")
    monkeypatch.setenv(weight_places.ENVIRONMENT_VARIABLE, str(tmp_path / "bad.safetensors"))
    found = image_features(made(images=2), silent, cache=tmp_path / "cache")
    assert found.name == PIXELS
    assert weight_places.ENVIRONMENT_VARIABLE in found.note


def test_the_size_bounds_the_work() -> None:
    assert side_px(3264, 224) == 224
    assert side_px(100, 28) == 64
    assert side_px(10_000, 224) == 144
    assert side_px(70_000, 28) == 48
    assert side_px(10_000_000, 28) is None
    for images in (1, 4999, 12_345, 99_999):
        side = side_px(images, 224)
        assert side is not None
        assert images * side**2 <= max(MOST_PIXELS, 224**2)


def test_rows_of_a_table_have_no_such_features(tmp_path: Path) -> None:
    table = Inputs(Memory(np.zeros((2, 3))), (), pd.DataFrame(), (), 2, "k", Columns(("a", "b", "c")), False)
    with pytest.raises(ValueError, match="rows of a table"):
        image_features(table, silent, cache=tmp_path)


def test_weights_are_at_hand_by_name_in_the_cache_or_as_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import metadata

    def no_wheel(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.delenv(weight_places.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(metadata, "distribution", no_wheel)
    assert not weight_places.weights_at_hand(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / weight_places.CACHED_NAME).write_bytes(b"x")
    assert weight_places.weights_at_hand(tmp_path)
    assert not weight_places.weights_at_hand(tmp_path / "elsewhere")
    monkeypatch.setattr(metadata, "distribution", lambda name: name)
    assert weight_places.weights_at_hand(tmp_path / "elsewhere")
