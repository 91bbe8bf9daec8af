"""A first layer that is computed, not learned: patches of pixels become uncorrelated values of equal size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

EPSILON = 5e-4  # of the variances of patches of normalised images: what is flat is not blown up to noise
_PLACES, _FEWEST, _MOST = 4_000_000, 100, 2000  # patches to look at; images, whatever their size
_AT_ONCE = 32


class Whitening(nn.Conv2d):
    """A convolution with the principal directions of small patches as filters, each over its deviation, in both signs.

    Jordan 2024, arXiv:2404.00498, section 3.2. Only its biases learn; `fit` sets the filters.

    Input: float (batch, channels, height, width). Output: (batch, 2 · channels · kernel², height - kernel + 1, …).
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, 2 * channels * kernel**2, kernel)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, batches: Iterable[torch.Tensor]) -> None:
        """Set the filters by the patches of images, given in batches, float (batch, channels, height, width)."""
        values = self.weight[0].numel()
        total, outer, count = torch.zeros(values, dtype=torch.float64), torch.zeros(values, values).double(), 0
        for some in (image for batch in batches for image in batch.split(1)):
            patches = functional.unfold(some, self.kernel_size).transpose(1, 2).reshape(-1, values).double()
            total += patches.sum(dim=0)
            outer += patches.T @ patches
            count += len(patches)
        mean = total / count
        variances, directions = torch.linalg.eigh(outer / count - torch.outer(mean, mean))
        filters = (directions / (variances.clamp(min=0) + EPSILON).sqrt()).T.reshape(values, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([filters, -filters]))


def fit_whitening(network: nn.Module, read: Callable[[np.ndarray], torch.Tensor], images: int, seed: int) -> None:
    """Set the filters of the layers that are computed from training images; of other networks nothing is read.

    Parameters
    ----------
    read
        Gives training images by their numbers, float (batch, channels, height, width).
    images
        How many there are; some are drawn, fewer the larger they are.
    """
    for module in network.modules():
        if isinstance(module, Whitening):
            places = math.prod(read(np.arange(1)).shape[2:])
            enough = min(max(_PLACES // places, _FEWEST), _MOST)
            rows = np.sort(np.random.default_rng(seed).permutation(images)[:enough])
            module.fit(read(some) for some in np.array_split(rows, math.ceil(len(rows) / _AT_ONCE)))
