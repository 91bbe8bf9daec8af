"""Files of weights: what is accepted, and what damaged or hostile files can do (nothing)."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from clearmargin.errors import WeightsError
from clearmargin.models import weight_files
from clearmargin.models.weight_files import TRUNK_SHAPES, read_weights, trunk_sha256


@pytest.fixture(scope="module")
def trunk() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator).half() for name, shape in TRUNK_SHAPES.items()}


def save(path: Path, tensors: object, **options: object) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save(tensors, path, **options)
    return path


def test_the_shapes_are_those_of_configuration_d():
    assert len(TRUNK_SHAPES) == 26
    assert TRUNK_SHAPES["features.0.weight"] == (64, 3, 3, 3)
    assert TRUNK_SHAPES["features.17.weight"] == (512, 256, 3, 3)
    assert list(TRUNK_SHAPES)[-1] == "features.28.bias"
    assert sum(torch.Size(shape).numel() for shape in TRUNK_SHAPES.values()) == 14_714_688


@pytest.mark.parametrize("name", ["w.safetensors", "w.SAFETENSORS", "w.pth", "old.pth", "ナ ïve.pth"])
def test_every_kind_of_file_gives_the_same_values_and_hash(tmp_path, trunk, name):
    path = tmp_path / name
    if path.suffix == ".pth":
        save(path, trunk, _use_new_zipfile_serialization=name != "old.pth")
    else:
        safetensors.torch.save_file(trunk, path)
    read = read_weights(path)
    assert list(read) == list(TRUNK_SHAPES)
    assert all(read[key].dtype == torch.float32 for key in read)
    assert all(torch.equal(read[key], trunk[key].float()) for key in read)
    assert trunk_sha256(read) == trunk_sha256(trunk)


def test_the_hash_follows_the_values(trunk):
    other = trunk | {"features.28.bias": trunk["features.28.bias"] + 1}
    assert trunk_sha256(other) != trunk_sha256(trunk)


def test_the_classifier_is_kept_and_other_heads_are_left_out(tmp_path, trunk):
    heads = {"classifier.6.weight": torch.ones(4, 8), "head.fc.weight": torch.ones(2), "epoch": torch.tensor(3)}
    read = read_weights(save(tmp_path / "w.safetensors", trunk | heads))
    assert set(read) - set(TRUNK_SHAPES) == {"classifier.6.weight"}


def test_parameters_of_a_network_are_taken_as_plain_tensors(tmp_path, trunk):
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in trunk.items()}
    read = read_weights(save(tmp_path / "w.pth", parameters))
    assert not any(tensor.requires_grad for tensor in read.values())
    assert trunk_sha256(read) == trunk_sha256(trunk)


def test_every_wrong_key_shape_and_dtype_is_named_in_one_error(tmp_path, trunk):
    wrong = dict(trunk)
    del wrong["features.0.bias"]
    wrong["features.2.weight"] = torch.ones(64, 3, 3, 3)
    wrong["features.5.bias"] = torch.ones(128, dtype=torch.int32)
    wrong["features.30.weight"] = torch.ones(2)
    with pytest.raises(WeightsError) as caught:
        read_weights(save(tmp_path / "w.safetensors", wrong))
    message = str(caught.value)
    assert "w.safetensors" in message
    assert "missing: features.0.bias" in message
    assert "features.2.weight: expected shape (64, 64, 3, 3), got (64, 3, 3, 3)" in message
    assert "features.5.bias: expected float16, bfloat16, float32 or float64, got torch.int32" in message
    assert "not in VGG16: features.30.weight" in message


def test_a_thousand_mistakes_make_a_short_message(tmp_path):
    strangers = {f"features.{index}.running_mean": torch.ones(1) for index in range(1000)}
    with pytest.raises(WeightsError, match="and 992 more") as caught:
        read_weights(save(tmp_path / "w.safetensors", strangers))
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, trunk, value):
    spoilt = trunk | {"features.7.bias": torch.full((128,), value)}
    with pytest.raises(WeightsError, match=r"not finite float32 numbers, in features\.7\.bias"):
        read_weights(save(tmp_path / "w.safetensors", spoilt))


def test_a_double_beyond_float32_is_refused(tmp_path, trunk):
    spoilt = trunk | {"features.7.bias": torch.full((128,), 1e300, dtype=torch.float64)}
    with pytest.raises(WeightsError, match="not finite float32"):
        read_weights(save(tmp_path / "w.safetensors", spoilt))


class Canary:
    """Pickled, it asks the reader to make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, trunk, zipped):
    canary = tmp_path / "it ran"
    path = save(tmp_path / "w.pth", trunk | {"x": Canary(canary)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"w\.pth can't be read as weights: .*could run code\. Nothing in it"):
        read_weights(path)
    assert not canary.exists()


@pytest.mark.parametrize("content", [[torch.ones(1)], {"state_dict": {}}, {"features.0.weight": "text"}, {1: 2}])
def test_a_pth_of_something_else_is_refused(tmp_path, content):
    with pytest.raises(WeightsError, match=r"expected a table of tensors|missing: features"):
        read_weights(save(tmp_path / "w.pth", content))


def test_tensors_that_claim_more_than_the_file_holds_are_refused(tmp_path, trunk):
    claims = trunk | {"classifier.0.weight": torch.ones(1).expand(10**6, 10**6)}
    with pytest.raises(WeightsError, match=r"expected at most 268,435,456 numbers, got 1,000,014,714,688"):
        read_weights(save(tmp_path / "w.pth", claims))


def test_a_sparse_tensor_is_refused(tmp_path, trunk):
    with pytest.raises(WeightsError, match=r"features\.0\.bias: expected a dense tensor, got torch\.sparse_coo"):
        read_weights(save(tmp_path / "w.pth", trunk | {"features.0.bias": torch.ones(64).to_sparse()}))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**6))
    monkeypatch.setattr(weight_files, "MAX_BYTES", 10**5)
    assert path.stat().st_size < 10**5
    with pytest.raises(WeightsError, match=r"bomb\.pth holds 1,000,000 bytes; the limit is 100,000"):
        read_weights(path)


def test_a_file_above_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as stream:
        stream.truncate(2**30 + 1)  # sparse: takes no space
    with pytest.raises(WeightsError, match=r"huge\.safetensors holds 1,073,741,825 bytes"):
        read_weights(path)


def header(**entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


HOSTILE = {
    "empty": b"",
    "no header": b"\x08\x00",
    "header of an exabyte": (2**60).to_bytes(8, "little") + b"{}",
    "header of 2 MB": (2 * 2**20).to_bytes(8, "little") + b" " * (2 * 2**20),
    "not JSON": (4).to_bytes(8, "little") + b"{]{]",
    "beyond the end": header(**{"features.0.bias": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}),
    "negative": header(**{"features.0.bias": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + bytes(4),
    "unknown dtype": header(**{"features.0.bias": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}) + bytes(4),
    "overflow": header(**{"features.0.bias": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 4]}}) + bytes(4),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_and_damaged_files_give_one_error(tmp_path, case, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(WeightsError, match=r"can't be|does not hold"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_gives_one_error(tmp_path, trunk, suffix):
    path = save(tmp_path / f"w{suffix}", trunk)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WeightsError, match="can't be"):
        read_weights(path)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(WeightsError, match="must be a file, got a folder"):
        read_weights(tmp_path / "folder.pth")
    with pytest.raises(WeightsError, match="No such file"):
        read_weights(tmp_path / "gone.pth")
    with pytest.raises(WeightsError, match=r"must end in \.safetensors or \.pth, got .*w\.h5"):
        read_weights(tmp_path / "w.h5")
