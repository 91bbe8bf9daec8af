import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clearmargin.atomic_folder import atomic_folder, disk_errors
from clearmargin.errors import DiskError


def write(target: Path, content: str) -> None:
    with atomic_folder(target) as temporary:
        (temporary / "page.txt").write_text(content)


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "page.txt").write_text("whole")
        assert not target.exists()
    assert (target / "page.txt").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_nothing_is_left_of_a_failure(tmp_path):
    def interrupted() -> None:
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "page.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced(tmp_path):
    write(tmp_path / "folder", "earlier")
    write(tmp_path / "folder", "sound")
    assert (tmp_path / "folder" / "page.txt").read_text() == "sound"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_in_the_way_is_replaced(tmp_path):
    (tmp_path / "folder").write_text("in the way")
    write(tmp_path / "folder", "sound")
    assert (tmp_path / "folder" / "page.txt").read_text() == "sound"


@pytest.mark.parametrize(("refused", "number"), [((1,), errno.EIO), ((1,), errno.ENOSPC), ((3,), errno.EIO)])
def test_what_can_not_be_replaced_stays(tmp_path, monkeypatch, refused, number):
    """Renamed are the new folder, then, if the other is in the way, that one, and the new one again."""
    write(tmp_path / "folder", "earlier")
    real, renamed = os.rename, list[str]()

    def rename(before: Path, after: Path) -> None:
        renamed.append(str(before))
        if len(renamed) in refused:
            raise OSError(number, os.strerror(number))
        real(before, after)

    monkeypatch.setattr("os.rename", rename)
    with pytest.raises(DiskError, match=r"What was there before is untouched"):
        write(tmp_path / "folder", "never")
    assert (tmp_path / "folder" / "page.txt").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert len(renamed) == (1 if refused == (1,) else 4)


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match=r"Could not write in .*file: Not a directory.*CLEARMARGIN_CACHE"):
        write(tmp_path / "file" / "folder", "never")


def test_disk_errors_are_translated(tmp_path):
    with pytest.raises(DiskError, match="No space left on device"), disk_errors(tmp_path / "folder"):
        raise OSError(28, "No space left on device")


def killed_writer(target: Path) -> None:
    """A process that dies between writing and renaming, without a chance to clean up."""
    script = (
        "import os, sys, pathlib; from clearmargin.atomic_folder import atomic_folder\n"
        "with atomic_folder(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    (temporary / 'page.txt').write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(target)], check=False).returncode == 9


def test_a_killed_writer_leaves_nothing_that_looks_whole(tmp_path):
    killed_writer(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't tell whether a process is there")
def test_what_a_dead_process_left_is_swept(tmp_path):
    killed_writer(tmp_path / "folder")
    write(tmp_path / "other", "sound")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_others_are_writing_is_left_alone(tmp_path):
    living = tmp_path / f".folder.0badc0de.{os.getpid()}.0.tmp"  # another machine
    strange = tmp_path / ".something.tmp"
    for path in (living, strange):
        path.mkdir()
    with atomic_folder(tmp_path / "mine") as mine:
        write(tmp_path / "other", "sound")
        assert mine.exists()
    assert living.exists()
    assert strange.exists()


def test_what_nobody_touched_for_two_days_is_swept(tmp_path):
    old = tmp_path / ".folder.0badc0de.1.0.tmp"
    old.mkdir()
    (old / "page.txt").touch()
    for path in (old / "page.txt", old):
        os.utime(path, (time.time() - 2 * 86_400,) * 2)
    write(tmp_path / "other", "sound")
    assert not old.exists()
