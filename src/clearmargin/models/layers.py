"""A layer list becomes a network: every layer is checked against the shape that reaches it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from clearmargin.errors import RecipeError
from clearmargin.models.activations import ACTIVATIONS, activation_words, build_activation, gain_before, pieces_of
from clearmargin.models.dropout import Dropout as RandomDropout
from clearmargin.models.pooling import DEFAULT_POOL_SIZE, build_global_pool, build_pool
from clearmargin.models.rows import LayerRow, Shape, Sight
from clearmargin.models.whitening import Whitening as WhiteningConv
from clearmargin.recipe import Contender
from clearmargin.recipe_layers import Activate, BatchNorm, Conv, Dense, Dropout, Flatten, Layer, Pool, Whitening

MOST_PARAMETERS = 500_000_000  # VGG16 has 138 million; training takes 16 bytes for each

# by the number of sides of the map, the one of a table's row or the two of an image
CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
PADDINGS: dict[int, type[nn.Module]] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d}
NORMALISATIONS: dict[int, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)

Built = tuple[list[nn.Module], LayerRow, Sight]


def build_layers(
    layers: Sequence[Layer], shape: Shape, outputs: int, where: str, sight: Sight | None = None
) -> tuple[nn.Sequential, list[LayerRow]]:
    """Turn a layer list into a network that ends in ``outputs`` logits, or in one number.

    Parameters
    ----------
    layers
        From the recipe. A last dense layer of ``outputs`` values with softmax or no activation is the output layer;
        otherwise one is added, after a flatten when the list ends in a map. The softmax itself is left to the loss.
    shape
        What goes in: (channels, height, width), (channels, length) or (values,).
    outputs
        Classes, or 1 to learn numbers.
    where
        Said in messages: the contender's name.
    sight
        What a value that goes in sees of the network's input; itself when None.

    Raises
    ------
    RecipeError
        Naming the layer, the shape that reaches it, and what would fit.
    """
    modules: list[nn.Module] = []
    table: list[LayerRow] = []
    seen = sight or Sight.of(shape)
    for number, layer in enumerate(_hidden(layers, outputs, where), start=1):
        built, row, seen = _build_layer(layer, shape, seen, f"Layer {number} of {where}")
        modules += built
        table.append(row)
        shape = row.output
    written = len(table) < len(layers)  # the output layer, and so what has to come before it
    if len(shape) > 1 and not written:
        modules.append(nn.Flatten())
        shape = (math.prod(shape),)
        table.append(LayerRow("flatten", shape, 0, 0, seen.field))
    whole = where[:1].upper() + where[1:]
    output = Dense(dense=outputs, activation="softmax" if outputs > 1 else None)
    built, row, _ = _dense(output, shape, seen, f"Layer {len(layers)} of {where}" if written else whole)
    table.append(row)
    _need_affordable(sum(row.parameters for row in table), whole)
    return nn.Sequential(*modules, *built), table


def _hidden(layers: Sequence[Layer], outputs: int, where: str) -> Sequence[Layer]:
    """The layers before the output; a last dense layer that can't be the output but was meant to be is refused."""
    last = layers[-1] if layers else None
    if not isinstance(last, Dense):
        return layers
    if last.dense == outputs and last.activation in (None, "softmax"):
        return layers[:-1]
    said = f"Layer {len(layers)} of {where} (dense {last.dense}{_suffix(last)})"
    if last.activation == "softmax":
        have = f"the data have {outputs} classes" if outputs > 1 else "the target is one number"
        fitting = f'{{ dense = {outputs}, activation = "softmax" }}' if outputs > 1 else "{ dense = 1 }"
        raise RecipeError(
            f"{said} is the output layer, but {have}: write {fitting}, or leave it out, as the output layer follows "
            "from the data."
        )
    if last.dense == 1 and outputs == 1:
        raise RecipeError(
            f"{said} is the output layer, and the output of a regression has no activation, as the target may be any "
            "number: write { dense = 1 }, or leave it out."
        )
    if last.dense == 1:
        raise RecipeError(
            f"{said} leaves one number for {outputs} classes, and every class has an output of its own here: leave the "
            "layer out, as the output layer follows from the classes."
        )
    return layers


def _build_layer(layer: Layer, shape: Shape, sight: Sight, where: str) -> Built:
    match layer:
        case Conv():
            return _conv(layer, _need_map(shape, "conv", where), sight, where)
        case Whitening():
            return _whitening(layer, shape, sight, where)
        case Pool():
            return _pool(layer, _need_map(shape, "pool", where), sight, where)
        case Dense():
            return _dense(layer, shape, sight, where)
        case Activate():
            return _activate(layer, shape, sight, where)
        case Dropout():
            return (
                [RandomDropout(layer.dropout)],
                LayerRow(f"dropout {layer.dropout:g}", shape, 0, 0, sight.field),
                sight,
            )
        case Flatten():
            return [nn.Flatten()], LayerRow("flatten", (math.prod(shape),), 0, 0, sight.field), sight
        case BatchNorm():
            norm = NORMALISATIONS[len(shape) - 1](shape[0])
            row = LayerRow("batch norm", shape, _count(norm), math.prod(shape), sight.field)
            return [norm], row, sight


def _conv(layer: Conv, shape: Shape, sight: Sight, where: str) -> Built:
    channels, *sides = shape
    dimensions = len(sides)
    total = layer.kernel - 1 if layer.padding == "same" else 0  # zeros on both sides together
    out = [(side + total - layer.kernel) // layer.stride + 1 for side in sides]
    if min(out) < 1:
        raise RecipeError(
            f"{where} (conv {layer.conv}, kernel {layer.kernel}) does not fit the map of shape {shape_words(shape)} "
            f'that reaches it: take a kernel of at most {min(sides)}, padding = "same", or fewer pools before it.'
        )
    width, before, after = layer.conv * pieces_of(layer), total // 2, total - total // 2
    _need_affordable(width * channels * layer.kernel**dimensions, where)
    modules: list[nn.Module] = []
    if before != after:  # an even kernel needs one zero more on one side, as everywhere "same" is offered
        modules.append(PADDINGS[dimensions]((before, after) * dimensions))
        before = 0
    conv = CONVOLUTIONS[dimensions](channels, width, layer.kernel, layer.stride, before, bias=not layer.batch_norm)
    modules.append(conv)
    work = math.prod(out) * width * channels * layer.kernel**dimensions
    if layer.batch_norm:
        modules.append(NORMALISATIONS[dimensions](width))
        work += math.prod(out) * width
    parameters = sum(_count(module) for module in modules)
    name = f"conv {layer.conv}, {_window(layer.kernel, dimensions, 'kernel')}"
    name += f", stride {layer.stride}" if layer.stride > 1 else ""
    name += ", valid" if layer.padding == "valid" else ""
    name += (", batch norm" if layer.batch_norm else "") + _suffix(layer)
    sight = sight.through(layer.kernel, layer.stride)
    row = LayerRow(name, (layer.conv, *out), parameters, work, sight.field)
    return [*modules, *build_activation(layer)], row, sight


def _whitening(layer: Whitening, shape: Shape, sight: Sight, where: str) -> Built:
    kernel = layer.whitening
    if len(shape) != 3 or sight.field > 1:
        raise RecipeError(
            f"{where} (whitening {kernel}) is computed from the pixels of the training images: it can only be the "
            "first layer of a plain CNN on images."
        )
    channels, *sides = shape
    out = [side - kernel + 1 for side in sides]
    if min(out) < 1:
        raise RecipeError(f"{where} (whitening {kernel}) does not fit images of shape {shape_words(shape)}.")
    module = WhiteningConv(channels, kernel)
    maps = module.out_channels
    work = math.prod(out) * maps * channels * kernel**2
    sight = sight.through(kernel, 1)
    name = f"whitening {_window(kernel, 2, 'kernel')}"
    return [module], LayerRow(name, (maps, *out), _count(module), work, sight.field), sight


def _pool(layer: Pool, shape: Shape, sight: Sight, where: str) -> Built:
    channels, *sides = shape
    if layer.pool.startswith("global_"):
        row = LayerRow(f"{layer.pool.replace('_', ' ')} pool", (channels,), 0, 0, sight.side)
        return build_global_pool(layer.pool, len(sides)), row, sight.of_everything()
    size = layer.size or DEFAULT_POOL_SIZE
    stride = layer.stride or size
    out = [(side - size) // stride + 1 for side in sides]
    if min(out) < 1:
        raise RecipeError(
            f"{where} ({layer.pool} pool, size {size}) would empty the map of shape {shape_words(shape)} that "
            f"reaches it: take a size of at most {min(sides)}, or fewer pools before it."
        )
    name = f"{layer.pool} pool, {_window(size, len(sides), 'size')}"
    name += f", stride {stride}" if stride != size else ""
    sight = sight.through(size, stride)
    module = build_pool(layer.pool, size, stride, len(sides))
    return [module], LayerRow(name, (channels, *out), 0, 0, sight.field), sight


def _dense(layer: Dense, shape: Shape, sight: Sight, where: str) -> Built:
    if len(shape) > 1:
        raise RecipeError(
            f"{where} (dense {layer.dense}) needs one row of values, got a map of shape {shape_words(shape)}: "
            'put { flatten = true } or { pool = "global_average" } before it.'
        )
    width = layer.dense * pieces_of(layer)
    _need_affordable(shape[0] * width, where)
    linear = nn.Linear(shape[0], width)
    name = f"dense {layer.dense}{_suffix(layer)}"
    row = LayerRow(name, (layer.dense,), _count(linear), shape[0] * width, sight.side)
    return [linear, *build_activation(layer)], row, sight.of_everything()


def _activate(layer: Activate, shape: Shape, sight: Sight, where: str) -> Built:
    pieces = pieces_of(layer)
    if shape[0] % pieces:
        raise RecipeError(
            f"{where} (maxout of {pieces}) needs a number of channels or values that {pieces} divides, got shape "
            f"{shape_words(shape)}: change the layer before it, or the pieces."
        )
    row = LayerRow(activation_words(layer), (shape[0] // pieces, *shape[1:]), 0, 0, sight.field)
    return build_activation(layer), row, sight


def need_images(contender: Contender, shape: Shape) -> None:
    """Refuse the rows of a table where a network takes images only.

    Raises
    ------
    RecipeError
        When the shape has not two sides.
    """
    if len(shape) != 3:
        raise RecipeError(
            f"'{contender.name}' (architecture = \"{contender.architecture}\") takes images, got rows of "
            f"{shape[-1]} columns: a table needs a plain CNN, so give it its 'layers' and leave the architecture out."
        )


def _need_map(shape: Shape, kind: str, where: str) -> Shape:
    if len(shape) == 1:
        raise RecipeError(
            f"{where} ({kind}) needs a map (channels and sides), got {shape[0]} values: "
            "put it before the flatten, global pool and dense layers."
        )
    return shape


def _need_affordable(parameters: int, where: str) -> None:
    if parameters > MOST_PARAMETERS:
        raise RecipeError(
            f"{where} would have {parameters:,} parameters, more than {MOST_PARAMETERS:,}: pool more before the dense "
            "layers, or take fewer filters, smaller dense layers or a smaller size_px."
        )


def _suffix(layer: Conv | Dense) -> str:
    words = activation_words(layer)
    return f", {words}" if words else ""


def _window(size: int, dimensions: int, word: str) -> str:
    return f"{size}x{size}" if dimensions == 2 else f"{word} {size}"


def shape_words(shape: Shape) -> str:
    """A shape as the table of layers says it: ``32x26x26``."""
    return "x".join(str(side) for side in shape)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Normal first weights that suit the activation after each layer, zeros for biases, a nearly silent output layer.

    A layer's standard deviation is `gain_before` its activation, over the square root of the values that go into one
    output (He et al. 2015); the last dense layer starts at 0.01, so that training begins at the loss of guessing.
    """
    listed = list(network.modules())
    weighted = [(place, module) for place, module in enumerate(listed) if isinstance(module, WEIGHTED)]
    following = [place for place, _ in weighted[1:]]
    for (place, module), after in zip(weighted, [*following, None], strict=True):
        activation = next((each for each in listed[place:after] if isinstance(each, ACTIVATIONS)), None)
        std = 0.01 if after is None else gain_before(activation) / math.sqrt(module.weight[0].numel())
        nn.init.normal_(module.weight, std=std, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
