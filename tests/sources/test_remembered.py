"""A zip that was listed before is not listed again, unless anything about it changed."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clearmargin import sources
from clearmargin.cache import cache_folder
from clearmargin.sources import open_source, remembered, zip_archive

LAYOUTS = {
    "classes": ["glioma/a.png", "glioma/b.png", "no_tumor/a.png"],
    "parts, and files that are none": ["brain/Training/x/a.png", "brain/Testing/y/b.png", "notes.txt", "lost.png"],
    "backslashes and leftovers": ["x\\a.png", "y\\b.png", "__MACOSX/x/._a.png", "x/.hidden.png", "x/", "./y/c.png"],
    "names of all kinds": ["gl\u00edoma/\u0441\u043b\u043e\u0439.png", "\u8111/\u202e.png", "=1+1/a\n.png"],
    "uneven": [*(f"x/{number}.png" for number in range(40)), "y/a.png"],
}


@pytest.fixture
def made(make_zip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a zip; even a small one is remembered."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_LEAST_IMAGES", 1)
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


def test_a_zip_with_other_names_is_listed_again(made):
    path = made(LAYOUTS["classes"])
    first, before = open_source(path), path.stat()
    other = ["glioma/a.png", "glioma/c.png", "no_tumor/a.png"]  # as many bytes
    with path.open("r+b") as file:  # in its place, and as tools can say, of the same time
        file.write(made(other, "other.zip").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert [sample.name for sample in open_source(path).samples] == other != [one.name for one in first.samples]


def test_a_zip_exchanged_while_it_is_listed_is_remembered_as_neither(made, monkeypatch):
    path, list_zip = made(LAYOUTS["classes"]), sources.list_zip
    other = ["glioma/a.png", "glioma/c.png", "no_tumor/a.png"]

    def exchanged(place: Path) -> zip_archive.Zip:
        listed = list_zip(place)
        made(other)
        return listed

    with monkeypatch.context() as patched:
        patched.setattr(sources, "list_zip", exchanged)
        assert [sample.name for sample in open_source(path).samples] == LAYOUTS["classes"]
    assert [sample.name for sample in open_source(path).samples] == other


def test_a_link_that_leads_elsewhere_for_a_while_misleads_nobody(made, tmp_path, monkeypatch):
    one, list_zip = made(LAYOUTS["classes"]), sources.list_zip
    other = made(["glioma/a.png", "glioma/c.png", "no_tumor/a.png"], "other.zip")
    link = tmp_path / "link.zip"
    link.symlink_to(one)
    with monkeypatch.context() as patched:
        patched.setattr(sources, "list_zip", lambda _: replace(list_zip(other), path=link))
        assert [sample.name for sample in open_source(link).samples] != LAYOUTS["classes"]
    assert [sample.name for sample in open_source(link).samples] == LAYOUTS["classes"]
    assert [sample.name for sample in open_source(one).samples] == LAYOUTS["classes"]


def test_a_copy_at_another_place_is_listed_for_itself(made):
    one, other = made(LAYOUTS["classes"]), made(LAYOUTS["classes"], "other.zip")
    assert open_source(one).samples == open_source(other).samples
    assert open_source(other).container.path == other
    assert len(listings()) == 2


@pytest.mark.parametrize("name", ["x/scan.dcm", "x/LICENSE", "x/image.00001"])
def test_where_headers_of_files_may_count_nothing_is_remembered(made, name):
    open_source(made([*LAYOUTS["classes"], name]))
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
    pages = [
        b"[" * 200_000,
        b"null",
        b"[]",
        b'{"directory": [1, 2, 3]}',
        b'{"directory": [1e400, ""]}',
        b'{"directory": [-1, ""]}',
    ]
    sealed = [hashlib.sha256(page).digest() + page for page in pages]
    for damaged in (b"", whole[:40], whole[:-1], whole[:60] + b"?" + whole[61:], whole[32:], *sealed):
        place.write_bytes(damaged)
        assert open_source(path) == listed
        assert place.read_bytes() == whole  # and it is written anew


def test_a_cache_that_cannot_be_written_is_done_without(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "file"))
    path = made(LAYOUTS["classes"])
    assert open_source(path).samples == open_source(path).samples
    assert (tmp_path / "file").read_bytes() == b""
