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
from clearmargin.errors import ImageError
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


def test_few_large_files_that_have_been_read_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "MOST_HELD_BYTES", 1000)
    release, held, most = threading.Event(), [0], [0]

    def listed() -> Iterator[Listed]:
        for number in range(40):
            held[0] += 300
            most[0] = max(most[0], held[0])
            yield Listed(f"{number}", read, 300)

    def read() -> bytes:
        release.wait(5)
        held[0] -= 300
        return b""

    threading.Timer(0.2, release.set).start()
    said = list(prediction._decoded_together(listed(), Echo.preprocessing))
    assert [name for name, _ in said] == [f"{number}" for number in range(40)]
    assert most[0] <= 1000 + 300  # those that wait, and the next


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
    finally:
        gc.enable()
