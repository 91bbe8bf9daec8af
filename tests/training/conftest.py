from __future__ import annotations

import numpy as np
import pytest
import torch


class Array:
    """Rows in memory that count what was read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.reads: list[int] = []

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.reads += rows.tolist()
        return self.values[rows]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny shapes are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pictures():
    """Random uint8 images as rows: (images, side, side, channels)."""

    def make(images: int, side: int = 8, channels: int = 3, seed: int = 0) -> Array:
        shape = (images, side, side, channels)
        return Array(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))

    return make
