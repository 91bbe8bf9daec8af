"""Pixels and rows of tables become what a network takes."""

from __future__ import annotations

import numpy as np
import torch

from clearmargin.columns import standardised
from clearmargin.records import Rows

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST_STD = 1e-3  # the noise of a constant channel is not blown up


def to_input(rows: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """Normalise images (pixels scaled to [0, 1]) per channel, or rows of a table per column.

    Parameters
    ----------
    rows
        Images: uint8, (batch, height, width, channels). A table: float64, (batch, columns).
    mean, std
        One of each for every channel or column; a column of a table whose deviation is 0 becomes zero.

    Returns
    -------
    float32. Images: (batch, channels, height, width), channels last in memory. A table: (batch, 1, columns).
    """
    if rows.ndim == 2:
        return torch.from_numpy(standardised(rows, mean, std).astype(np.float32)).unsqueeze(1)
    return _pixels_to_input(rows, mean, std)


def _pixels_to_input(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    inputs = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    scale = torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1)
    return inputs.mul_(scale).sub_(shift)


def channel_statistics(rows: Rows, chunk: int = 256) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images, on the scale [0, 1], one chunk at a time.

    Parameters
    ----------
    rows
        uint8, (images, height, width, channels); at least one image.
    """
    counts = np.zeros((rows.shape[-1], 256), dtype=np.int64)
    for start in range(0, rows.shape[0], chunk):
        pixels = rows.read(np.arange(start, min(start + chunk, rows.shape[0])))
        for channel, count in enumerate(counts):
            count += np.bincount(pixels[..., channel].reshape(-1), minlength=256)
    values = np.arange(256) / 255
    means = counts @ values / counts.sum(axis=1)
    variances = counts @ values**2 / counts.sum(axis=1) - means**2
    deviations = np.sqrt(np.maximum(variances, SMALLEST_STD**2))
    return tuple(map(float, means)), tuple(map(float, deviations))
