"""Predictions for files: in the order of their names, whatever can't be read among them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmargin import image_listing, prediction
from clearmargin.errors import ImageError, SourceError
from clearmargin.image_listing import Listed
from clearmargin.prediction import predict_files
from clearmargin.records import Preprocessing
from clearmargin.trained import read_image_file


class Echo:
    """A model that says how bright an image is."""

    name, classes, preprocessing = "echo", ("dark", "bright"), Preprocessing(8, color="gray")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def judged(self, pixels):
        self.batches.append(len(pixels))
        bright = np.array([image.mean() / 255 for image in pixels]).reshape(-1)
        return np.stack([1 - bright, bright], axis=1), np.zeros(len(pixels))

    def table(self, names, probabilities, distances):
        import pandas as pd

        return pd.DataFrame({"image": names, "predicted": probabilities.argmax(axis=1), "bright": probabilities[:, 1]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for level in range(50):
        Image.new("L", (10, 10), level * 5).save(tmp_path / f"{level:02d}.png")
    for bad in ("07.png", "33.png"):
        (tmp_path / bad).write_bytes(b"no image")
    return tmp_path


def test_files_are_answered_in_order_in_full_batches(folder: Path) -> None:
    model = Echo()
    said = predict_files(model, [folder])
    assert [Path(name).stem for name in said.table["image"]] == [f"{k:02d}" for k in range(50) if k not in (7, 33)]
    assert (said.table["bright"] * 255).round().astype(int).tolist() == [k * 5 for k in range(50) if k not in (7, 33)]
    assert sorted(Path(name).name for name in said.failures) == ["07.png", "33.png"]
    assert all("not an image" in reason for reason in said.failures.values())
    assert set(model.batches[:-1]) == {8}


def test_few_files_are_read_ahead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = image_listing.read_image_file
    monkeypatch.setattr(image_listing, "read_image_file", lambda path: read.append(path) or original(path))
    monkeypatch.setattr(prediction, "TOGETHER", 8)
    model = Echo()
    monkeypatch.setattr(model, "judged", lambda pixels: pytest.fail("stopped"))
    with pytest.raises(pytest.fail.Exception, match="stopped"):
        predict_files(model, [folder])
    assert len(read) <= 3 * 8  # a batch, and since one of it failed the next, and those after it
    assert len(set(read)) == len(read)


def test_files_are_not_read_ahead_beyond_what_may_be_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, read = predict_files(Echo(), [folder]), []
    original = image_listing.read_image_file
    monkeypatch.setattr(image_listing, "read_image_file", lambda path: read.append(path) or original(path))
    monkeypatch.setattr(prediction, "MOST_HELD_BYTES", 3 * 80)  # a file has 75 to 80 bytes
    assert 70 < (folder / "01.png").stat().st_size < 80
    with ThreadPoolExecutor(1) as pool:
        ahead = prediction._read_ahead(pool, iter(image_listing.images([folder])), 50)
        pool.submit(int).result()
        assert [path.name for path in read] == ["00.png", "01.png", "02.png", "03.png"]
        assert ahead[40][1]() == original(folder / "40.png")  # the others when their turn comes
    some = predict_files(Echo(), [folder])
    assert some.table.equals(whole.table)
    assert some.failures == whole.failures


class Content(bytes):
    """The bytes of a file, of which it is known how many are held."""

    held = 0

    def __new__(cls, number: int) -> Content:
        made = super().__new__(cls, number)
        cls.held += 1
        return made

    def __del__(self) -> None:
        type(self).held -= 1


def test_few_large_files_that_have_been_read_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "MOST_HELD_BYTES", 1000)
    most = 0

    def listed() -> Iterator[Listed]:
        nonlocal most
        for number in range(40):
            content = Content(300)
            most = max(most, Content.held)
            yield Listed(f"{number}", partial(bytes.__getitem__, content, slice(0, 1)), 300)
            del content

    said = list(prediction._decoded_together(listed(), Echo.preprocessing))
    assert [name for name, _ in said] == [f"{number}" for number in range(40)]
    assert Content.held == 0
    assert most <= 4 + 1  # the fourth is beyond what may be held; and the next, while the one before is still named


def test_few_images_are_held_and_files_go_as_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref] = []
    most_images, most_files, lock = 0, 0, threading.Lock()

    def decode(content: bytes, how: Preprocessing) -> np.ndarray:
        nonlocal most_images, most_files
        with lock:
            pixels = np.zeros(how.shape, np.uint8)
            made.append(weakref.ref(pixels))
            most_images = max(most_images, sum(one() is not None for one in made))
            most_files = max(most_files, Content.held)
            return pixels

    monkeypatch.setattr(prediction, "prepared_pixels", decode)
    monkeypatch.setattr(prediction, "TOGETHER", 8)
    listed = (Listed(f"{number}", partial(Content, 10)) for number in range(80))
    for _ in prediction._decoded_together(listed, Echo.preprocessing):
        pass
    assert 8 <= most_images <= 8 + 1  # a portion, and the one that is looked at
    assert 8 <= most_files <= 8 + 1
    assert Content.held == 0


def test_a_file_that_is_too_large_for_the_memory_has_a_reason() -> None:
    def read() -> bytes:
        raise MemoryError

    times = 0

    def at_last() -> bytes:
        nonlocal times
        times += 1
        if times == 1:
            raise MemoryError
        raise ImageError("read")

    said = list(prediction._decoded_together([Listed("a", read), Listed("b", at_last)], Echo.preprocessing))
    assert {name: str(reason) for name, reason in said} == {
        "a": "there was too little memory to read it",
        "b": "read",  # when its turn came, others were gone
    }


def test_a_path_that_is_given_twice_may_fail_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, times = image_listing.read_image_file, [0]

    def read(path: Path) -> bytes:
        times[0] += path.name == "01.png"
        if path.name == "01.png" and times[0] == 1:
            raise ImageError("away")
        return original(path)

    monkeypatch.setattr(image_listing, "read_image_file", read)
    said = predict_files(Echo(), [folder / "01.png", folder / "01.png", folder / "02.png"])
    assert [Path(name).name for name in said.table["image"]] == ["01.png", "02.png"]
    assert list(said.failures.values()) == ["away"]


def test_other_images_than_were_counted_are_no_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = prediction.images
    monkeypatch.setattr(prediction, "images", lambda places: list(original(places))[:-1])
    with pytest.raises(SourceError, match="50 images were counted, and then 49 were there"):
        predict_files(Echo(), [folder])


def test_a_reason_holds_no_file_in_memory(folder: Path) -> None:
    for bad in (folder / "07.png", folder / "not there.png"):
        read = partial(prediction._read, Listed(str(bad), partial(read_image_file, bad)))
        reason = prediction._decoded(read, Echo.preprocessing)
        assert isinstance(reason, ImageError)
        assert reason.__traceback__ is None
        assert reason.__context__ is None


def test_what_could_not_be_read_goes_without_the_garbage_collector() -> None:
    alive: list[weakref.ref] = []

    def read() -> bytes:
        content = np.zeros(10)
        alive.append(weakref.ref(content))
        raise ImageError("cut short")

    gc.collect()
    gc.disable()
    try:
        listed = (Listed(f"{number}", read) for number in range(80))
        assert [str(said) for _, said in prediction._decoded_together(listed, Echo.preprocessing)] == ["cut short"] * 80
        assert len(alive) == 80
        assert not any(one() is not None for one in alive)
        known = ImageError("of an archive")
        gone = weakref.ref(known)
        given = [Listed("a", partial(image_listing._given, known))]
        del known
        assert [str(said) for _, said in prediction._decoded_together(given, Echo.preprocessing)] == ["of an archive"]
        del given
        assert gone() is None
    finally:
        gc.enable()
