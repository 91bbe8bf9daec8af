"""What this machine can do at most: multiply-adds a second in both number formats, and bytes a second from memory.

Measured, not looked up: products of square matrices, which the libraries know best how to compute, and copies of a
block that no cache holds. The best of several sizes and rounds counts, since a limit is what nothing exceeds.

    python benchmarks/limits.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clearmargin.environment import describe_environment

SIDES = (512, 1024, 2048)
COPIED_BYTES = 512 << 20
ROUNDS = 5
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Limits:
    """The most this machine was seen to do.

    Attributes
    ----------
    multiply_adds
        A second, by the name of the number format.
    bytes_moved
        A second, read and written together.
    """

    multiply_adds: dict[str, float]
    bytes_moved: float

    def share(self, multiply_adds_a_second: float) -> float:
        """Of the faster format's limit."""
        return multiply_adds_a_second / max(self.multiply_adds.values())


def measure_limits() -> Limits:
    """Take a few seconds to find them."""
    rates = {
        "float32": max(_rate(_torch_pair(torch.float32)), _rate(_numpy_pair)),
        "bfloat16": _rate(_torch_pair(torch.bfloat16)),
    }
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return Limits(rates, 2 * COPIED_BYTES / _best_seconds(lambda: target.copy_(source)))


def _rate(pair: Callable[[int], tuple[Any, Any]]) -> float:
    """Multiply-adds a second of the best size; where a format is slow, the larger sizes are left out."""
    best, started = 0.0, time.perf_counter()
    for side in SIDES:
        if time.perf_counter() - started < PATIENCE_SECONDS:
            one, other = pair(side)
            best = max(best, side**3 / _best_seconds(lambda one=one, other=other: one @ other))
    return best


def _torch_pair(dtype: torch.dtype) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    return lambda side: (torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype))


def _numpy_pair(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Another library: which one is faster differs from processor to processor."""
    random = np.random.default_rng(0)
    return random.random((side, side), np.float32), random.random((side, side), np.float32)


def _best_seconds(work: Callable[[], object]) -> float:
    work()
    best, begun = float("inf"), time.perf_counter()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() - begun > PATIENCE_SECONDS:
            break
    return best


def describe(limits: Limits) -> str:
    """The machine and its limits, as lines of text."""
    machine = describe_environment()
    features = ", ".join(machine["features"]) or "no vector units known"
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in limits.multiply_adds.items())
    return (
        f"{machine['processor']}, {machine['cores']} cores ({features}), torch {torch.__version__}\n"
        f"limits: {rates} billion multiply-adds/s in matrix products; {limits.bytes_moved / 1e9:.1f} GB/s of memory"
    )


if __name__ == "__main__":
    print(describe(measure_limits()))
