"""VGG16 (Simonyan & Zisserman 2014, configuration D) with torchvision's parameter names."""

from __future__ import annotations

import torch
from torch import nn

from clearmargin.errors import RecipeError
from clearmargin.models.layers import build_layers, need_images, shape_words
from clearmargin.models.rows import LayerRow, Shape, Sight
from clearmargin.recipe import Contender
from clearmargin.recipe_layers import Dense, Dropout, Layer, Pool

BLOCKS: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CUTS = {"none": 0, "block1": 5, "block2": 10, "block3": 17, "block4": 24, "block5": 31}  # layers of `features` below
SMALLEST_SIDE = 32  # five poolings halve the side five times
DEFAULT_HEAD: list[Layer] = [
    Pool(pool="global_average"),
    Dense(dense=256, activation="relu"),
    Dropout(dropout=0.5),
]


class VGG16(nn.Module):
    """VGG16 with a head of the recipe's choice and the blocks up to the cut frozen.

    Input: float (batch, 3, height, width), normalised as for ImageNet. Output: logits (batch, classes).

    What passes from trunk to tail is rounded to bfloat16, so that predictions from cached activations and
    predictions from images are the same.
    """

    imagenet_normalised = True

    def __init__(self, contender: Contender, shape: Shape, outputs: int) -> None:
        super().__init__()
        need_images(contender, shape)
        channels, *sides = shape
        if channels != 3 or min(sides) < SMALLEST_SIDE:
            raise RecipeError(
                f"'{contender.name}' (VGG16) needs colour images of at least {SMALLEST_SIDE} pixels, got {channels} "
                f'channel(s) of {shape_words(tuple(sides))}: set [data] color = "rgb" and a larger size_px.'
            )
        self._cut = CUTS[contender.freeze_through or "none"]
        self.features, self.table, sight = _features(shape, self._cut)
        head, rows = build_layers(
            DEFAULT_HEAD if contender.head is None else contender.head,
            self.table[-1].output,
            outputs,
            f"the head of '{contender.name}'",
            sight,
        )
        self.table += rows
        # torchvision numbers the classifier from its first dense layer: what only reshapes stands apart
        first = next(place for place, module in enumerate(head) if isinstance(module, nn.Linear))
        self.pool, self.classifier = nn.Sequential(*list(head)[:first]), nn.Sequential(*list(head)[first:])
        nn.Sequential(*list(self.features)[: self._cut]).requires_grad_(False)

    @property
    def trunk(self) -> nn.Sequential | None:
        """The frozen layers, None when nothing is frozen."""
        return nn.Sequential(*list(self.features)[: self._cut]) if self._cut else None

    @property
    def tail(self) -> nn.Sequential:
        """The trained layers."""
        return nn.Sequential(*list(self.features)[self._cut :], self.pool, self.classifier)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        trunk = self.trunk
        if trunk is not None:
            inputs = at_the_cut(trunk(inputs)).to(inputs.dtype)
        return self.tail(inputs)


def at_the_cut(activations: torch.Tensor) -> torch.Tensor:
    """What passes from trunk to tail, in the precision in which it is cached."""
    return activations.to(torch.bfloat16)


def _features(shape: Shape, cut: int) -> tuple[nn.Sequential, list[LayerRow], Sight]:
    layers: list[nn.Module] = []
    table: list[LayerRow] = []
    sight = Sight.of(shape)
    channels, height, width = shape
    for block, widths in enumerate(BLOCKS, start=1):
        for number, wide in enumerate(widths, start=1):
            sight, trained = sight.through(3), len(layers) >= cut
            layers += [nn.Conv2d(channels, wide, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            weights, channels = 9 * channels * wide, wide
            name, output = f"conv {wide}, 3x3, relu (block {block}.{number})", (wide, height, width)
            table.append(LayerRow(name, output, weights + wide, weights * height * width, sight.field, trained))
        sight, trained = sight.through(2, 2), len(layers) >= cut
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
        table.append(LayerRow("max pool, 2x2", (channels, height, width), 0, 0, sight.field, trained))
    return nn.Sequential(*layers), table, sight
