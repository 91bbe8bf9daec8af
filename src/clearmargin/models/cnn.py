"""The plain CNN: exactly the layers its recipe lists."""

from __future__ import annotations

import torch
from torch import nn

from clearmargin.models.layers import build_layers
from clearmargin.models.rows import Shape
from clearmargin.recipe import Contender


class PlainCNN(nn.Module):
    """A network from a layer list; nothing in it is frozen.

    Input: float (batch, channels, height, width), or (batch, 1, columns) for a table, normalised. Output: logits
    (batch, classes), or numbers (batch, 1).
    """

    imagenet_normalised = False

    def __init__(self, contender: Contender, shape: Shape, outputs: int) -> None:
        super().__init__()
        self.layers, self.table = build_layers(contender.layers or [], shape, outputs, f"'{contender.name}'")

    @property
    def trunk(self) -> nn.Sequential | None:
        """The frozen layers: there are none."""
        return None

    @property
    def tail(self) -> nn.Module:
        """The trained layers: all of them."""
        return self.layers

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)
