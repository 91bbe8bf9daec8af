"""How many threads a network is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Below this many multiply-adds a batch, handing work to another thread and waiting for it costs more than it gains,
# all the more while other programs keep the cores busy. The 1-D CNN on a table of 13 columns has 0.8 million a batch of
# 32, the tutorial's MNIST network 337 million a batch of 128.
WORTH_THREADS = 20_000_000


@contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """Compute on one thread inside, if a batch of so many multiply-adds is not worth more."""
    before = torch.get_num_threads()
    if multiply_adds < WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
