"""ResNet-18 (He et al. 2016, table 1) with torchvision's parameter names."""

from __future__ import annotations

import torch
from torch import nn

from clearmargin.models.layers import need_images
from clearmargin.models.rows import LayerRow, Shape, Sight
from clearmargin.models.weight_files import Layout
from clearmargin.recipe import Contender

WIDTHS = (64, 128, 256, 512)
BLOCKS_PER_STAGE = 2
SMALL_SIDE = 64  # below: a stem that keeps the size, as He et al. use on CIFAR-10 (2016, section 4.2)


class ResNet18(nn.Module):
    """ResNet-18, nothing in it frozen.

    Input: float (batch, channels, height, width), normalised. Output: logits (batch, classes).

    Images with a side of less than 64 pixels pass a stem of one 3x3 convolution at stride 1 instead of a 7x7 one at
    stride 2 and a pool, which would leave them at a quarter of the side.
    """

    def __init__(self, contender: Contender, shape: Shape, outputs: int) -> None:
        super().__init__()
        need_images(contender, shape)
        self.imagenet_normalised = contender.weights not in (None, "none")  # as the files of torchvision expect
        self.table: list[LayerRow] = []
        small = min(shape[1:]) < SMALL_SIDE
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(shape[0], WIDTHS[0], kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        shape, sight = self._tell(self.conv1, shape, Sight.of(shape), ", relu (stem)")
        if not small:
            shape, sight = (shape[0], *(_halved(side) for side in shape[1:])), sight.through(3, 2)
            self.table.append(LayerRow("max pool, 3x3, stride 2", shape, 0, 0, sight.field))
        for number, width in enumerate(WIDTHS, start=1):
            stage = nn.Sequential()
            for place in range(1, BLOCKS_PER_STAGE + 1):
                block = BasicBlock(shape[0], width, stride=2 if number > 1 and place == 1 else 1)
                stage.append(block)
                shape, sight = self._tell_block(block, shape, sight, f"block {number}.{place}")
            self.add_module(f"layer{number}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[-1], outputs)
        self.table.append(LayerRow("global average pool", (WIDTHS[-1],), 0, 0, sight.side))
        last = f"dense {outputs}" + (", softmax" if outputs > 1 else "")
        work = WIDTHS[-1] * outputs
        self.table.append(LayerRow(last, (outputs,), work + outputs, work, sight.side))

    @property
    def layout(self) -> Layout:
        """What a file of first weights has to hold: everything but the output layer."""
        shapes = {name: tuple(value.shape) for name, value in self.state_dict().items() if not name.startswith("fc.")}
        needed = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
        return Layout("ResNet-18, with the stem for this size of image", needed, ("conv1.", "bn1.", "layer"))

    @property
    def trunk(self) -> nn.Sequential | None:
        """The frozen layers: there are none."""
        return None

    @property
    def tail(self) -> nn.Module:
        """The trained layers: all of them."""
        return self

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        for number in range(1, len(WIDTHS) + 1):
            maps = self.get_submodule(f"layer{number}")(maps)
        return self.fc(self.avgpool(maps).flatten(start_dim=1))

    def _tell(self, conv: nn.Conv2d, shape: Shape, sight: Sight, words: str) -> tuple[Shape, Sight]:
        """Write the row of a convolution with its batch normalisation; return what leaves it."""
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        sides = [_halved(side) if stride == 2 else side for side in shape[1:]]
        output, weights = (conv.out_channels, *sides), conv.weight.numel()
        work = (weights + conv.out_channels) * sides[0] * sides[1]
        sight = sight.through(kernel, stride)
        name = f"conv {conv.out_channels}, {kernel}x{kernel}{', stride 2' if stride == 2 else ''}, batch norm{words}"
        self.table.append(LayerRow(name, output, weights + 2 * conv.out_channels, work, sight.field))
        return output, sight

    def _tell_block(self, block: BasicBlock, shape: Shape, sight: Sight, name: str) -> tuple[Shape, Sight]:
        if isinstance(block.downsample, nn.Sequential):
            shortcut = block.downsample[0]
            if isinstance(shortcut, nn.Conv2d):
                self._tell(shortcut, shape, sight, f" ({name}, shortcut)")
        shape, sight = self._tell(block.conv1, shape, sight, f", relu ({name})")
        return self._tell(block.conv2, shape, sight, f", plus shortcut, relu ({name})")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, and what went in added to what comes out (He et al. 2016, figure 5 left).

    Input: (batch, channels, height, width). Output: (batch, width, height / stride, width / stride); where the two
    differ, the shortcut is a 1x1 convolution (option B).
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = self.relu(self.bn1(self.conv1(inputs)))
        maps = self.bn2(self.conv2(maps))
        return self.relu(maps + self.downsample(inputs))


def _halved(side: int) -> int:
    return (side + 1) // 2
