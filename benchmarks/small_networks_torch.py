"""One side of `small_networks.py`: ``ours``, or a plain PyTorch loop (``by-image``, ``tensors``)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from clearmargin.mapped_rows import ArrayRows
from clearmargin.models import build_network
from clearmargin.models.inputs import channel_statistics
from clearmargin.models.layers import initialise
from clearmargin.models.precision import choose_precision
from clearmargin.recipe import load_recipe
from clearmargin.training.feeds import ImageFeed
from clearmargin.training.loop import Labelled, forward, train_epoch
from clearmargin.training.memory import reuse_freed_memory
from clearmargin.training.objectives import ClassLabels
from clearmargin.training.optimizers import build_optimizer

BATCH = 128
WARM_UP = 20 * BATCH


@dataclass(frozen=True)
class Way:
    """A network and how it learns: ``epoch`` takes the images it shall see, all when None; ``say`` gives logits."""

    epoch: Callable[[int | None], None]
    say: Callable[[np.ndarray], torch.Tensor]


def our_way(name: str, arrays: dict[str, np.ndarray]) -> Way:
    """As a study trains it, without augmentation."""
    recipe = load_recipe(name)
    contender = recipe.contender[0]
    plain = contender.training.augmentation.model_copy(
        update={"flip_horizontal": False, "rotate_degrees": 0.0, "shift_fraction": 0.0, "scale_fraction": 0.0}
    )
    settings = contender.training.model_copy(
        update={"augmentation": plain, "batch_size": BATCH, "epochs": 1, "schedule": "constant"}
    )
    network = build_network(contender, recipe.data.preprocessing.shape, 10)
    initialise(network, torch.Generator().manual_seed(0))
    model = network.to(memory_format=torch.channels_last)
    optimizer, precision = build_optimizer(model.parameters(), settings), choose_precision("auto")
    order = np.random.default_rng(0).permutation(len(arrays["train"]))  # they lie class by class: the warm-up sees all
    images, targets = arrays["train"][order], torch.from_numpy(arrays["train_labels"][order])
    reuse_freed_memory()  # as `train_contender` does
    statistics = channel_statistics(ArrayRows(images))

    def epoch(count: int | None = None) -> None:
        part = Labelled(ImageFeed(ArrayRows(images[:count]), *statistics), targets[:count])
        train_epoch(model, part, ClassLabels(settings, 10, part.targets), optimizer, settings, precision, 0, 0, None)

    return Way(epoch, lambda tested: forward(model, ImageFeed(ArrayRows(tested), *statistics), precision))


class Images(Dataset):
    """As torchvision's data sets: an image, then a tensor in [0, 1], then normalised, one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, files: list[Path]) -> None:
        self.images, self.labels, self.files = images, labels, files

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        pixels = self.images[place]
        if self.files:
            image = Image.open(self.files[place]).convert("RGB")
        else:
            image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        tensor = torch.from_numpy(np.array(image)).reshape(pixels.shape).permute(2, 0, 1).contiguous().float() / 255
        return (tensor - 0.5) / 0.5, int(self.labels[place])


def plain_way(name: str, arrays: dict[str, np.ndarray], folder: Path | None = None) -> Way:
    """A loop as tutorials write it; image by image when there is a folder."""
    recipe = load_recipe(name)
    network = build_network(recipe.contender[0], recipe.data.preprocessing.shape, 10)
    optimizer = (
        torch.optim.Adadelta(network.parameters(), lr=1.0) if "mnist" in name
        else torch.optim.Adam(network.parameters(), lr=1e-3)
    )  # fmt: skip
    if folder is not None:
        files = sorted(folder.rglob("*.jpg"), key=lambda path: path.name)
        data: Dataset = Images(arrays["train"], arrays["train_labels"], files)
    else:
        data = TensorDataset(_normalised(arrays["train"]), torch.from_numpy(arrays["train_labels"]))
    criterion = nn.CrossEntropyLoss()

    def epoch(count: int | None = None) -> None:
        network.train()
        for number, (inputs, targets) in enumerate(DataLoader(data, batch_size=BATCH, shuffle=True)):
            if count is not None and number * BATCH >= count:
                break
            optimizer.zero_grad()
            loss = criterion(network(inputs), targets)
            loss.backward()
            optimizer.step()
            loss.item()

    @torch.no_grad()
    def say(tested: np.ndarray) -> torch.Tensor:
        network.eval()
        return network(_normalised(tested))

    return Way(epoch, say)


def _normalised(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255 - 0.5) / 0.5


def main() -> None:
    """Print images per second as JSON."""
    name, path, mode = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with np.load(path) as stored:
        arrays = dict(stored)
    folder = path.with_suffix("") if mode == "by-image" else None
    way = our_way(name, arrays) if mode == "ours" else plain_way(name, arrays, folder)
    way.epoch(WARM_UP)
    started = time.perf_counter()
    way.epoch(None)
    seconds = time.perf_counter() - started
    said = way.say(arrays["test"]).argmax(dim=1).numpy()
    table = build_network(load_recipe(name).contender[0], load_recipe(name).data.preprocessing.shape, 10).table
    facts = {
        "images_per_second": len(arrays["train"]) / seconds,
        "accuracy": float((said == arrays["test_labels"]).mean()),
        "multiply_adds": sum(row.multiply_adds for row in table),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
