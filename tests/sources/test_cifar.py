"""CIFAR-10's binary batches."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import SourceError
from clearmargin.sources import open_source

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
META = ("\n".join(CLASSES) + "\n\n").encode()


def batch(count: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Bytes of a batch, its labels, its images of shape (count, 32, 32, 3)."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 10, count, np.uint8)
    images = chance.integers(0, 256, (count, 32, 32, 3), np.uint8)
    planar = images.transpose(0, 3, 1, 2).reshape(count, -1)
    return np.column_stack([labels, planar]).tobytes(), labels, images


def write(folder: Path, files: dict[str, bytes], kind: str) -> Path:
    """Write the files into a folder, zip or tar.gz, in the order given."""
    path = folder / f"cifar{kind}"
    if kind == "":
        path.mkdir(exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
    elif kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"cifar-10-batches-bin/{name}", content)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["", ".zip", ".tar.gz"])
def test_batches_in_a_folder_or_archive(tmp_path, kind):
    second, first, test = batch(400, 2), batch(3, 1), batch(2, 3)
    files = {
        "data_batch_2.bin": second[0],
        "batches.meta.txt": META,
        "test_batch.bin": test[0],
        "readme.html": b"<p>",
        "data_batch_1.bin": first[0],
    }
    source = open_source(write(tmp_path, files, kind))
    assert source.kind == "cifar"
    in_order = [second, test, first] if kind == ".tar.gz" else [first, second, test]
    assert [sample.label for sample in source.samples] == [CLASSES[n] for _, labels, _ in in_order for n in labels]
    np.testing.assert_array_equal(np.stack(list(source.read())), np.concatenate([images for *_, images in in_order]))
    parts = {sample.name: sample.part for sample in source.samples}
    assert len(parts) == 405
    assert parts["data_batch_1/00002"] == "train"
    assert parts["test_batch/00001"] == "test"
    assert len(source.fingerprint()) == 64


def test_without_names_classes_are_numbers(tmp_path):
    content, labels, _ = batch(3, 1)
    source = open_source(write(tmp_path, {"data_batch_1.bin": content}, ""))
    assert [sample.label for sample in source.samples] == [str(number) for number in labels]
    assert [finding.kind for finding in source.findings] == ["class-names-missing"]


@pytest.mark.parametrize("kind", ["", ".tar.gz"])
def test_pickles_are_never_opened(tmp_path, kind):
    class Canary:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "fired",))

    path = write(tmp_path, {"data_batch_1": pickle.dumps(Canary()), "batches.meta": b"x"}, kind)
    with pytest.raises(SourceError, match=r"pickle.*binary version"):
        open_source(path)
    assert not (tmp_path / "fired").exists()


def test_a_pickle_alone_is_told_apart(tmp_path):
    (tmp_path / "data.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(SourceError, match="looks like a Python pickle"):
        open_source(tmp_path / "data.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty file"), (bytes(3072), "whole number of 3,073-byte records"), (b"\x0b" + bytes(3072), "label 11")],
)
def test_damaged_batches_are_refused(tmp_path, content, message):
    with pytest.raises(SourceError, match=message):
        open_source(write(tmp_path, {"data_batch_1.bin": content, "batches.meta.txt": META}, ""))


def test_a_batch_in_two_folders_is_refused(tmp_path):
    for copy in ("a", "b"):
        (tmp_path / copy).mkdir()
        (tmp_path / copy / "data_batch_1.bin").write_bytes(batch(1, 1)[0])
    with pytest.raises(SourceError, match="several folders"):
        open_source(tmp_path)


def test_a_tar_that_is_cut_short_is_refused(tmp_path):
    path = write(tmp_path, {"data_batch_1.bin": batch(30, 1)[0]}, ".tar.gz")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SourceError, match="damaged or cut short"):
        open_source(path)
