"""A first layer that is computed, not learned: patches of pixels become uncorrelated values of equal size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

EPSILON = 5e-4  # of the variances of patches of normalised images: what is flat is not blown up to noise
_AT_ONCE = 256


class Whitening(nn.Conv2d):
    """A convolution with the principal directions of small patches as filters, each over its deviation, in both signs.

    Jordan 2024, arXiv:2404.00498, section 3.2. Only its biases learn; `fit` sets the filters.

    Input: float (batch, channels, height, width). Output: (batch, 2 · channels · kernel², height - kernel + 1, …).
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, 2 * channels * kernel**2, kernel)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> None:
        """Set the filters by the patches of these images, float (images, channels, height, width)."""
        values = self.weight[0].numel()
        total, outer, count = torch.zeros(values, dtype=torch.float64), torch.zeros(values, values).double(), 0
        for some in images.split(_AT_ONCE):
            patches = functional.unfold(some, self.kernel_size).transpose(1, 2).reshape(-1, values).double()
            total += patches.sum(dim=0)
            outer += patches.T @ patches
            count += len(patches)
        mean = total / count
        variances, directions = torch.linalg.eigh(outer / count - torch.outer(mean, mean))
        filters = (directions / (variances.clamp(min=0) + EPSILON).sqrt()).T.reshape(values, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([filters, -filters]))


def fit_whitening(network: nn.Module, images: Callable[[], torch.Tensor]) -> None:
    """Set the filters of the layers that are computed from training images, which are asked for only then."""
    for module in network.modules():
        if isinstance(module, Whitening):
            module.fit(images())
