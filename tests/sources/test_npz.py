"""NumPy archives in MedMNIST's layout and its relatives."""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import SourceError
from clearmargin.sources import open_source


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def save(folder: Path, compressed: bool = False, name: str = "data.npz", **arrays: np.ndarray) -> Path:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)
    (folder / name).write_bytes(content.getvalue())
    return folder / name


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 1)])
def test_medmnist(tmp_path, compressed, shape):
    train, val, test = images(700, *shape), images(2, *shape), images(3, *shape)
    source = open_source(
        save(
            tmp_path,
            compressed,
            train_images=train,
            train_labels=np.arange(700).reshape(-1, 1) % 7,
            val_images=val,
            val_labels=np.array([[1], [2]], np.uint8),
            test_images=test,
            test_labels=np.array([0, 1, 2]),
        )
    )
    assert source.kind == "npz"
    names = [sample.name for sample in source.samples]
    assert names == sorted(names)
    assert (names[0], names[3], names[-1]) == ("test_images/00000", "train_images/00000", "val_images/00001")
    assert [sample.part for sample in source.samples] == ["test"] * 3 + ["train"] * 700 + ["validation"] * 2
    assert [sample.label for sample in source.samples[:5]] == ["0", "1", "2", "0", "1"]
    expected = np.concatenate([test, train, val])
    expected = expected.reshape(expected.shape[:3]) if shape[-1] == 1 else expected
    np.testing.assert_array_equal(np.stack(list(source.read())), expected)
    assert len(source.fingerprint()) == 64


@pytest.mark.parametrize("name", ["mnist.npz", "mnist.zip", "mnist"])
def test_keras_whatever_the_suffix(tmp_path, name):
    path = save(tmp_path, name=name, x_train=images(4, 3, 3), y_train=np.arange(4), x_test=images(1, 3, 3), y_test=[5])
    source = open_source(path)
    assert [sample.part for sample in source.samples] == ["test"] + ["train"] * 4


def test_plain_images_with_text_labels(tmp_path):
    source = open_source(save(tmp_path, images=images(2, 3, 3), labels=["glioma", "no tumör"], extra=np.arange(3)))
    assert [(sample.label, sample.part) for sample in source.samples] == [("glioma", None), ("no tumör", None)]
    assert [(finding.kind, finding.samples) for finding in source.findings] == [("ignored-arrays", ("extra",))]


REFUSED = {
    "other names": ({"a": images(2, 3, 3)}, "no images under a known name: expected train_images and"),
    "no labels": ({"images": images(2, 3, 3)}, "the array images but not labels"),
    "several labels": ({"images": images(2, 3, 3), "labels": np.ones((2, 3))}, r"several values for one image.*argmax"),
    "other counts": ({"images": images(2, 3, 3), "labels": np.arange(3)}, "2 images in images but 3 labels"),
    "float images": ({"images": np.ones((2, 3, 3)), "labels": np.arange(2)}, "type float64; expected uint8"),
    "float labels": ({"images": images(2, 3, 3), "labels": np.ones(2)}, "expected whole numbers or text"),
    "volumes": ({"images": images(2, 9, 9, 9), "labels": np.arange(2)}, "look like volumes"),
    "colour volumes": ({"images": images(2, 9, 9, 9, 3), "labels": np.arange(2)}, "look like volumes"),
    "colours first": ({"images": images(2, 3, 9, 9), "labels": np.arange(2)}, "colours come first"),
    "flat": ({"images": images(2, 81), "labels": np.arange(2)}, "no stack of images"),
    "empty": ({"images": np.zeros((0, 3, 3), np.uint8), "labels": np.arange(2)}, "has 0 images"),
    "empty images": ({"images": np.zeros((2, 0, 3), np.uint8), "labels": np.arange(2)}, "images of shape"),
    "by column": ({"images": np.asfortranarray(images(2, 3, 4)), "labels": np.arange(2)}, "column by column"),
    "a label of nothing": ({"images": images(2, 3, 4), "labels": ["a", ""]}, "no label for the image 1"),
    "one label": ({"images": images(2, 3, 4), "labels": np.array(3)}, "has 0 labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_do_not_suit_are_refused(tmp_path, case):
    arrays, message = REFUSED[case]
    with pytest.raises(SourceError, match=message):
        open_source(save(tmp_path, **arrays))


def test_objects_are_never_unpickled(tmp_path):
    class Canary:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "fired",))

    for name in ("images", "labels"):
        arrays = {"images": images(1, 3, 3), "labels": np.arange(1)}
        arrays[name] = np.array([Canary()], dtype=object)
        with pytest.raises(SourceError, match=f"array {name} .* holds Python objects"):
            open_source(save(tmp_path, **arrays))
    assert not (tmp_path / "fired").exists()


def replace_entry(path: Path, name: str, change) -> None:
    """Write the archive again with other bytes, and a right checksum, for one entry."""
    with zipfile.ZipFile(path) as archive:
        contents = {entry: archive.read(entry) for entry in archive.namelist()}
    contents[name] = change(contents[name])
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in contents.items():
            archive.writestr(entry, content)


def test_an_array_that_is_cut_short_is_an_error(tmp_path):
    path = save(tmp_path, images=images(9, 3, 3), labels=np.arange(9))
    replace_entry(path, "images.npy", lambda content: content[:-10])
    source = open_source(path)
    with pytest.raises(SourceError, match="ends after 7 images"):
        list(source.read())
    replace_entry(path, "labels.npy", lambda content: content[:-10])
    with pytest.raises(SourceError, match="promises 72 bytes, there are 62"):
        open_source(path)


def test_a_damaged_checksum_is_an_error_when_read(tmp_path):
    path = save(tmp_path, images=images(99, 30, 30), labels=np.arange(99))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    source = open_source(path)
    with pytest.raises(SourceError, match="damaged or cut short"):
        list(source.read())


def test_memory_does_not_grow_with_the_array(tmp_path):
    path = save(tmp_path, compressed=True, images=np.zeros((40_000, 32, 32), np.uint8), labels=np.zeros(40_000, int))
    source = open_source(path)
    tracemalloc.start()
    assert sum(1 for _ in source.read()) == 40_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, -3, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 3, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 99999999, 99999999), }",
        b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 3, 3), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 3L, 3",
        b"{[]: 1}",
        b"(" * 500,
        b"'''",
        b"\xff\xfe",
        b"",
    ],
)
def test_headers_made_to_break_the_parser_are_refused(tmp_path, header):
    path = save(tmp_path, images=images(2, 3, 3), labels=np.arange(2))
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for name in ("images.npy", "labels.npy"):
        replace_entry(path, name, lambda _: head + bytes(18))
        with pytest.raises(SourceError):
            open_source(path)
        path = save(tmp_path, images=images(2, 3, 3), labels=np.arange(2))


def test_mutated_files_raise_source_errors_only(tmp_path):
    path = save(tmp_path, compressed=True, images=images(20, 3, 3), labels=np.arange(20))
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(300):
        content = bytearray(whole)
        content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            source = open_source(path)
            assert len(list(source.read())) == len(source.samples)
        except SourceError as error:
            assert str(error)  # noqa: PT017  (either outcome is right)
