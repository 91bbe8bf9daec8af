"""Damage to decoded pixels: always noticed, told of, and made good from the source."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from clearmargin.errors import ClearmarginError, DamagedStoreError, DiskError, ImageError, WorkError
from clearmargin.pixel_store import CHECKSUMS, FACTS, MINIATURES, PIXELS, read_store
from clearmargin.pixels import open_pixels, stored_miniatures, stored_pixels
from clearmargin.records import Inputs, Preprocessing, Sample

GRAY = Preprocessing(16, color="gray")
ALL = np.arange(20)


class Arrays:
    """Twenty images in memory, of which the first ``hung`` is not decoded; counts how often they are decoded."""

    kind, findings, simulated = "npz", (), False
    samples = tuple(Sample(f"{number}.png", "cat") for number in range(20))

    def __init__(self) -> None:
        self.hung: int | None
        self.contents = np.random.default_rng(0).integers(0, 256, (20, 24, 20), dtype=np.uint8)
        self.print, self.times_read, self.hung = "content", 0, None

    def fingerprint(self) -> str:
        return self.print

    def state(self) -> str:
        return ""

    def read(self) -> Iterator[np.ndarray | ImageError]:
        self.times_read += 1
        for number, content in enumerate(self.contents):
            yield ImageError("not decoded in 10 seconds", transient=True) if number == self.hung else content


def everything(inputs: Inputs) -> tuple[bytes, bytes, str]:
    """All that is known of the images."""
    assert inputs.miniatures is not None
    return inputs.rows.read(ALL).tobytes(), inputs.miniatures.read(ALL).tobytes(), inputs.facts.to_json()


@pytest.fixture
def source() -> Arrays:
    return Arrays()


@pytest.fixture
def folder(tmp_path: Path, source: Arrays) -> Path:
    """A sound store."""
    return tmp_path / "pixels" / open_pixels(source, GRAY, cache=tmp_path).key


def flip(path: Path, lots: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[lots.randrange(len(content))] ^= 1 << lots.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("name", [PIXELS, MINIATURES, FACTS, CHECKSUMS])
@pytest.mark.parametrize("seed", range(5))
def test_any_flipped_bit_is_noticed_told_and_made_good(
    tmp_path: Path, source: Arrays, folder: Path, caplog: pytest.LogCaptureFixture, name: str, seed: int
) -> None:
    sound = everything(open_pixels(source, GRAY, cache=tmp_path))
    flip(folder / name, random.Random(seed))
    assert everything(open_pixels(source, GRAY, cache=tmp_path)) == sound
    assert source.times_read == 2
    (message,) = caplog.messages
    assert "damaged" in message
    assert message.endswith("decoded again.")
    assert "Delete" not in message
    assert everything(open_pixels(source, GRAY, cache=tmp_path)) == sound
    assert source.times_read == 2


def test_a_changed_fact_that_is_still_json_is_noticed(tmp_path: Path, source: Arrays, folder: Path) -> None:
    page = json.loads((folder / FACTS).read_text())
    page["facts"]["pixel_sha256"][3] = page["facts"]["pixel_sha256"][4]
    (folder / FACTS).write_text(json.dumps(page))
    with pytest.raises(DamagedStoreError, match=r"damaged \(facts.json is not as it was written\)"):
        read_store(folder)
    assert open_pixels(source, GRAY, cache=tmp_path).facts["pixel_sha256"].nunique() == 20


def test_who_opened_it_before_finds_what_another_mended(tmp_path: Path, source: Arrays, folder: Path) -> None:
    first, second = (open_pixels(source, GRAY, cache=tmp_path) for _ in range(2))
    path = folder / PIXELS
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(first.rows.read(ALL), second.rows.read(ALL))
    assert first.rows.read(ALL).any()
    assert source.times_read == 2


def test_a_file_that_is_cut_off_in_use_is_made_again(tmp_path: Path, source: Arrays, folder: Path) -> None:
    sound, again = everything(open_pixels(source, GRAY, cache=tmp_path)), open_pixels(source, GRAY, cache=tmp_path)
    (folder / MINIATURES).write_bytes(b"")
    assert everything(again) == sound


@pytest.mark.parametrize("by_another", [False, True])
def test_rows_of_other_images_never_take_the_place_of_those_that_are_open(
    tmp_path: Path, source: Arrays, by_another: bool
) -> None:
    source.hung = 4
    inputs = open_pixels(source, GRAY, cache=tmp_path)
    assert len(inputs.samples) == 19
    flip(tmp_path / "pixels" / inputs.key / PIXELS, random.Random(0))
    source.hung = None
    if by_another:
        (tmp_path / "pixels" / inputs.key).rename(tmp_path / "elsewhere")
        open_pixels(source, GRAY, cache=tmp_path)
    for _ in range(2):
        with pytest.raises(DamagedStoreError, match="not the same ones as before that could be: run again"):
            inputs.rows.read(ALL[:19])
    again = open_pixels(source, GRAY, cache=tmp_path)
    assert len(again.samples) == 20
    assert again.rows.read(ALL).shape == (20, 16, 16, 1)


def test_a_disk_that_refuses_to_have_it_made_again_is_told_with_the_damage(
    tmp_path: Path, source: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = open_pixels(source, GRAY, cache=tmp_path)
    flip(folder / PIXELS, random.Random(0))

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("clearmargin.atomic_folder._sync", full)
    told = r"pixels.bin is damaged: row \d+ is not as it was written. It could not be made again. Could not write"
    with pytest.raises(DiskError, match=told) as raised:
        inputs.rows.read(ALL)
    assert isinstance(raised.value.__cause__, DamagedStoreError)
    assert "Delete" not in str(raised.value)


def test_what_can_not_be_made_again_is_one_message(
    tmp_path: Path, source: Arrays, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = open_pixels(source, GRAY, cache=tmp_path)
    stored, small = stored_pixels(inputs.key, GRAY, cache=tmp_path), stored_miniatures(inputs.key, cache=tmp_path)
    copied = pickle.loads(pickle.dumps(inputs.rows))  # as another process would read
    assert stored is not None
    assert small is not None
    for name in (PIXELS, MINIATURES):
        flip(folder / name, random.Random(0))
    source.print = "other data"
    for rows in (inputs.rows, inputs.miniatures, copied, stored[1], small.miniatures):
        assert rows is not None
        with pytest.raises(ClearmarginError, match=r"is damaged: row \d+ is not as it was written") as told:
            rows.read(ALL)
        assert "\n" not in str(told.value)
        mends = rows in (inputs.rows, inputs.miniatures)
        assert str(told.value).endswith("the data are not what they were." if mends else "made again on the next run.")
    assert source.times_read == 1
    assert caplog.messages == []  # that they are decoded again would not be true


@pytest.mark.parametrize("name", [PIXELS, MINIATURES, FACTS, CHECKSUMS, ""])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_a_store_that_can_not_be_read_at_the_moment_stays(
    tmp_path: Path, source: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    sound, refused = everything(open_pixels(source, GRAY, cache=tmp_path)), folder / name
    with monkeypatch.context() as patched:
        for system, call in ((os, "open"), (os, "stat"), (io, "open")):
            _refuse(patched, system, call, refused, number)
        for opening in (
            lambda: open_pixels(source, GRAY, cache=tmp_path),
            lambda: stored_pixels(folder.name, GRAY, cache=tmp_path),
            lambda: stored_miniatures(folder.name, cache=tmp_path),
        ):
            with pytest.raises(WorkError, match=r"can't be read at the moment \(.*\). Nothing was removed") as told:
                opening()
            assert not isinstance(told.value, DamagedStoreError)
    assert source.times_read == 1
    assert everything(open_pixels(source, GRAY, cache=tmp_path)) == sound
    assert source.times_read == 1


def _refuse(patched: pytest.MonkeyPatch, system: ModuleType, call: str, path: Path, number: int) -> None:
    """Let the system refuse one file."""
    real = getattr(system, call)

    def refusing(file: Any, *words: Any, **named: Any) -> Any:
        if not isinstance(file, int) and Path(file) == path:
            raise OSError(number, os.strerror(number), str(file))
        return real(file, *words, **named)

    patched.setattr(system, call, refusing)


@pytest.mark.parametrize("name", [PIXELS, MINIATURES, FACTS, CHECKSUMS])
@pytest.mark.parametrize(
    "folder_there",
    [False, pytest.param(True, marks=pytest.mark.skipif(os.name == "nt", reason="Windows says: no permission"))],
)
def test_a_file_that_is_gone_is_damage(
    tmp_path: Path, source: Arrays, folder: Path, name: str, folder_there: bool
) -> None:
    sound = everything(open_pixels(source, GRAY, cache=tmp_path))
    (folder / name).unlink()
    if folder_there:
        (folder / name).mkdir()
    assert everything(open_pixels(source, GRAY, cache=tmp_path)) == sound
    assert source.times_read == 2


@pytest.mark.parametrize("name", [FACTS, CHECKSUMS])
def test_a_damaged_store_without_its_source_is_not_there(
    tmp_path: Path, source: Arrays, folder: Path, name: str
) -> None:
    flip(folder / name, random.Random(0))
    assert stored_pixels(folder.name, GRAY, cache=tmp_path) is None
    assert stored_miniatures(folder.name, cache=tmp_path) is None


def test_a_row_is_compared_once(tmp_path: Path, source: Arrays, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    compared, crc32 = list[int](), zlib.crc32
    monkeypatch.setattr("zlib.crc32", lambda content: compared.append(1) or crc32(content))
    rows = open_pixels(source, GRAY, cache=tmp_path).rows
    assert compared == []  # opening reads no rows
    for _ in range(3):
        rows.read(np.array([4, 5]))
    assert len(compared) == 2
