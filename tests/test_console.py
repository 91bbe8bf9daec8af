"""Progress as lines: what is printed when, and how long the rest is said to take."""

from __future__ import annotations

import io
import json

import pytest

from clearmargin import console


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of a clock that a test moves; lines are printed at each call."""
    seconds = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    return seconds


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_rest_goes_on_at_the_pace_since_the_start(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = console.ConsoleProgress()
    for done, at in ((1, 100.0), (21, 120.0), (41, 160.0), (101, 220.0)):
        clock[0] = at
        progress("Training", done, 101, "epoch 1")
    assert said(capsys) == [
        "Training 1/101, epoch 1",
        "Training 21/101, epoch 1, 1 min 20 s left",
        "Training 41/101, epoch 1, 1 min 30 s left",
        "Training 101/101, epoch 1",
    ]


def test_what_an_interrupted_run_had_done_says_nothing_of_the_pace(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = console.ConsoleProgress()
    for done, at in ((2, 100.0), (2, 160.0), (3, 200.0), (3, 250.0), (3, 420.0)):
        clock[0] = at
        progress("Repeats", done, 5, "")
    assert said(capsys) == [
        "Repeats 2/5",
        "Repeats 2/5",
        "Repeats 3/5, 3 min 20 s left",
        "Repeats 3/5, 2 min 30 s left",  # two more of 100 s, half of one of them over
        "Repeats 3/5",  # it takes longer than was thought: nothing is known
    ]


def test_another_step_begins_anew(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = console.ConsoleProgress()
    for what, done, at in (("Reading", 5, 100.0), ("Reading", 10, 110.0), ("Training", 5, 120.0), ("Done", 0, 125.0)):
        clock[0] = at
        progress(what, done, 0 if what == "Done" else 10, "")
    assert said(capsys) == ["Reading 5/10", "Reading 10/10", "Training 5/10", "Done"]


def test_the_same_step_on_other_images_begins_anew(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = console.ConsoleProgress()
    for done, total, at in ((1, 3, 100.0), (3, 3, 140.0), (1, 5, 200.0), (2, 5, 210.0)):
        clock[0] = at
        progress("VGG16: frozen layers", done, total, "")
    assert said(capsys)[2:] == ["VGG16: frozen layers 1/5", "VGG16: frozen layers 2/5, 30 s left"]


def test_lines_are_some_seconds_apart(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 10.0)
    progress = console.ConsoleProgress()
    for second in range(25):
        clock[0] = 100.0 + second
        progress("Reading", second + 1, 25, "")
    assert [line.split(",")[0] for line in said(capsys)] == [
        "Reading 1/25",
        "Reading 11/25",
        "Reading 21/25",
        "Reading 25/25",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_what_stdout_can_not_say_is_escaped(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"é": "脑", "name": "caf\udce9"}
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(console.sys, "stdout", stream)
    console.print_json(content)
    console.print_text("caf\udce9\n")
    *lines, last = stream.buffer.getvalue().decode(encoding).splitlines()
    assert json.loads("\n".join(lines)) == content
    assert last == r"caf\udce9"


def test_json_is_left_as_it_reads_where_stdout_can_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"é": "脑"})
    assert capsys.readouterr().out == '{\n "é": "脑"\n}\n'
