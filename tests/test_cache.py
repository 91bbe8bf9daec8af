"""The cache: what it holds, how it stays below its limit, and what is never taken away."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clearmargin as cm
from clearmargin.cache import (
    DEFAULT_LIMIT_BYTES,
    LIMIT_VARIABLE,
    cache_entries,
    cache_folder,
    cache_limit,
    clear_cache,
    mark_used,
    parse_size,
    trim_cache,
)
from clearmargin.errors import UsageError

Command = Callable[..., tuple[int, str, str]]
KB = 1000


def put(root: Path, kind: str, name: str, size: int, hours_ago: float) -> Path:
    """An entry of so many bytes, last used so many hours ago."""
    path = root / kind / name
    held = path if path.suffix else path / "held.bin"
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_bytes(os.urandom(size))  # of zeros a file system may keep none
    then = time.time() - 3600 * hours_ago
    for each in {held, path}:
        os.utime(each, (then, then))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"


def test_a_tilde_in_the_cache_folder_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"


def test_without_a_choice_it_is_the_users_cache(monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", "")
    assert cache_folder().name == "clearmargin"


def test_the_least_recently_used_goes_first_and_no_more_than_needed(cache: Path) -> None:
    old = put(cache, "pixels", "a", 400 * KB, 30)
    middle = put(cache, "trunk", "b", 400 * KB, 20)
    new = put(cache, "features", "c.bin", 400 * KB, 10)
    assert [entry.path for entry in cache_entries()] == [old, middle, new]
    assert trim_cache(10**9, in_use_seconds=0) == []
    assert [entry.path for entry in trim_cache(900 * KB, in_use_seconds=0)] == [old]
    assert not old.exists()
    assert middle.exists()
    assert new.exists()
    mark_used(middle)
    assert [entry.path for entry in trim_cache(500 * KB, in_use_seconds=0)] == [new]
    assert (middle / "held.bin").stat().st_size == 400 * KB


def test_what_was_fetched_and_the_ledger_stay(cache: Path) -> None:
    weights = put(cache, "weights", "vgg16.safetensors", 10 * KB, 99)
    data = put(cache, "data", "mnist", 10 * KB, 99)
    (cache / "ledger.jsonl").write_text("{}\n")
    pixels = put(cache, "pixels", "a", 10 * KB, 1)
    assert [entry.path for entry in trim_cache(0, in_use_seconds=0)] == [pixels]
    assert clear_cache() == []
    assert weights.exists()
    assert data.exists()
    assert [entry.path for entry in clear_cache(["weights"])] == [weights]
    assert (cache / "ledger.jsonl").read_text() == "{}\n"


def test_what_is_in_use_or_being_written_stays(cache: Path) -> None:
    recent = put(cache, "pixels", "a", 100 * KB, 1)
    under_way = put(cache, "pixels", f".key.machine.{os.getpid()}.x.tmp/x", 100 * KB, 0).parent
    assert trim_cache(0) == []
    assert clear_cache() == []
    assert [entry.path for entry in clear_cache(in_use_seconds=0)] == [recent]
    assert under_way.exists()


def test_what_comes_into_use_while_others_go_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(cache, "pixels", "a", 100 * KB, 99)
    second = put(cache, "pixels", "b", 100 * KB, 98)
    remove = shutil.rmtree

    def removing(path: Path) -> None:
        mark_used(second)
        remove(path)

    monkeypatch.setattr("clearmargin.cache.shutil.rmtree", removing)
    assert [entry.path for entry in trim_cache(0)] == [first]
    assert second.exists()


def test_what_can_not_be_deleted_is_out_of_the_way_and_tried_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = put(cache, "pixels", "a", 100 * KB, 99)

    def refuse(path: Path) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr("clearmargin.cache.shutil.rmtree", refuse)
        assert [entry.path for entry in trim_cache(0)] == [stuck]
    assert not stuck.exists()
    assert len(trim_cache(0)) == 1
    assert cache_entries() == []


def test_what_a_crash_left_is_an_entry_too(cache: Path) -> None:
    put(cache, "pixels", ".a.leaving", 100 * KB, 99)
    put(cache, "pixels", ".b.machine.1.x.tmp", 100 * KB, 99)  # nothing was written for a day
    assert len(clear_cache()) == 2
    assert list((cache / "pixels").iterdir()) == []


def test_a_file_with_holes_counts_for_what_it_takes(cache: Path) -> None:
    path = put(cache, "trunk", "a", KB, 1)
    with (path / "held.bin").open("r+b") as file:
        file.truncate(10**9)
    if not hasattr(os.stat_result, "st_blocks"):
        pytest.skip("this system does not say what a file takes")
    assert cache_entries()[0].size_bytes < 10**6


def test_links_are_not_followed(cache: Path, tmp_path: Path) -> None:
    elsewhere = put(tmp_path, "precious", "a", KB, 1)
    (cache / "pixels").mkdir(parents=True)
    (cache / "pixels" / "link").symlink_to(elsewhere, target_is_directory=True)
    assert len(clear_cache(in_use_seconds=0)) == 1
    assert (elsewhere / "held.bin").exists()


@given(st.integers(0, 10**6))
def test_sizes_are_read_as_written(size: int) -> None:
    assert parse_size("0", "x") == 0
    assert parse_size(f"{size} MB", "x") == size * 10**6
    assert parse_size(f"{size}g", "x") == size * 10**9


@pytest.mark.parametrize("text", ["much", "-1", "1e9", "5 PB", "nan", "1,5GB", "20", "5B", "٣GB"])
def test_what_is_no_size_is_refused(text: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_limit() == DEFAULT_LIMIT_BYTES
    monkeypatch.setenv(LIMIT_VARIABLE, "")
    assert cache_limit() == DEFAULT_LIMIT_BYTES
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(UsageError, match="CLEARMARGIN_CACHE_LIMIT needs a size"):
        cache_limit()


def test_the_command(cache: Path, clearmargin: Command) -> None:
    put(cache, "pixels", "a", 2_000_000, 30)
    put(cache, "trunk", "b", 3_000_000, 3)
    put(cache, "data", "mnist", 1_000_000, 3)
    status, out, _ = clearmargin("cache", "show")
    assert status == 0
    assert f"{cache}: 6.0 MB of 20.0 GB" in out
    assert "outputs of frozen layers" in out
    assert "30 h ago" in out
    facts = json.loads(clearmargin("cache", "show", "--json")[1])
    assert facts["kinds"]["pixels"]["entries"] == 1
    assert facts["bytes"] == sum(kind["bytes"] for kind in facts["kinds"].values())
    assert "6.0 MB are left: what was fetched, or was used" in clearmargin("cache", "trim", "--to", "0")[1]
    assert clearmargin("cache", "clear")[1] == "Removed 0 entries, 0 bytes.\n"
    assert clearmargin("cache", "trim", "--recent", "--to", "4.5MB")[1] == "Removed 1 entry, 2.0 MB.\n"
    assert "1.0 MB are left: what was fetched." in clearmargin("cache", "trim", "--to", "0", "--recent")[1]
    assert clearmargin("cache", "clear", "data", "--recent")[1] == "Removed 1 entry, 1.0 MB.\n"
    assert cache_entries() == []


def test_bad_words_are_said_to_be_so(cache: Path, clearmargin: Command) -> None:
    status, _, err = clearmargin("cache", "clear", "pixel")
    assert (status, "There is no kind 'pixel'" in err) == (2, True)
    status, _, err = clearmargin("cache", "trim", "--to", "little")
    assert (status, "--to needs a size such as 500MB" in err) == (2, True)


@pytest.mark.usefixtures("blank_figures")
def test_a_study_leaves_no_more_than_the_limit_but_what_it_used_itself(
    cache: Path, monkeypatch: pytest.MonkeyPatch, class_folder: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    old = put(cache, "trunk", "old", 500 * KB, 99)
    monkeypatch.setenv(LIMIT_VARIABLE, "100kB")
    quick = ["training.epochs=1"]
    cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", overrides=quick, progress=lambda *_: None)
    assert not old.exists()
    assert {entry.kind for entry in cache_entries()} >= {"pixels"}
    stored = {path: path.stat().st_mtime for path in (cache / "pixels").iterdir()}
    cm.run(tiny_recipe, data=class_folder, out=tmp_path / "again", overrides=quick, progress=lambda *_: None)
    assert {path: path.stat().st_mtime > before for path, before in stored.items()} == dict.fromkeys(stored, True)
    monkeypatch.setenv(LIMIT_VARIABLE, "small")
    with pytest.raises(UsageError, match="needs a size"):
        cm.run(tiny_recipe, data=class_folder, out=tmp_path / "never", progress=lambda *_: None)
    assert not (tmp_path / "never").exists()
    assert np.all([entry.size_bytes > 0 for entry in cache_entries()])


def test_the_home_of_nobody_is_a_mistake_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARMARGIN_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(UsageError, match="CLEARMARGIN_CACHE can't be used, got '~nobody-of-this-name/cache'"):
        cache_folder()
