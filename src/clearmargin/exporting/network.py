"""A trained network as plain modules in float32, with nothing in it that an exporter would get wrong."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from clearmargin.models import Network
from clearmargin.models.cnn import PlainCNN
from clearmargin.models.pooling import SumPool
from clearmargin.models.vgg16 import VGG16, at_the_cut


class SumByMean(nn.Module):
    """Sums over windows as means times the size of the window: ONNX has no pooling that sums."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim == 4:
            return functional.avg_pool2d(inputs, self.size, self.stride) * self.size**2
        return functional.avg_pool1d(inputs, self.size, self.stride) * self.size


class Cut(nn.Module):
    """What passes from frozen to trained layers, rounded as it was in training."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return at_the_cut(inputs).to(inputs.dtype)


def plain_network(network: Network) -> nn.Module:
    """A copy of a network in float32 and evaluation mode, made of modules in a row where it is a row.

    Input and output are those of the network.
    """
    own = copy.deepcopy(network).float().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    listed = layers_in_order(own)
    plain = own if listed is None else nn.Sequential(*listed)
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if isinstance(child, SumPool):
                setattr(module, name, SumByMean(child.size, child.stride))
    return plain.requires_grad_(False).eval()


def layers_in_order(network: Network) -> list[nn.Module] | None:
    """The modules that an input passes one after the other; None where paths part and meet (ResNet-18)."""
    if isinstance(network, PlainCNN):
        return list(network.layers)
    if isinstance(network, VGG16):
        trunk, features = network.trunk, list(network.features)
        cut = 0 if trunk is None else len(trunk)
        rounding = [Cut()] if cut else []
        return [*features[:cut], *rounding, *features[cut:], *network.pool, *network.classifier]
    return None
