"""IDX files as MNIST comes in."""

from __future__ import annotations

import gzip
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import SourceError
from clearmargin.sources import open_source

SPELLINGS = ("{}-images-idx3-ubyte", "{}-images.idx3-ubyte", "{}-images-idx3-ubyte.gz")


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def images(count: int, height: int = 4, width: int = 3) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width), np.uint8)


def labels_name(name: str) -> str:
    return name.replace("images", "labels").replace("idx3", "idx1")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, pixels: np.ndarray, labels: np.ndarray) -> Path:
        for file_name, array in ((name, pixels), (labels_name(name), labels)):
            content = idx_bytes(array)
            (tmp_path / file_name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return tmp_path

    return write


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_four_files_of_mnist(write, spelling):
    write(spelling.format("train"), images(5), np.arange(5))
    source = open_source(write(spelling.format("t10k"), images(2), np.array([9, 0])))
    assert source.kind == "idx"
    assert [sample.name for sample in source.samples[:3]] == ["t10k/00000", "t10k/00001", "train/00000"]
    assert [sample.label for sample in source.samples] == ["9", "0", "0", "1", "2", "3", "4"]
    assert [sample.part for sample in source.samples] == ["test"] * 2 + ["train"] * 5
    np.testing.assert_array_equal(np.stack(list(source.read())), np.concatenate([images(2), images(5)]))
    assert len(source.fingerprint()) == 64


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_images_file_with_its_labels_beside_it(write, spelling):
    name = spelling.format("train")
    write(spelling.format("t10k"), images(2), np.array([9, 0]))
    source = open_source(write(name, images(5), np.arange(5)) / name)
    assert source.samples[0].name == "train/00000"
    assert len(list(source.read())) == 5


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_inside_an_archive(write, tmp_path, suffix):
    write("train-images-idx3-ubyte.gz", images(5), np.arange(5))
    path = tmp_path / f"mnist{suffix}"
    files = sorted(tmp_path.glob("train*"), reverse=True)
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, f"MNIST/raw/{file.name}")
            archive.writestr("__MACOSX/MNIST/raw/._train-images-idx3-ubyte.gz", b"x")
    else:
        with tarfile.open(path, "w:gz") as archive:
            for file in files:
                archive.add(file, f"MNIST/raw/{file.name}")
    source = open_source(path)
    assert source.kind == "idx"
    np.testing.assert_array_equal(np.stack(list(source.read())), images(5))


def test_many_images_come_in_order(write):
    pixels = images(1500, 30, 31)  # more than one piece of a MiB
    source = open_source(write("x-images-idx3-ubyte", pixels, np.zeros(1500)))
    for expected, found in zip(pixels, source.read(), strict=True):
        assert (found == expected).all()
    assert source.samples[0].part is None


def test_each_image_is_an_array_of_its_own(write):
    source = open_source(write("x-images-idx3-ubyte", images(3), np.arange(3)))
    first = next(source.read())
    assert first.flags.owndata
    assert first.flags.writeable


def test_counts_that_disagree_are_refused(write):
    with pytest.raises(SourceError, match="5 images but train-labels-idx1-ubyte 4 labels"):
        open_source(write("train-images-idx3-ubyte", images(5), np.arange(4)))


def test_labels_that_lack_are_named(write):
    folder = write("train-images-idx3-ubyte", images(5), np.arange(5))
    (folder / "train-labels-idx1-ubyte").unlink()
    for place in (folder, folder / "train-images-idx3-ubyte"):
        with pytest.raises(SourceError, match="no labels beside it; expected train-labels-idx1-ubyte or"):
            open_source(place)


def test_the_labels_file_alone_is_not_enough(write):
    folder = write("train-images-idx3-ubyte", images(5), np.arange(5))
    with pytest.raises(SourceError, match="does not say that it holds the images"):
        open_source(folder / "train-labels-idx1-ubyte")


def test_two_data_sets_in_one_folder_are_refused(write):
    write("letters-train-images-idx3-ubyte", images(5), np.arange(5))
    folder = write("digits-train-images-idx3-ubyte", images(5), np.arange(5))
    with pytest.raises(SourceError, match="more than one data set"):
        open_source(folder)
    assert len(open_source(folder / "letters-train-images-idx3-ubyte").samples) == 5


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("kept", [0, 3, 15, 0.5, 0.95])
def test_a_file_that_is_cut_short_is_refused(write, name, kept):
    folder = write("train-images-idx3-ubyte.gz", images(500), np.arange(500) % 10)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(SourceError, match=r"train-\w+-idx\d-ubyte\.gz is damaged or cut short"):
        open_source(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(images(5)) + b"x", "promises 60 bytes of pixels, there are more"),
        (idx_bytes(images(5))[:-1], "promises 60 bytes of pixels, there are 59"),
        (b"\0\0\x0d\x03" + idx_bytes(images(5))[4:], "begins with 00 00 0d 03"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 5, 2**31, 2**31), "images of 2,147,483,648 x"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 1, 1), "4,294,967,295 samples"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 0, 4, 3), "0 samples"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 5, 0, 3), "images of 0 x 3"),
    ],
)
def test_headers_that_lie_are_refused(write, content, message):
    folder = write("train-images-idx3-ubyte", images(5), np.arange(5))
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(folder)


def test_a_file_that_changes_while_reading_is_an_error(write):
    folder = write("train-images-idx3-ubyte", images(5), np.arange(5))
    source = open_source(folder)
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(images(5))[:40])
    reading = source.read()
    with pytest.raises(SourceError, match="ends after 2 images"):
        list(reading)


def test_mutated_files_raise_source_errors_only(write):
    folder = write("train-images-idx3-ubyte.gz", images(20), np.arange(20))
    chance = random.Random(0)
    wholes = {path: path.read_bytes() for path in folder.iterdir()}
    for _ in range(200):
        for path, whole in wholes.items():
            content = bytearray(whole)
            content[chance.randrange(len(content))] = chance.randrange(256)
            path.write_bytes(content)
        try:
            source = open_source(folder)
            assert len(list(source.read())) == len(source.samples)
        except SourceError as error:
            assert str(error)  # noqa: PT017  (either outcome is right)
