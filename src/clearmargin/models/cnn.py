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
        self._training_order = _pools_before_relus(self.layers)

    @property
    def trunk(self) -> nn.Sequential | None:
        """The frozen layers: there are none."""
        return None

    @property
    def tail(self) -> nn.Module:
        """The trained layers: all of them."""
        return self.layers

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.layers(inputs)
        for place in self._training_order:
            inputs = self.layers[place](inputs)
        return inputs


def _pools_before_relus(layers: nn.Sequential) -> list[int]:
    """The order in which to compute: a ReLU after the max pooling that follows it.

    The largest of rectified values is the rectified largest, to the bit, and so are the gradients; but the ReLU has a
    quarter of the values to do.
    """
    order, place = [], 0
    while place < len(layers):
        if isinstance(layers[place], nn.ReLU) and isinstance(_at(layers, place + 1), nn.MaxPool1d | nn.MaxPool2d):
            order += [place + 1, place]
            place += 2
        else:
            order.append(place)
            place += 1
    return order


def _at(layers: nn.Sequential, place: int) -> nn.Module | None:
    return layers[place] if place < len(layers) else None
