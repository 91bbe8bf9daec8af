"""Activation functions by the names a recipe uses, and how large the weights before each start."""

from __future__ import annotations

import functools
import math

import torch
from torch import nn

from clearmargin.recipe_layers import Activate, Conv, Dense

DEFAULT_PIECES, DEFAULT_SLOPE, DEFAULT_ALPHA = 2, 0.01, 1.0


class Maxout(nn.Module):
    """The largest of several linear pieces, value by value (Goodfellow et al. 2013, eq. 2).

    Input: (batch, pieces · width, …): the pieces of a channel are neighbours. Output: (batch, width, …). Where pieces
    tie, the gradient is shared evenly.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return functools.reduce(torch.maximum, (inputs[:, piece :: self.pieces] for piece in range(self.pieces)))

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


def build_activation(layer: Conv | Dense | Activate) -> list[nn.Module]:
    """The module of a layer's activation; none when it has none, and for softmax, which belongs to the loss."""
    match layer.activation:
        case "relu":
            return [nn.ReLU()]
        case "leaky_relu":
            return [nn.LeakyReLU(layer.slope or DEFAULT_SLOPE)]
        case "elu":
            return [nn.ELU(layer.alpha or DEFAULT_ALPHA)]
        case "gelu":
            return [nn.GELU()]
        case "tanh":
            return [nn.Tanh()]
        case "sigmoid":
            return [nn.Sigmoid()]
        case "maxout":
            return [Maxout(pieces_of(layer))]
        case "softmax" | None:
            return []


def pieces_of(layer: Conv | Dense | Activate) -> int:
    """How many values a layer computes for each that leaves it: 1 but for maxout."""
    return (layer.pieces or DEFAULT_PIECES) if layer.activation == "maxout" else 1


def activation_words(layer: Conv | Dense | Activate) -> str:
    """The activation as the table of layers says it: ``leaky relu 0.2``; empty when there is none."""
    words = {
        None: "",
        "maxout": f"maxout of {pieces_of(layer)}",
        "leaky_relu": "leaky relu" + (f" {layer.slope:g}" if layer.slope else ""),
        "elu": "elu" + (f" {layer.alpha:g}" if layer.alpha else ""),
    }
    return words.get(layer.activation, str(layer.activation))


ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.Tanh, nn.Sigmoid, Maxout)


def gain_before(activation: nn.Module | None) -> float:
    """Times 1/√(values that go in): the standard deviation of first weights before an activation.

    √2 for ReLU and its smooth relatives, √(2 / (1 + slope²)) for leaky ReLU (He et al. 2015, eqs. 10 and 15), 5/3 for
    tanh and 1 for sigmoid (`torch.nn.init.calculate_gain`). For maxout 1 over the root mean square of the largest of
    its pieces, so that what leaves it is as large as each piece: 1 for two.
    """
    match activation:
        case nn.LeakyReLU():
            return math.sqrt(2 / (1 + activation.negative_slope**2))
        case nn.Tanh():
            return 5 / 3
        case nn.Sigmoid():
            return 1.0
        case Maxout():
            return 1 / math.sqrt(_mean_square_of_largest(activation.pieces))
    return math.sqrt(2)


def _mean_square_of_largest(pieces: int) -> float:
    """E[max(z)²] of so many independent standard normal values: ∫ x² · pieces · φ(x) · Φ(x)^(pieces - 1) dx."""
    x = torch.linspace(-12, 12, 4801, dtype=torch.float64, device="cpu")
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return float(torch.trapezoid(x**2 * pieces * density * torch.special.ndtr(x) ** (pieces - 1), x))
