"""How many processor cores this process may use, and how its threads share them."""

from __future__ import annotations

import os

SPINS = "1000"  # a few microseconds


def available_cores() -> int:
    """Number of cores, those excluded that the process was told to keep off."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores() -> None:
    """Let threads of a network that wait for each other give their core to those that decode or answer.

    By default GNU's OpenMP waits busily for a millisecond at the end of every layer. It reads this when it is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
