"""Data sets by name: where a copy is looked for, whether it is right, and how one is fetched when asked for."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib
import io
import shutil
import socket
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmargin.downloads import RemoteFile
from clearmargin.errors import DownloadError, SourceError
from clearmargin.files import file_sha256
from clearmargin.sources import open_source, resolve
from clearmargin.sources.catalogue import fetch, find, local_copy, verify

# The package has a function of that name, which hides the module.
names = importlib.import_module("clearmargin.sources.catalogue")


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """A cache for each test, and no folder of copies."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLEARMARGIN_DATA", raising=False)


def digits(count: int) -> dict[str, bytes]:
    """MNIST's four files, with ``count`` images each, as they are published."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8).tobytes()
    images = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + pixels
    labels = struct.pack(">HBBI", 0, 8, 1, count) + bytes(number % 10 for number in range(count))
    return {
        f"{part}-{what}-ubyte.gz": gzip.compress(content, mtime=0)
        for part in ("train", "t10k")
        for what, content in (("images-idx3", images), ("labels-idx1", labels))
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small(monkeypatch, loopback):
    """The catalogue, with an MNIST and a CIFAR-10 that are small and come from this machine."""
    loopback.files = digits(20)
    records = np.random.default_rng(1).integers(0, 256, (10, 3073), np.uint8)
    records[:, 0] = range(10)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("data_batch_1.bin", "test_batch.bin"):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = records.nbytes
            tar.addfile(entry, io.BytesIO(records.tobytes()))
    loopback.files["cifar-10-binary.tar.gz"] = archive.getvalue()

    def from_here(file: RemoteFile) -> RemoteFile:
        content = loopback.files[file.name]
        inner = sha256(gzip.decompress(content)) if file.content_sha256 else None
        return RemoteFile(file.name, (f"{loopback.address}/{file.name}",), len(content), sha256(content), inner)

    known = tuple(
        replace(dataset, published=tuple(map(from_here, dataset.published))) if dataset.can_be_fetched else dataset
        for dataset in names.DATASETS
    )
    monkeypatch.setattr(names, "DATASETS", known)
    return loopback


def jpeg_copies(folder: Path) -> Path:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "cifar10-images" / part / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(folder / "cifar10-images" / part / name / "0000.jpg")
    return folder / "cifar10-images"


# ------------------------------------------------------------------------------------------------ only when asked for


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_opening_a_name_fetches_nothing_and_says_how_to_fetch(name, monkeypatch, tmp_path):
    def no_network(*_: object) -> None:
        raise AssertionError("something reached for the network")

    for way in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, way, no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(SourceError, match=rf"clearmargin data get {name} \(\d+ MB\).*--data PATH.*CLEARMARGIN_DATA"):
        open_source(name)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["brain-tumor-mri", "brain-mri-yes-no", "cifar10-images"])
def test_what_cannot_be_fetched_says_where_it_is_to_be_had(name):
    with pytest.raises(SourceError, match=r"can't be fetched by name; it is to be had (on Kaggle|as a zip)") as caught:
        fetch(find(name))
    assert caught.value.exit_status == 2
    for way in ("--data PATH", f"as {name}.zip into the folder that CLEARMARGIN_DATA names"):
        assert way in str(caught.value)
    assert ("clearmargin data get cifar10" in str(caught.value)) == (name == "cifar10-images")


def test_the_phantom_needs_no_fetching():
    with pytest.raises(SourceError, match=r"made on the fly from a seed\. Its name is all a study needs"):
        fetch(find("phantom"))


# --------------------------------------------------------------------------------------------------------- fetching


def test_what_was_fetched_is_found_by_its_name(small, tmp_path):
    seen = set()
    copy = fetch(find("mnist"), progress=lambda file, done, total: seen.add(file))
    assert (copy.path, copy.place) == (tmp_path / "cache" / "data" / "mnist", "cache")
    assert seen == {path.name for path in copy.path.iterdir()} == set(digits(1))
    assert resolve("mnist") == copy.path
    assert verify(local_copy("mnist")).state == "verified"
    assert len(open_source("mnist").samples) == 40

    asked = len(small.ranges)
    fetch(find("mnist"), progress=lambda *_: pytest.fail("fetched again"))
    assert len(small.ranges) == asked == 4


def test_a_set_that_is_one_file(small, tmp_path):
    copy = fetch(find("cifar10"))
    assert copy.path == tmp_path / "cache" / "data" / "cifar10" / "cifar-10-binary.tar.gz"
    source = open_source("cifar10")
    assert (source.kind, len(source.samples)) == ("cifar", 20)


def test_a_set_that_has_not_come_whole_is_not_there(small, tmp_path):
    kept = small.files.pop("t10k-labels-idx1-ubyte.gz")
    with pytest.raises(DownloadError, match=r"t10k-labels-idx1-ubyte\.gz.*404.*--data PATH.*CLEARMARGIN_DATA"):
        fetch(find("mnist"))
    assert len(list((tmp_path / "cache" / "data" / "mnist").iterdir())) == 3
    assert resolve("mnist") is None
    with pytest.raises(SourceError, match="clearmargin data get mnist"):
        open_source("mnist")
    small.files["t10k-labels-idx1-ubyte.gz"] = kept
    fetch(find("mnist"))
    assert len(small.ranges) == 5  # three, the one refused, the same again
    assert resolve("mnist") is not None


def test_a_cached_file_that_was_damaged_is_seen_and_fetched_again(small):
    path = fetch(find("mnist")).path / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-100])
    verdict = verify(local_copy("mnist"))
    assert verdict.state == "differs"
    assert f"{path} has another hash" in verdict.reason
    fetch(find("mnist"))
    assert path.read_bytes() == good


def test_another_place(small, tmp_path):
    copy = fetch(find("mnist"), out=tmp_path / "mine")
    assert copy.path == tmp_path / "mine"
    assert len(open_source(copy.path).samples) == 40
    assert resolve("mnist") is None


def test_a_mirror_that_compresses_anew_is_right(small, tmp_path):
    name = "train-images-idx3-ubyte.gz"
    small.files[name] = gzip.compress(gzip.decompress(small.files[name]), 1, mtime=77)
    path = fetch(find("mnist")).path / name
    assert path.read_bytes() == small.files[name]


# ------------------------------------------------------------------------------------- the folder of copies, the order


def test_a_copy_in_the_folder_is_verified_and_nothing_is_fetched(small, tmp_path, monkeypatch):
    folder = tmp_path / "copies" / "mnist"
    folder.mkdir(parents=True)
    for name, content in digits(20).items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("CLEARMARGIN_DATA", str(tmp_path / "copies"))
    copy = fetch(find("mnist"))
    assert (copy.path, copy.place, verify(copy).state) == (folder, "folder", "verified")

    unpacked = folder / "train-images-idx3-ubyte"
    packed = folder / f"{unpacked.name}.gz"
    unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert verify(copy).state == "verified"

    unpacked.write_bytes(b"x" + unpacked.read_bytes()[1:])
    with pytest.raises(SourceError, match=r"has another hash.*CLEARMARGIN_DATA names the folder: mend .*--out DIR"):
        fetch(find("mnist"))
    assert small.ranges == []


def test_cifar10_is_the_original_when_it_is_there_and_else_the_jpeg_copies(small, tmp_path, monkeypatch):
    copies = jpeg_copies(tmp_path / "copies")
    monkeypatch.setenv("CLEARMARGIN_DATA", str(tmp_path / "copies"))
    assert resolve("cifar10") == resolve("cifar10-images") == copies
    for name in ("cifar10", "cifar10-images"):
        (caveat,) = open_source(name).findings
        assert (caveat.kind, caveat.severity) == ("known-caveat", "warning")
        assert "copies of CIFAR-10 as JPEG files, not the original" in caveat.message
        assert "clearmargin data get cifar10" in caveat.remedy
    assert open_source(copies).findings == ()  # a path is taken as it is

    fetched = fetch(find("cifar10"))  # the stand-in does not keep the original from being fetched
    assert resolve("cifar10") == fetched.path
    assert not any(finding.kind == "known-caveat" for finding in open_source("cifar10").findings)
    assert resolve("cifar10-images") == copies

    shutil.copy(fetched.path, tmp_path / "copies")
    assert resolve("cifar10") == tmp_path / "copies" / "cifar-10-binary.tar.gz"


def test_a_name_that_is_none():
    assert find("mnits") is None
    with pytest.raises(SourceError, match=r"no data set 'mnits' in the catalogue: expected one of .* mean 'mnist'"):
        names.named("mnits")


# ---------------------------------------------------------------------------------------------------- the real things


def test_the_real_mnist_has_the_pinned_hashes(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_DATA", str(shared_data))
    assert verify(local_copy("mnist")).state == "verified"
    shutil.copytree(shared_data / "mnist", tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[8] ^= 1  # the first label
    labels.chmod(0o600)
    labels.write_bytes(gzip.compress(bytes(content)))
    monkeypatch.setenv("CLEARMARGIN_DATA", str(tmp_path))
    verdict = verify(local_copy("mnist"))
    assert verdict.state == "differs"
    assert "expected the SHA-256 ff7bcfd4" in verdict.reason
    assert sha256(bytes(content)) in verdict.reason


def test_every_published_file_is_pinned_and_fetched_by_https_only():
    for dataset in names.catalogue():
        for file in dataset.published:
            assert all(url.startswith("https://") and url.endswith(f"/{file.name}") for url in file.urls)
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.content_sha256 is None or len(bytes.fromhex(file.content_sha256)) == 32
            assert file.size_bytes > 0


def test_boston_ships_with_the_program(tmp_path):
    path = resolve("boston")
    copy = local_copy("boston")
    assert (copy.path, copy.place, verify(copy).state) == (path, "program", "verified")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    dataset = find("boston")
    assert list(rows[0]) == [column.name for column in dataset.columns]
    assert len(rows) == dataset.samples == 506
    # Known figures: mean of the target, rows where it is cut off, tracts on the river.
    assert sum(float(row["medv"]) for row in rows) / 506 == pytest.approx(22.5328, abs=1e-4)
    assert sum(float(row["medv"]) == 50 for row in rows) == 16
    assert sum(row["chas"] == "1" for row in rows) == 35
    assert all(column.meaning for column in dataset.columns)
    assert "problematic" in dataset.caveat


def test_boston_is_the_shared_table(shared_data):
    assert file_sha256(resolve("boston")) == file_sha256(shared_data / "boston.csv")
