"""A zip that was listed before is not listed again, unless anything about it changed."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clearmargin import sources
from clearmargin.cache import cache_folder
from clearmargin.sources import open_source, remembered

LAYOUTS = {
    "classes": ["glioma/a.png", "glioma/b.png", "no_tumor/a.png"],
    "parts, and files that are none": ["brain/Training/x/a.png", "brain/Testing/y/b.png", "notes.txt", "lost.png"],
    "backslashes and leftovers": ["x\\a.png", "y\\b.png", "__MACOSX/x/._a.png", "x/.hidden.png", "x/", "./y/c.png"],
    "names of all kinds": ["gl\u00edoma/\u0441\u043b\u043e\u0439.png", "\u8111/\u202e.png", "=1+1/a\n.png"],
    "uneven": [*(f"x/{number}.png" for number in range(40)), "y/a.png"],
}


@pytest.fixture
def made(make_zip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a zip; even a small one that was just written is remembered."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_LEAST_IMAGES", 1)
    monkeypatch.setattr(remembered, "_SETTLED_SECONDS", -1e9)
    return make_zip


def listings() -> list[Path]:
    return list((cache_folder() / "listings").glob("*"))


def no_listing(path: Path) -> None:
    raise AssertionError(f"{path} was listed again")


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_remembered_is_what_was_listed(made, names, monkeypatch):
    path = made(names)
    listed = open_source(path)
    assert len(listings()) == 1
    monkeypatch.setattr(sources, "list_zip", no_listing)
    again = open_source(path)
    assert again == listed
    assert again.container.entries == listed.container.entries
    assert list(again.read()) == list(listed.read())
    assert not any(isinstance(content, Exception) for content in again.read())
    grouped = open_source(path, group_pattern="(.)$")
    assert all(sample.group == "g" for sample in grouped.samples)


def test_a_zip_that_was_touched_is_listed_again(made):
    first = open_source(made(LAYOUTS["classes"]))
    other = ["glioma/a.png", "glioma/c.png", "no_tumor/a.png"]  # as many bytes
    path = made(other)
    os.utime(path, ns=(0, 0))
    second = open_source(path)
    assert [sample.name for sample in second.samples] == other != [sample.name for sample in first.samples]
    before = path.stat()
    path = made(LAYOUTS["classes"])  # of the same time of writing, as tools can say
    os.utime(path, ns=(0, 0))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert open_source(path).samples == first.samples


def test_a_copy_at_another_place_is_listed_for_itself(made):
    one, other = made(LAYOUTS["classes"]), made(LAYOUTS["classes"], "other.zip")
    assert open_source(one).samples == open_source(other).samples
    assert open_source(other).container.path == other
    assert len(listings()) == 2


def test_what_was_just_written_is_not_remembered(made, monkeypatch):
    monkeypatch.setattr(remembered, "_SETTLED_SECONDS", 3600.0)
    open_source(made(LAYOUTS["classes"]))
    assert listings() == []


def test_small_zips_are_not_remembered(made, monkeypatch):
    monkeypatch.setattr(remembered, "_LEAST_IMAGES", 4)
    open_source(made(LAYOUTS["classes"]))
    assert listings() == []


def test_what_is_no_class_folder_of_plain_images_is_not_remembered(made, tmp_path):
    path = tmp_path / "arrays.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train-images-idx3-ubyte", bytes([0, 0, 8, 3, *[0, 0, 0, 2] * 3, *range(8)]))
        archive.writestr("train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1]))
    assert open_source(path).kind == "idx"
    assert listings() == []


def test_damage_to_what_is_remembered_is_noticed(made):
    path = made(LAYOUTS["uneven"])
    listed = open_source(path)
    (place,) = listings()
    whole = place.read_bytes()
    for damaged in (b"", whole[:40], whole[:-1], whole[:60] + b"?" + whole[61:], whole[32:]):
        place.write_bytes(damaged)
        assert open_source(path) == listed
        assert place.read_bytes() == whole  # and it is written anew


def test_a_cache_that_cannot_be_written_is_done_without(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "file"))
    path = made(LAYOUTS["classes"])
    assert open_source(path).samples == open_source(path).samples
    assert (tmp_path / "file").read_bytes() == b""
