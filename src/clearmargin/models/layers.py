"""A layer list becomes a network: every layer is checked against the shape that reaches it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from clearmargin.errors import RecipeError
from clearmargin.recipe_layers import BatchNorm, Conv, Dense, Dropout, Flatten, Layer, Pool, Settings

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

Shape = tuple[int, ...]
MOST_PARAMETERS = 500_000_000  # VGG16 has 138 million; training takes 16 bytes for each


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the table that describes a network.

    Attributes
    ----------
    layer
        In words: ``conv 32, 3x3, relu``.
    output
        Shape that leaves it, without the batch: (channels, height, width) or (values,).
    parameters, multiply_adds
        Learned numbers, and multiplications per image (of convolutions, dense layers and batch normalisation).
    """

    layer: str
    output: Shape
    parameters: int
    multiply_adds: int


def build_layers(
    layers: Sequence[Layer], shape: Shape, outputs: int, where: str
) -> tuple[nn.Sequential, list[LayerRow]]:
    """Turn a layer list into a network that ends in ``outputs`` logits.

    Parameters
    ----------
    layers
        From the recipe; the output layer is added here, after a flatten when the list ends in a map.
    shape
        What goes in: (channels, height, width) or (values,).
    where
        Said in messages: the contender's name.

    Raises
    ------
    RecipeError
        Naming the layer, the shape that reaches it, and what would fit.
    """
    modules: list[nn.Module] = []
    table: list[LayerRow] = []
    for number, layer in enumerate(layers, start=1):
        built, row = _build_layer(layer, shape, f"Layer {number} of {where}")
        modules += built
        table.append(row)
        shape = row.output
    if len(shape) == 3:
        modules.append(nn.Flatten())
        shape = (math.prod(shape),)
        table.append(LayerRow("flatten", shape, 0, 0))
    _need_affordable(sum(row.parameters for row in table) + shape[0] * outputs, where[:1].upper() + where[1:])
    output = nn.Linear(shape[0], outputs)
    table.append(LayerRow(f"dense {outputs}, softmax", (outputs,), _count(output), shape[0] * outputs))
    return nn.Sequential(*modules, output), table


def _build_layer(layer: Layer, shape: Shape, where: str) -> tuple[list[nn.Module], LayerRow]:
    match layer:
        case Conv():
            return _conv(layer, _need_map(shape, layer, where), where)
        case Pool():
            return _pool(layer, _need_map(shape, layer, where), where)
        case Dense():
            if len(shape) == 3:
                raise RecipeError(
                    f"{where} (dense {layer.dense}) needs one row of values, got a map of shape {_words(shape)}: "
                    'put { flatten = true } or { pool = "global_average" } before it.'
                )
            _need_affordable(shape[0] * layer.dense, where)
            linear = nn.Linear(shape[0], layer.dense)
            name = f"dense {layer.dense}" + _suffix(layer.activation)
            row = LayerRow(name, (layer.dense,), _count(linear), shape[0] * layer.dense)
            return [linear, *_activation(layer.activation)], row
        case Dropout():
            return [nn.Dropout(layer.dropout)], LayerRow(f"dropout {layer.dropout:g}", shape, 0, 0)
        case Flatten():
            flat = (math.prod(shape),)
            return [nn.Flatten()], LayerRow("flatten", flat, 0, 0)
        case BatchNorm():
            norm = nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
            return [norm], LayerRow("batch norm", shape, _count(norm), math.prod(shape))


def _conv(layer: Conv, shape: Shape, where: str) -> tuple[list[nn.Module], LayerRow]:
    channels, *sides = shape
    total = layer.kernel - 1 if layer.padding == "same" else 0  # zeros on both sides together
    out = [(side + total - layer.kernel) // layer.stride + 1 for side in sides]
    if min(out) < 1:
        raise RecipeError(
            f"{where} (conv {layer.conv}, kernel {layer.kernel}) does not fit the map of shape {_words(shape)} that "
            f'reaches it: take a kernel of at most {min(sides)}, padding = "same", or fewer pools before it.'
        )
    before, after = total // 2, total - total // 2
    _need_affordable(layer.conv * channels * layer.kernel**2, where)
    modules: list[nn.Module] = []
    if before != after:  # an even kernel needs one zero more on one side, as everywhere "same" is offered
        modules.append(nn.ZeroPad2d((before, after, before, after)))
        before = 0
    conv = nn.Conv2d(channels, layer.conv, layer.kernel, layer.stride, before, bias=not layer.batch_norm)
    modules.append(conv)
    parameters = _count(conv)
    work = math.prod(out) * layer.conv * channels * layer.kernel**2
    if layer.batch_norm:
        norm = nn.BatchNorm2d(layer.conv)
        modules.append(norm)
        parameters += _count(norm)
        work += math.prod(out) * layer.conv
    name = f"conv {layer.conv}, {layer.kernel}x{layer.kernel}"
    name += f", stride {layer.stride}" if layer.stride > 1 else ""
    name += ", valid" if layer.padding == "valid" else ""
    name += ", batch norm" if layer.batch_norm else ""
    row = LayerRow(name + _suffix(layer.activation), (layer.conv, *out), parameters, work)
    return [*modules, *_activation(layer.activation)], row


def _pool(layer: Pool, shape: Shape, where: str) -> tuple[list[nn.Module], LayerRow]:
    if layer.pool in ("global_max", "global_average"):
        whole = nn.AdaptiveMaxPool2d(1) if layer.pool == "global_max" else nn.AdaptiveAvgPool2d(1)
        return [whole, nn.Flatten()], LayerRow(f"{layer.pool.replace('_', ' ')} pool", (shape[0],), 0, 0)
    stride = layer.stride or layer.size
    out = [(side - layer.size) // stride + 1 for side in shape[1:]]
    if min(out) < 1:
        raise RecipeError(
            f"{where} ({layer.pool} pool, size {layer.size}) would empty the map of shape {_words(shape)} that reaches "
            f"it: take a size of at most {min(shape[1:])}, or fewer pools before it."
        )
    kind = nn.MaxPool2d if layer.pool == "max" else nn.AvgPool2d
    name = f"{layer.pool} pool, {layer.size}x{layer.size}" + (f", stride {stride}" if stride != layer.size else "")
    return [kind(layer.size, stride)], LayerRow(name, (shape[0], *out), 0, 0)


def _need_map(shape: Shape, layer: Settings, where: str) -> Shape:
    if len(shape) != 3:
        kind = "conv" if isinstance(layer, Conv) else "pool"
        raise RecipeError(
            f"{where} ({kind}) needs a map (channels, height, width), got {_words(shape)} values: "
            "put it before the flatten, global pool and dense layers."
        )
    return shape


def _need_affordable(parameters: int, where: str) -> None:
    if parameters > MOST_PARAMETERS:
        raise RecipeError(
            f"{where} would have {parameters:,} parameters, more than {MOST_PARAMETERS:,}: pool more before the dense "
            "layers, or take fewer filters, smaller dense layers or a smaller size_px."
        )


def _activation(name: str | None) -> list[nn.Module]:
    return [ACTIVATIONS[name]()] if name else []


def _suffix(activation: str | None) -> str:
    return f", {activation.replace('_', ' ')}" if activation else ""


def _words(shape: Shape) -> str:
    return "x".join(str(side) for side in shape)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He's normal initialisation (He et al. 2015, eq. 10), zeros for biases, and a nearly silent output layer.

    The last dense layer starts at a standard deviation of 0.01, so that training begins at the loss of guessing.
    """
    weighted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for module in weighted:
        if module is weighted[-1]:
            nn.init.normal_(module.weight, std=0.01, generator=generator)
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
