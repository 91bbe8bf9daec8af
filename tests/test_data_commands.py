"""``clearmargin data``: what is listed, shown and fetched, with which words and exit status."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from clearmargin.downloads import RemoteFile

Command = Callable[..., tuple[int, str, str]]


# The package has a function of that name, which hides the module.
names = importlib.import_module("clearmargin.sources.catalogue")


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLEARMARGIN_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def one_file(monkeypatch, loopback) -> bytes:
    """CIFAR-10's archive, from this machine; returns its bytes."""
    content = gzip.compress(bytes(range(256)) * 1000)
    loopback.files = {"cifar-10-binary.tar.gz": content}
    url = f"{loopback.address}/cifar-10-binary.tar.gz"
    file = RemoteFile("cifar-10-binary.tar.gz", (url,), len(content), hashlib.sha256(content).hexdigest())
    known = [replace(known, published=(file,)) if known.name == "cifar10" else known for known in names.DATASETS]
    monkeypatch.setattr(names, "DATASETS", tuple(known))
    return content


def test_list(clearmargin: Command, class_folder, tmp_path, monkeypatch) -> None:
    status, out, err = clearmargin("data", "list")
    assert (status, err) == (0, "")
    for expected in (
        "phantom",
        "clearmargin data get mnist (12 MB)",
        "on Kaggle",
        "506 rows, 14 columns",
        "ships with",
    ):
        assert expected in out
    (tmp_path / "brain-tumor-mri").symlink_to(class_folder)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(b"something else")
    (tmp_path / "cifar10-images").mkdir()
    monkeypatch.setenv("CLEARMARGIN_DATA", str(tmp_path))
    listed = {entry["name"]: entry for entry in json.loads(clearmargin("data", "list", "--json")[1])}
    assert listed["phantom"]["here"] is None
    assert listed["brain-tumor-mri"]["here"]["state"] == "unverified"
    assert listed["mnist"]["here"]["state"] == "differs"
    assert "another hash" in listed["mnist"]["here"]["reason"]
    assert listed["cifar10"]["here"]["dataset"] == "cifar10-images"
    assert listed["boston"]["here"]["state"] == "verified"
    assert listed["boston"]["columns"][-1] == {
        "name": "medv",
        "meaning": "the target: median value of owner-occupied homes, 1000 USD",
    }
    out = clearmargin("data", "list")[1]
    for expected in ("on this machine, unverified", "not the published files", "only cifar10-images on this machine"):
        assert expected in " ".join(out.split())


def test_show(clearmargin: Command) -> None:
    status, out, _ = clearmargin("data", "show", "boston")
    assert status == 0
    for expected in ("Harrison & Rubinfeld 1978", "medv", "pupils per teacher", "ethically", "cut off at 50"):
        assert expected in out
    status, out, _ = clearmargin("data", "show", "mnist")
    assert "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db" in out
    assert json.loads(clearmargin("data", "show", "mnist", "--json")[1])["published"][0]["size_bytes"] == 9_912_422
    status, out, err = clearmargin("data", "show", "bostn")
    assert (status, out) == (2, "")
    assert "Did you mean 'boston'?" in err


def test_get_into_the_cache_and_again(clearmargin: Command, one_file, tmp_path) -> None:
    path = tmp_path / "cache" / "data" / "cifar10" / "cifar-10-binary.tar.gz"
    status, out, err = clearmargin("data", "get", "cifar10")
    assert (status, out) == (0, f"Fetched and verified: {path}\n")
    assert "cifar-10-binary.tar.gz, kB" in err
    assert path.read_bytes() == one_file
    status, out, err = clearmargin("data", "get", "cifar10")
    assert (status, out, err) == (0, f"On this machine already, verified: {path}\n", "")


def test_get_to_a_place_of_ones_own(clearmargin: Command, one_file, tmp_path) -> None:
    status, out, _ = clearmargin("data", "get", "cifar10", "--out", tmp_path / "mine")
    path = tmp_path / "mine" / "cifar-10-binary.tar.gz"
    assert (status, out) == (0, f"Fetched and verified: {path}\nTo use it: --data {path}\n")


def test_get_what_was_corrupted_on_the_way(clearmargin: Command, one_file, loopback) -> None:
    loopback.files = {"cifar-10-binary.tar.gz": one_file[:-1] + b"x"}
    status, out, err = clearmargin("data", "get", "cifar10")
    assert (status, out) == (1, "")
    assert f"expected the SHA-256 {hashlib.sha256(one_file).hexdigest()}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brain-tumor-mri", "on Kaggle, under that title (it wants an account)"),
        ("cifar10-images", "clearmargin data get cifar10"),
        ("phantom", "made on the fly"),
        ("mnits", "Did you mean 'mnist'?"),
    ],
)
def test_get_what_cannot_be_fetched(clearmargin: Command, name: str, message: str) -> None:
    status, out, err = clearmargin("data", "get", name)
    assert (status, out) == (2, "")
    assert message in err


def test_a_table_that_ships_is_not_fetched(clearmargin: Command) -> None:
    status, out, _ = clearmargin("data", "get", "boston")
    assert status == 0
    assert out.startswith("On this machine already, verified: ")


def test_a_run_fetches_nothing_and_says_how(clearmargin: Command, tiny_recipe, tmp_path, loopback) -> None:
    status, out, err = clearmargin("run", tiny_recipe, "--data", "mnist", "--out", tmp_path / "run")
    assert (status, out) == (2, "")
    assert "clearmargin data get mnist (12 MB)" in err
    assert loopback.ranges == []
    assert not (tmp_path / "run").exists()
