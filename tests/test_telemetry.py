"""The main job opens no socket, and libraries that would report home are told not to."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from clearmargin.telemetry import SWITCHES

# Whatever Python itself knows of the network raises an event; to ask for the own name is no call.
PYTHON_WITHOUT_SOCKETS = """
import sys

def hear(event, words):
    if event.startswith("socket.") and event != "socket.gethostname":
        print(f"a socket was used: {event} {words}", file=sys.stderr, flush=True)
        import os
        os._exit(99)

sys.addaudithook(hear)
"""

# Libraries in C and C++, and other programs that are started, raise none: Linux itself ends a process that makes a
# socket of IPv4 or IPv6 (seccomp; a filter is inherited by all that is started). Each line is a struct sock_filter:
# what to do, where to go on if so and if not, and a value; linux/filter.h, linux/seccomp.h.
LINUX_WITHOUT_SOCKETS = """
import ctypes, platform, struct

architecture, socket_call = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}[platform.machine()]
LOAD, IS, RETURN, ALLOW, KILL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x80000000
program = b"".join(struct.pack("<HBBI", *line) for line in [
    (LOAD, 0, 0, 4), (IS, 0, 5, architecture),  # of another architecture: let be
    (LOAD, 0, 0, 0), (IS, 0, 3, socket_call),
    (LOAD, 0, 0, 16), (IS, 2, 0, 2), (IS, 1, 0, 10),  # AF_INET, AF_INET6
    (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, KILL),
])
held = ctypes.create_string_buffer(program, len(program))
pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no new privileges"  # without which no filter may be set
assert libc.prctl(22, 2, pointer, 0, 0) == 0, f"the filter was not taken: {ctypes.get_errno()}"
"""

COMMANDS = """
import clearmargin.cli
from clearmargin.report import drawing

blank = drawing.Drawing('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"/>')
drawing._drawn = lambda sheet: blank
drawing.Drawing.pdf = lambda self: b"%PDF-1.4"
for words in WORDS:
    sys.argv = ["clearmargin", *words]
    try:
        clearmargin.cli.main()
    except SystemExit as left:
        assert left.code == 0, (words, left.code)
print("all done", file=sys.stderr)
"""
ON_LINUX = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
WITHOUT_SOCKETS = PYTHON_WITHOUT_SOCKETS + (LINUX_WITHOUT_SOCKETS if ON_LINUX else "")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_study_and_its_model_open_no_socket(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    """Nor do exports and onnxruntime, which would report home if it were let."""
    out, image, exported = str(tmp_path / "run"), str(class_folder / "alpha" / "000.png"), str(tmp_path / "model.onnx")
    words = [
        ["run", str(tiny_recipe), "--data", str(class_folder), "--out", out, "--set", "training.epochs=1"],
        ["predict", out, image],
        ["report", out],
        ["audit", str(class_folder), "--quick"],
        ["split", str(class_folder), "--out", str(tmp_path / "split.csv")],
    ]
    if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        words += [["export", out, "--format", "onnx", "--out", exported], ["predict", exported, image]]
    done = python(WITHOUT_SOCKETS + COMMANDS.replace("WORDS", json.dumps(words)))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "all done"
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_socket_would_be_noticed() -> None:
    done = python(PYTHON_WITHOUT_SOCKETS + "import socket; socket.create_connection(('::1', 9))")
    assert (done.returncode, done.stderr.startswith("a socket was used")) == (99, True)


@pytest.mark.skipif(not ON_LINUX, reason="the filter is one of Linux on x86-64 and ARM")
@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("by", ["itself", "a program"])
def test_a_socket_of_a_library_or_of_another_program_would_be_noticed(family: int, by: str) -> None:
    call = f"import ctypes; ctypes.CDLL(None).socket({family}, 1, 0)"
    if by == "a program":
        call = f"import subprocess; sys.exit(subprocess.run([sys.executable, '-c', {call!r}]).returncode == {{}})"
        call = call.format(-signal.SIGSYS)
    done = python(LINUX_WITHOUT_SOCKETS.replace("import ctypes", "import sys, ctypes") + call)
    assert done.returncode == (-signal.SIGSYS if by == "itself" else 1), done.stderr
    local = python(LINUX_WITHOUT_SOCKETS + "assert ctypes.CDLL(None).socket(1, 1, 0) >= 0")
    assert local.returncode == 0, local.stderr


def test_telemetry_is_off_whatever_the_user_set() -> None:
    code = "import json, os, clearmargin; print(json.dumps(dict(os.environ)))"
    asked = {**os.environ, **dict.fromkeys(SWITCHES, "elsewhere")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=asked)
    found = json.loads(done.stdout)
    assert {name: found[name] for name in SWITCHES} == SWITCHES
