"""The main job opens no socket, and libraries that would report home are told not to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from clearmargin.telemetry import SWITCHES

# Whatever Python itself knows of the network raises an event; to ask for the own name is no call.
WITHOUT_SOCKETS = """
import sys

def hear(event, words):
    if event.startswith("socket.") and event != "socket.gethostname":
        print(f"a socket was used: {event} {words}", file=sys.stderr, flush=True)
        import os
        os._exit(99)

sys.addaudithook(hear)
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
        assert left.code == 0, left.code
print("all done", file=sys.stderr)
"""


def test_a_study_and_its_model_open_no_socket(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    out, image = str(tmp_path / "run"), str(class_folder / "alpha" / "000.png")
    run = ["run", str(tiny_recipe), "--data", str(class_folder), "--out", out, "--set", "training.epochs=1"]
    words = json.dumps([run, ["predict", out, image], ["audit", str(class_folder), "--quick"]])
    code = WITHOUT_SOCKETS.replace("WORDS", words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "all done"
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_socket_would_be_noticed(tmp_path: Path) -> None:
    code = (
        WITHOUT_SOCKETS.partition("import clearmargin.cli")[0] + "import socket; socket.create_connection(('::1', 9))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("a socket was used")) == (99, True)


def test_telemetry_is_off_whatever_the_user_set() -> None:
    code = "import json, os, clearmargin; print(json.dumps(dict(os.environ)))"
    asked = {**os.environ, **dict.fromkeys(SWITCHES, "elsewhere")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=asked)
    found = json.loads(done.stdout)
    assert {name: found[name] for name in SWITCHES} == SWITCHES
