"""Pooling over windows and over whole maps, in one and two dimensions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

DEFAULT_POOL_SIZE = 2


class SumPool(nn.Module):
    """Sums over windows, as average pooling without the division.

    Input: (batch, channels, height, width) or (batch, channels, length). Output: the same with each side
    ⌊(side - size) / stride⌋ + 1.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim == 4:
            return functional.avg_pool2d(inputs, self.size, self.stride, divisor_override=1)
        flat = functional.avg_pool2d(inputs.unsqueeze(2), (1, self.size), (1, self.stride), divisor_override=1)
        return flat.squeeze(2)

    def extra_repr(self) -> str:
        return f"size={self.size}, stride={self.stride}"


class GlobalSumPool(nn.Module):
    """Sums each map up: (batch, channels, …) to (batch, channels)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(start_dim=2).sum(dim=2)


def build_pool(kind: str, size: int, stride: int, dimensions: int) -> nn.Module:
    """Pooling over windows: ``max``, ``average`` or ``sum``, over maps of one or two dimensions."""
    match kind, dimensions:
        case "sum", _:
            return SumPool(size, stride)
        case "max", 1:
            return nn.MaxPool1d(size, stride)
        case "max", _:
            return nn.MaxPool2d(size, stride)
        case _, 1:
            return nn.AvgPool1d(size, stride)
        case _:
            return nn.AvgPool2d(size, stride)


def build_global_pool(kind: str, dimensions: int) -> list[nn.Module]:
    """Pooling of whole maps, ``global_max`` and so on, into one row of values."""
    match kind, dimensions:
        case "global_sum", _:
            return [GlobalSumPool()]
        case "global_max", 1:
            return [nn.AdaptiveMaxPool1d(1), nn.Flatten()]
        case "global_max", _:
            return [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
        case _, 1:
            return [nn.AdaptiveAvgPool1d(1), nn.Flatten()]
        case _:
            return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
