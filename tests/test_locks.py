"""One process at a time, by locks that end with their owner."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clearmargin.claim import sole_writer
from clearmargin.errors import DiskError
from clearmargin.locks import FileLock, Timeout, sole_writer_of

HOLDS = """
import os, sys, time
from pathlib import Path
from clearmargin.interruption import stoppable
from clearmargin.locks import sole_writer_of
with stoppable(), sole_writer_of(Path(sys.argv[1]), "entry", "makes it"):
    print("holds", flush=True)
    time.sleep(30)
"""


def holding(cache: Path) -> subprocess.Popen[str]:
    """Another process that makes, or waits to make, an entry."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(cache)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_others_wait_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    order = list[str]()

    def second() -> None:
        with sole_writer_of(tmp_path, "entry", "makes it"):
            order.append("second")

    with sole_writer_of(tmp_path, "entry", "makes it"):
        thread = threading.Thread(target=second)
        thread.start()
        while not caplog.messages:
            time.sleep(0.01)
        with sole_writer_of(tmp_path, "other entry", "makes that"):
            order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert caplog.messages == ["Another process makes it: waiting for it."]
    assert list((tmp_path / "locks").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
def test_the_lock_of_a_killed_process_is_free_and_waiting_can_be_stopped(tmp_path: Path) -> None:
    first = holding(tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == "holds\n"
    waiting = holding(tmp_path)
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == "Another process makes it: waiting for it.\n"
    waiting.send_signal(signal.SIGTERM)
    assert waiting.communicate(timeout=5)[0] == ""  # it left without ever holding the lock
    first.kill()
    first.communicate()
    with sole_writer_of(tmp_path, "entry", "makes it"):
        assert (tmp_path / "locks" / "entry.lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other locks")
@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr("fcntl.flock", refuse)
    for enter in (lambda: sole_writer(tmp_path / "run"), lambda: sole_writer_of(tmp_path, "entry", "makes it")):
        with pytest.raises(DiskError, match=r"has no locks \(.*choose a folder on another disk"), enter():
            pytest.fail("went on without a lock")


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(Timeout):
        FileLock(tmp_path / "lock").acquire(timeout=0)


def test_a_cache_that_can_not_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DiskError, match=r"Could not write in .*locks: Not a directory.*CLEARMARGIN_CACHE"),
        sole_writer_of(tmp_path / "file", "entry", "makes it"),
    ):
        pytest.fail("went on without a lock")
