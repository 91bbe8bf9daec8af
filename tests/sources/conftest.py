"""Small data in every layout, made for each test."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of files; the content of each is its name."""

    def make(*names: str, folder: str = "data") -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode("utf-8", "surrogateescape"))
        return root

    return make


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., Path]:
    """Make a zip of files; the content of each is its name."""

    def make(names: Iterable[str | zipfile.ZipInfo], file_name: str = "data.zip") -> Path:
        path = tmp_path / file_name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, str(getattr(name, "filename", name)).encode())
        return path

    return make


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"real data are not there: {SHARED}")
    return SHARED
