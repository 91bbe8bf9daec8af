"""Freed memory is kept for the next step, where the system's C library can be asked to."""

import platform
import subprocess
import sys

import pytest

from clearmargin.training.memory import reuse_freed_memory

PAGE_FAULTS = """
import resource, sys, torch
from clearmargin.training.memory import reuse_freed_memory
if sys.argv[1] == "reuse":
    assert reuse_freed_memory()
def step():
    return [torch.ones(5 << 20, dtype=torch.uint8) for _ in range(10)]
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep what is freed")
def test_steps_touch_no_fresh_pages():
    faults = {}
    for way in ("default", "reuse"):
        done = subprocess.run([sys.executable, "-c", PAGE_FAULTS, way], capture_output=True, text=True, check=True)
        faults[way] = int(done.stdout)
    assert faults["reuse"] < faults["default"] / 10


def test_elsewhere_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert reuse_freed_memory() is False
