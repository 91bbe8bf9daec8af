"""Freed memory is kept for the next step, where the system's C library can be asked to."""

import platform
import subprocess
import sys

import pytest

from clearmargin.training.memory import reuse_freed_memory

PAGE_FAULTS = """
import resource, sys, torch
from torch import nn
from clearmargin.training.memory import reuse_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "reuse":
    assert reuse_freed_memory()
network = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU())
images = torch.rand(64, 1, 28, 28)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        network(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
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
