"""Sides that take turns, A B C A B C …, each a process of its own: rates, ratios of neighbours in time, peak memory.

A side is a command that prints, as its last line, JSON with ``images_per_second``, and if it knows them ``accuracy``
(on the same test images as the others) and ``multiply_adds`` (of one image, counted from the network).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limits import Limits

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "ORT_DISABLE_TELEMETRY": "1"}


# A process counts its parent's peak as its own on Linux, where it was forked from it: a small one stands between.
LAUNCHER = (
    "import resource, subprocess, sys\n"
    "code = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(code)\n"
)


@dataclass(frozen=True)
class Side:
    """One of those that are compared."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One turn of one side: what it printed, and what its process took."""

    facts: Mapping[str, Any]
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        return float(self.facts["images_per_second"])


def take_turns(sides: Sequence[Side], rounds: int) -> dict[str, list[Turn]]:
    """Run every side once, and all of that so many times."""
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            turns[side.name].append(one_turn(side))
            print(f"  round {number + 1}: {side.name} {turns[side.name][-1].rate:,.2f} images/s", flush=True)
    return turns


def one_turn(side: Side) -> Turn:
    """Run a side; raises `SystemExit` with what it said when it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        command = [sys.executable, "-S", "-c", LAUNCHER, *side.command]
        started = time.perf_counter()
        code = subprocess.call(command, stdout=out, stderr=err, env=os.environ | QUIET | side.environment)
        seconds = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        if code:
            raise SystemExit(f"{side.name} failed ({code}):\n{err.read()[-3000:]}")
        *_, facts, peak_kib = out.read().splitlines()
    return Turn(json.loads(facts), seconds, int(peak_kib) * 1024)


def markdown(turns: Mapping[str, Sequence[Turn]], ours: str, limits: Limits, *, passes: int = 1) -> str:
    """A table of all sides: the ratios are ours over theirs, turn by turn.

    Parameters
    ----------
    passes
        How often the multiply-adds of an image are done: once to predict, three times to learn (forward, and back to
        the values and to the weights).
    """
    lines = [
        f"| side | images/s | {ours} is … times as fast | accuracy | share of the limit | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    multiply_adds = next((turn.facts["multiply_adds"] for each in turns.values() for turn in each
                          if "multiply_adds" in turn.facts), None)  # fmt: skip
    for name, own in turns.items():
        rates = [turn.rate for turn in own]
        ratios = [mine.rate / other.rate for mine, other in zip(turns[ours], own, strict=True)]
        accuracies = [turn.facts["accuracy"] for turn in own if "accuracy" in turn.facts]
        share = limits.share(statistics.median(rates) * multiply_adds * passes) if multiply_adds else None
        lines.append(
            f"| {name} | {spread(rates, ',.1f')} | {'' if name == ours else spread(ratios, '.2f')} "
            f"| {spread(accuracies, '.3f') if accuracies else ''} | {'' if share is None else f'{share:.0%}'} "
            f"| {max(turn.peak_bytes for turn in own) / 1e9:.2f} GB |"
        )
    return "\n".join(lines)


def spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    low, middle, high = (format(value, form) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def busy_processors(seconds: float = 10) -> float:
    """Processors that other programs keep busy: a busy machine gives no ratio to quote."""
    if not Path("/proc/stat").exists():
        return float("nan")
    before = _busy_seconds()
    time.sleep(seconds)
    return (_busy_seconds() - before) / seconds


def _busy_seconds() -> float:
    first_line = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    user, nice, system, *_ = map(int, first_line.split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")
