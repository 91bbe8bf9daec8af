"""Where the cache lies."""

from __future__ import annotations

from pathlib import Path

from clearmargin.cache import cache_folder


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"


def test_a_tilde_in_the_cache_folder_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"


def test_without_a_choice_it_is_the_users_cache(monkeypatch):
    monkeypatch.setenv("CLEARMARGIN_CACHE", "")
    assert cache_folder().name == "clearmargin"
