"""How far the public record's way of training comes on the copies of CIFAR-10 at hand, by validation images alone.

    python benchmarks/cifar10_record.py RUN --data cifar10-images.zip [--epochs 9.9] [--widths 64 256 256] [--rate 11.5]

The method is that of Jordan 2024 (arXiv:2404.00498), which answers 94 % of the original test images rightly when each
is seen in six ways: it says how much of what a recipe misses is due to the images. RUN, one of a CIFAR-10 recipe, gives
the split; its test part is not looked at. What else differs from the record: the images held out or left out as copies
are not learned from, and the six ways count alike.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from clearmargin.files import read_table
from clearmargin.models.whitening import Whitening
from clearmargin.pixels import open_pixels
from clearmargin.recipe import load_recipe
from clearmargin.sources import open_source
from clearmargin.training.loop import computing_in
from clearmargin.training.memory import reuse_freed_memory
from interleaved import busy_processors
from test_time_augmentation import in_six_ways

BATCH, MOMENTUM, SMOOTHING = 1024, 0.85, 0.2
DECAY, BIAS_FACTOR = 0.0153, 64.0  # of 1024 images and summed losses; the factor for biases of normalisations
SHIFT, SCALE = 2, 1 / 9
WHITENING_EPOCHS = 3  # in which the biases of the first layer learn
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def convolution(channels: int, width: int) -> nn.Conv2d:
    """3 x 3 without a bias, the first filters passing the maps on as they are."""
    made = nn.Conv2d(channels, width, 3, padding="same", bias=False)
    nn.init.dirac_(made.weight.data[:channels])
    return made


def normalisation(width: int) -> nn.BatchNorm2d:
    """Without factors that learn."""
    made = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


class Record(nn.Module):
    """Float (images, 3, 32, 32) to logits (images, 10)."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.whitening = Whitening(3, 2)
        layers: list[nn.Module] = [nn.GELU()]
        channels = 24
        for width in widths:
            layers += [convolution(channels, width), nn.MaxPool2d(2), normalisation(width), nn.GELU()]
            layers += [convolution(width, width), normalisation(width), nn.GELU()]
            channels = width
        self.rest = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(channels, 10, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.rest(self.whitening(images)) * SCALE


def optimizer_of(network: Record, per_thousand: float) -> torch.optim.SGD:
    """Nesterov's, with rates for the sum of a batch's losses; that of the record is said for 1,024 of them."""
    thousand = 1024 * (1 + 1 / (1 - MOMENTUM))
    rate, decay = per_thousand / thousand, DECAY * BATCH / thousand
    learned = {name: one for name, one in network.named_parameters() if one.requires_grad}
    normalised = [module.bias for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    chosen = {id(one) for one in normalised}
    groups = [
        {"params": normalised, "lr": rate * BIAS_FACTOR, "weight_decay": decay / (rate * BIAS_FACTOR)},
        {
            "params": [one for one in learned.values() if id(one) not in chosen],
            "lr": rate,
            "weight_decay": decay / rate,
        },
    ]
    return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)


class Averaged:
    """Every few steps the weights are pulled to their own running mean, ever less (Zhang et al. 2019, lookahead)."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.kept = network, {name: one.clone() for name, one in network.state_dict().items()}

    @torch.no_grad()
    def pull(self, decay: float) -> None:
        """Move the mean to the weights by the rest of ``decay``, and the weights to it."""
        for name, one in self.network.state_dict().items():
            if one.dtype.is_floating_point:
                one.copy_(self.kept[name].lerp_(one, 1 - decay))


def as_input(pixels: np.ndarray) -> torch.Tensor:
    """Normalised, channels first."""
    values = torch.from_numpy(pixels.astype(np.float32) / 255)
    return ((values - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(0, 3, 1, 2)


def shifted(wider: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image cut out of its padded copy at a place of its own."""
    places = torch.randint(0, 2 * SHIFT + 1, (len(wider), 2), generator=generator)
    out = torch.empty(len(wider), 3, 32, 32)
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            own = (places[:, 0] == top) & (places[:, 1] == left)
            out[own] = wider[own][:, :, top : top + 32, left : left + 32]
    return out


def epochs_of(pixels: np.ndarray, seed: int) -> Iterator[tuple[int, list[tuple[torch.Tensor, torch.Tensor]]]]:
    """Without end: the number of the epoch, and batches of images with their rows, made as they are asked for."""
    generator = torch.Generator().manual_seed(seed)
    images = as_input(pixels)
    first = torch.rand(len(images), generator=generator) < 0.5
    images[first] = images[first].flip(3)
    wider = functional.pad(images, (SHIFT,) * 4, mode="reflect")
    epoch = 0
    while True:
        order = torch.randperm(len(wider), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            some = shifted(wider[rows], generator)
            yield epoch, [(some if epoch % 2 == 0 else some.flip(3), rows)]
        epoch += 1


def accuracy(network: Record, pixels: np.ndarray, labels: torch.Tensor) -> tuple[float, float]:
    """Each image once, and in six ways."""
    network.eval()
    with torch.inference_mode(), computing_in(torch.bfloat16):
        said = torch.stack(
            [
                torch.cat([network(part).float() for part in as_input(np.ascontiguousarray(way)).split(512)])
                for way in in_six_ways(pixels)
            ]
        ).softmax(dim=2)
    network.train()
    once, six = ((one.argmax(dim=1) == labels).float().mean().item() for one in (said[0], said.mean(dim=0)))
    return once, six


def main() -> None:
    """Train, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=9.9)
    parser.add_argument("--widths", type=int, nargs=3, default=[64, 256, 256])
    parser.add_argument("--rate", type=float, default=11.5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"{busy_processors():.2f} processors busy with other work before the start")
    reuse_freed_memory()
    pixels = open_pixels(open_source(asked.data), load_recipe("cifar10-hour").data.preprocessing)
    place = {sample.name: row for row, sample in enumerate(pixels.samples)}
    split = read_table(asked.run / "split.csv", text=("name", "label", "group", "part"))
    classes = sorted(split["label"].unique())

    def part(name: str) -> tuple[np.ndarray, torch.Tensor]:
        own = split[split["part"] == name]
        rows = np.array([place[one] for one in own["name"]])
        return pixels.rows.read(rows), torch.tensor([classes.index(label) for label in own["label"]])

    (train, labels), (judged, judged_labels) = part("train"), part("validation")
    torch.manual_seed(asked.seed)
    network = Record(asked.widths)
    some = np.random.default_rng(asked.seed).permutation(len(train))[:5000]  # they lie class by class
    network.whitening.fit(as_input(train[some]).split(500))
    network.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(network, asked.rate)
    steps = math.ceil(len(train) // BATCH * asked.epochs)
    rates = np.interp(np.arange(steps + 1), [0, int(0.23 * steps), steps], [0.2, 1, 0.07])
    first_rates = [group["lr"] for group in optimizer.param_groups]
    mean, began, right = Averaged(network), time.perf_counter(), []
    before = 0
    for step, (epoch, [(images, rows)]) in enumerate(epochs_of(train, asked.seed)):
        if epoch != before or step == steps:
            once, six = accuracy(network, judged, judged_labels)
            print(
                f"epoch {before + 1}, {time.perf_counter() - began:.0f} s: training {np.mean(right):.4f}, "
                f"validation {once:.4f}, in six ways {six:.4f}",
                flush=True,
            )
            before, right = epoch, []
        if step == steps:
            break
        network.whitening.bias.requires_grad_(epoch < WHITENING_EPOCHS)
        for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
            group["lr"] = rate * rates[step]
        with computing_in(torch.bfloat16):
            outputs = network(images.contiguous(memory_format=torch.channels_last)).float()
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(outputs, labels[rows], label_smoothing=SMOOTHING, reduction="sum").backward()
        optimizer.step()
        right.append((outputs.argmax(dim=1) == labels[rows]).float().mean().item())
        if step % 5 == 4:
            mean.pull(0.95**5 * ((step + 1) / steps) ** 3)
    mean.pull(1.0)
    once, six = accuracy(network, judged, judged_labels)
    print(f"{len(train):,} training images, {len(judged):,} validation images, {time.perf_counter() - began:.0f} s")
    print(f"validation accuracy: each image once {once:.4f}, in six ways {six:.4f}")


if __name__ == "__main__":
    main()
