"""How many processor cores this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Number of cores, those excluded that the process was told to keep off."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
