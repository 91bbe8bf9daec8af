"""The kernels the page shows: what each finds, and its nine weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Kernel:
    """Nine whole weights and what their sum is divided by.

    Attributes
    ----------
    key
        A word for programs.
    name, about
        For people.
    weights
        Row by row.
    divisor
        Keeps the brightness where the weights add up to more than one.
    """

    key: str
    name: str
    about: str
    weights: tuple[int, ...]
    divisor: int = 1

    @property
    def values(self) -> np.ndarray:
        """float64, (3, 3)."""
        return np.array(self.weights, dtype=np.float64).reshape(3, 3) / self.divisor


KERNELS = (
    Kernel("vertical", "Vertical edges", "Right minus left: bright where it gets brighter to the right (Sobel).",
           (-1, 0, 1, -2, 0, 2, -1, 0, 1)),
    Kernel("horizontal", "Horizontal edges", "Below minus above: bright where it gets brighter downwards (Sobel).",
           (-1, -2, -1, 0, 0, 0, 1, 2, 1)),
    Kernel("laplacian", "Edges all round", "The middle against its eight neighbours: flat areas give zero (Laplacian).",
           (-1, -1, -1, -1, 8, -1, -1, -1, -1)),
    Kernel("box", "Blur, plain", "The mean of nine pixels: noise and detail go alike.", (1,) * 9, 9),
    Kernel("gauss", "Blur, Gaussian", "A mean in which near pixels count more: softer, without blocks.",
           (1, 2, 1, 2, 4, 2, 1, 2, 1), 16),
    Kernel("sharpen", "Sharpen", "The pixel plus what sets it apart from its four neighbours.",
           (0, -1, 0, -1, 5, -1, 0, -1, 0)),
    Kernel("emboss", "Emboss", "Adds the slope along a diagonal: a relief lit from one corner.",
           (-2, -1, 0, -1, 1, 1, 0, 1, 2)),
    Kernel("identity", "Nothing", "Only the middle counts: the image itself.", (0, 0, 0, 0, 1, 0, 0, 0, 0)),
)  # fmt: skip
