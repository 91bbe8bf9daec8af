"""Names of what is being written: nobody else's, and swept when their writer is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clearmargin import unfinished
from clearmargin.files import write_text
from clearmargin.unfinished import is_being_written, is_unfinished, sweep_left, temporary_beside

KILLED = """
import os, sys
from pathlib import Path
from clearmargin.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os._exit(9)
"""


def test_no_two_writers_have_the_same_name(tmp_path: Path) -> None:
    names = {temporary_beside(tmp_path / "page.txt").name for _ in range(100)}
    assert len(names) == 100
    assert all(is_unfinished(name) and name.startswith(".page.txt.") for name in names)


def test_machines_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of the installation, or, in a container without one, of the start."""
    places = tmp_path / "machine-id", tmp_path / "boot_id"
    monkeypatch.setattr(unfinished, "_IDENTITIES", places)
    found = [unfinished._machine()]
    for place, said in ((places[1], "1"), (places[0], "2"), (places[0], "3")):
        place.write_text(f"{said}\n")
        found.append(unfinished._machine())
    assert len(set(found)) == 4
    places[1].write_text("4")  # started again
    assert unfinished._machine() == found[3]
    places[0].write_text("uninitialized\n")
    assert unfinished._machine() not in found


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "😀" * 63, ".".join("abcdefgh" * 10)])
def test_long_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (temporary := temporary_beside(tmp_path / name)).touch()
    assert is_being_written(temporary)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't tell whether a process is there")
def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "page.txt")], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    assert is_unfinished(left.name)
    assert not is_being_written(left)
    (mine := temporary_beside(tmp_path / "page.txt")).mkdir()
    elsewhere = tmp_path / f".page.txt.0badc0de.{os.getpid()}.0.tmp"  # on another machine
    elsewhere.touch()
    sweep_left(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere])
