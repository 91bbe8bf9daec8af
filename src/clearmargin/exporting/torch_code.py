"""A network as plain PyTorch code that rebuilds it: no import of clearmargin, and the same names of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from clearmargin.models import Network
from clearmargin.models.activations import Maxout
from clearmargin.models.cnn import PlainCNN
from clearmargin.models.pooling import GlobalSumPool, SumPool
from clearmargin.models.resnet18 import ResNet18
from clearmargin.models.vgg16 import VGG16

_CLASSES = {
    Maxout: """class Maxout(nn.Module):
    def __init__(self, pieces):
        super().__init__()
        self.pieces = pieces

    def forward(self, x):
        return x.unflatten(1, (-1, self.pieces)).amax(dim=2)""",
    SumPool: """class SumPool(nn.Module):
    def __init__(self, size, stride):
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x):
        pool = nn.functional.avg_pool2d if x.ndim == 4 else nn.functional.avg_pool1d
        return pool(x, self.size, self.stride) * self.size ** (x.ndim - 2)""",
    GlobalSumPool: """class GlobalSumPool(nn.Module):
    def forward(self, x):
        return x.flatten(2).sum(2)""",
}

_VGG16 = """class VGG16(nn.Module):
    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for widths in (64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512):
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.Sequential({pool})
        self.classifier = nn.Sequential({classifier})

    def forward(self, x):
{forward}"""
_WHOLE = "        return self.classifier(self.pool(self.features(x)))"
_CUT = """        x = self.features[:{cut}](x).bfloat16().float()  # rounded where the frozen layers end, as in training
        return self.classifier(self.pool(self.features[{cut}:](x)))"""

_RESNET18 = """class Block(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = nn.Identity()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.downsample(x)).relu()


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = {stem}, nn.BatchNorm2d(64)
        self.maxpool = {pool}
        channels = 64
        for number, width in enumerate((64, 128, 256, 512), start=1):
            first = Block(channels, width, 1 if number == 1 else 2)
            self.add_module(f"layer{{number}}", nn.Sequential(first, Block(width, width, 1)))
            channels = width
        self.fc = nn.Linear(512, {outputs})

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))"""

_CNN = """class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential({layers})

    def forward(self, x):
        return self.layers(x)"""


def network_code(network: Network) -> tuple[list[str], str]:
    """Classes in plain PyTorch, and the expression that makes the network.

    Raises
    ------
    TypeError
        For a layer of which it is not known how to write it.
    """
    match network:
        case PlainCNN():
            code = _CNN.format(layers=_listed(network.layers))
        case VGG16():
            cut = 0 if network.trunk is None else len(network.trunk)
            forward = _CUT.format(cut=cut) if cut else _WHOLE
            pool, classifier = _listed(network.pool), _listed(network.classifier)
            code = _VGG16.format(pool=pool, classifier=classifier, forward=forward)
        case ResNet18():
            pool = "nn.Identity()" if isinstance(network.maxpool, nn.Identity) else "nn.MaxPool2d(3, 2, 1)"
            code = _RESNET18.format(stem=_layer(network.conv1), pool=pool, outputs=network.fc.out_features)
    return [*_needed(network), code], f"{type(network).__name__.removeprefix('Plain')}()"


def _needed(network: nn.Module) -> Iterator[str]:
    used = {type(module) for module in network.modules()}
    return (code for kind, code in _CLASSES.items() if kind in used)


def _listed(layers: nn.Sequential) -> str:
    if not len(layers):
        return ""
    return "\n" + "".join(f"            {_layer(layer)},\n" for layer in layers) + "        "


def _layer(layer: nn.Module) -> str:
    """One layer as the call that makes it."""
    match layer:
        case nn.Conv1d() | nn.Conv2d():
            kind = "Conv1d" if isinstance(layer, nn.Conv1d) else "Conv2d"  # a whitening layer is one whose weights stay
            size = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0])
            return _call(kind, *size, **({} if layer.bias is not None else {"bias": False}))
        case nn.Linear():
            return _call("Linear", layer.in_features, layer.out_features)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return _call(type(layer).__name__, layer.num_features)
        case nn.ZeroPad1d() | nn.ZeroPad2d():
            return _call(type(layer).__name__, tuple(layer.padding))
        case nn.MaxPool1d() | nn.MaxPool2d() | nn.AvgPool1d() | nn.AvgPool2d():
            return _call(type(layer).__name__, _one(layer.kernel_size), _one(layer.stride))
        case nn.AdaptiveMaxPool1d() | nn.AdaptiveMaxPool2d() | nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d():
            return _call(type(layer).__name__, layer.output_size)
        case nn.LeakyReLU():
            return _call("LeakyReLU", layer.negative_slope)
        case nn.ELU():
            return _call("ELU", layer.alpha)
        case nn.Dropout():
            return _call("Dropout", layer.p)
        case nn.ReLU() | nn.GELU() | nn.Tanh() | nn.Sigmoid() | nn.Flatten():
            return _call(type(layer).__name__)
        case Maxout():
            return f"Maxout({layer.pieces})"
        case SumPool():
            return f"SumPool({layer.size}, {layer.stride})"
        case GlobalSumPool():
            return "GlobalSumPool()"
    raise TypeError(f"{type(layer).__name__} has no plain PyTorch code yet")


def _one(size: Any) -> Any:
    return size[0] if isinstance(size, tuple) else size


def _call(kind: str, *values: Any, **named: Any) -> str:
    told = [*map(repr, values), *(f"{key}={value!r}" for key, value in named.items())]
    return f"nn.{kind}({', '.join(told)})"
