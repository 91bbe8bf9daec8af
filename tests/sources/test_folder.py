"""Folders on disk: listing, links, reading, fingerprint."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from clearmargin.errors import ImageError, SourceError
from clearmargin.sources import open_source

CLASS_FOLDERS = ("glioma/a.png", "glioma/b.png", "no_tumor/a.png")

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as on POSIX")


def names(source) -> list[str]:
    return [sample.name for sample in source.samples]


def test_reads_every_file_in_the_order_of_samples(make_folder):
    source = open_source(make_folder("no_tumor/a.png", "glioma/b.png", "glioma/a.png"))
    assert source.kind == "folder"
    assert not source.simulated
    assert names(source) == list(CLASS_FOLDERS)
    assert list(source.read()) == [name.encode() for name in CLASS_FOLDERS]
    assert list(source.read()) == list(source.read())


def test_leftovers_of_the_system_are_passed_over_in_silence(make_folder):
    leftovers = ("glioma/.DS_Store", "glioma/._a.png", "__MACOSX/glioma/a.png", "glioma/Thumbs.db", "Desktop.ini")
    source = open_source(make_folder(*CLASS_FOLDERS, *leftovers, ".git/x/y.png"))
    assert names(source) == list(CLASS_FOLDERS)
    assert source.findings == ()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="it holds nothing at all"):
        open_source(tmp_path)


def test_a_file_that_vanishes_yields_a_reason_in_its_place(make_folder):
    root = make_folder(*CLASS_FOLDERS)
    source = open_source(root)
    (root / "glioma/b.png").unlink()
    first, second, third = source.read()
    assert (first, third) == (b"glioma/a.png", b"no_tumor/a.png")
    assert isinstance(second, ImageError)
    assert "not there" in str(second)
    assert second.transient


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs permissions that bind")
def test_a_file_without_permission_yields_a_reason(make_folder):
    root = make_folder(*CLASS_FOLDERS)
    (root / "glioma/b.png").chmod(0)
    content = list(open_source(root).read())
    assert isinstance(content[1], ImageError)
    assert "permission" in str(content[1])
    assert content[1].transient


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs permissions that bind")
def test_a_folder_without_permission_is_a_finding(make_folder):
    root = make_folder(*CLASS_FOLDERS, "secret/a.png")
    (root / "secret").chmod(0)
    try:
        source = open_source(root)
    finally:
        (root / "secret").chmod(0o700)
    assert [(finding.kind, finding.samples) for finding in source.findings] == [("unreadable-folder", ("secret",))]


@posix
def test_links_are_followed_but_never_in_circles(make_folder, tmp_path):
    root = make_folder(*CLASS_FOLDERS)
    elsewhere = make_folder("x.png", "deep/y.png", folder="elsewhere")
    (root / "glioma/linked.png").symlink_to(elsewhere / "x.png")
    (root / "meningioma").symlink_to(elsewhere)
    (root / "glioma/loop").symlink_to(root)
    (elsewhere / "deep/back").symlink_to(elsewhere)
    source = open_source(root)
    assert names(source) == sorted([*CLASS_FOLDERS, "glioma/linked.png", "meningioma/x.png", "meningioma/deep/y.png"])
    assert [(finding.kind, finding.samples) for finding in source.findings] == [
        ("repeated-folder", ("glioma/loop", "meningioma/deep/back"))
    ]
    assert not any(isinstance(content, ImageError) for content in source.read())


@posix
def test_a_link_to_nowhere_is_listed_and_found_unreadable(make_folder):
    root = make_folder(*CLASS_FOLDERS)
    (root / "glioma/gone.png").symlink_to(root / "nowhere.png")
    (root / "glioma/itself.png").symlink_to(root / "glioma/itself.png")
    source = open_source(root)
    assert len(source.samples) == 5
    assert [
        sample.name
        for sample, content in zip(source.samples, source.read(), strict=True)
        if isinstance(content, ImageError)
    ] == ["glioma/gone.png", "glioma/itself.png"]


@posix
def test_a_pipe_is_left_out_without_waiting_for_it(make_folder):
    root = make_folder(*CLASS_FOLDERS)
    os.mkfifo(root / "glioma/pipe.png")
    (root / "glioma/to_pipe.png").symlink_to(root / "glioma/pipe.png")
    source = open_source(root)
    assert names(source) == list(CLASS_FOLDERS)
    assert [(finding.kind, finding.samples) for finding in source.findings] == [
        ("special-entries", ("glioma/pipe.png", "glioma/to_pipe.png"))
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, as on Linux")
def test_names_of_any_bytes_survive(tmp_path):
    odd = [b"gl\xefome/\xff.png", b"gl\xefome/a\nb.png", "no_tumør/<b>.png".encode()]
    for name in odd:
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118  (bytes)
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(name)
    source = open_source(tmp_path)
    assert sorted(os.fsencode(name) for name in names(source)) == sorted(odd)
    assert [os.fsencode(name) for name in names(source)] == list(source.read())
    assert len(source.fingerprint()) == 64


def test_the_fingerprint_follows_names_and_bytes_only(make_folder):
    first = open_source(make_folder(*CLASS_FOLDERS)).fingerprint()
    again = make_folder(*CLASS_FOLDERS, "readme.txt", folder="again")
    assert open_source(again).fingerprint() == first
    (again / "glioma/a.png").write_bytes(b"other")
    changed = open_source(again).fingerprint()
    (again / "glioma/a.png").write_bytes(b"glioma/a.png")
    (again / "glioma/b.png").rename(again / "glioma/c.png")
    renamed = open_source(again).fingerprint()
    assert len({first, changed, renamed}) == 3


@pytest.mark.parametrize("packed", [False, True])
def test_the_state_tells_whether_anything_was_written_to(make_folder, make_zip, packed):
    root = make_zip(CLASS_FOLDERS) if packed else make_folder(*CLASS_FOLDERS)
    path = root if packed else root / "glioma/a.png"
    source = open_source(root)
    state = source.state()
    assert len(list(source.read())) == 3
    assert source.state() == state
    before, content = path.stat(), path.read_bytes()
    path.with_name("copy").write_bytes(content[::-1])
    path.with_name("copy").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size, and as old
    overwritten = source.state()
    path.unlink()
    assert len({state, overwritten, source.state()}) == 3


def test_closing_early_closes_the_file(make_folder, monkeypatch):
    source, opened, open_path = open_source(make_folder(*CLASS_FOLDERS)), [], Path.open

    def kept(path, *words):
        opened.append(open_path(path, *words))
        return opened[-1]

    monkeypatch.setattr(Path, "open", kept)
    reading = source.read()
    next(reading)
    assert [file.closed for file in opened] == [False]
    reading.close()
    assert [file.closed for file in opened] == [True]


def test_many_files_are_listed_fast(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(5_000):
            os.close(os.open(tmp_path / label / f"{number}.png", os.O_CREAT | os.O_WRONLY))
    start = time.perf_counter()
    source = open_source(tmp_path)
    seconds = time.perf_counter() - start
    assert len(source.samples) == 10_000
    assert seconds < 1  # 100,000 take about one
