"""One side of `small_networks.py`: ``ours``, or a plain PyTorch loop (``by-image``, ``tensors``)."""

from __future__ import annotations

import json
import sys
import time

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
from clearmargin.training.loop import Labelled, train_epoch
from clearmargin.training.memory import reuse_freed_memory
from clearmargin.training.objectives import ClassLabels
from clearmargin.training.optimizers import build_optimizer

BATCH = 128
WARM_UP = 20 * BATCH
RECIPES = {"mnist": "mnist-tutorial", "cifar10": "cifar10"}


def ours(recipe_name: str, images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of one epoch as a study trains it, without augmentation."""
    recipe = load_recipe(recipe_name)
    contender = recipe.contender[0]
    plain = contender.training.augmentation.model_copy(
        update={"flip_horizontal": False, "rotate_degrees": 0.0, "shift_fraction": 0.0, "scale_fraction": 0.0}
    )
    settings = contender.training.model_copy(update={"augmentation": plain, "batch_size": BATCH})
    network = build_network(contender, recipe.data.preprocessing.shape, 10)
    initialise(network, torch.Generator().manual_seed(0))
    model = network.to(memory_format=torch.channels_last)
    optimizer, precision = build_optimizer(model.parameters(), settings), choose_precision("auto")
    targets = torch.from_numpy(labels)

    def epoch(count: int) -> None:
        rows = ArrayRows(images[:count])
        part = Labelled(ImageFeed(rows, *statistics), targets[:count])
        train_epoch(model, part, ClassLabels(settings, 10, part.targets), optimizer, settings, precision, 0, 0, None)

    reuse_freed_memory()  # as `train_contender` does
    statistics = channel_statistics(ArrayRows(images))
    epoch(WARM_UP)
    started = time.perf_counter()
    epoch(len(images))
    return time.perf_counter() - started


class Images(Dataset):
    """As torchvision's data sets: an image, then a tensor in [0, 1], then normalised, one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        pixels = self.images[place]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        tensor = torch.from_numpy(np.array(image)).reshape(pixels.shape).permute(2, 0, 1).contiguous().float() / 255
        return (tensor - 0.5) / 0.5, int(self.labels[place])


def plain_torch(recipe_name: str, images: np.ndarray, labels: np.ndarray, by_image: bool) -> float:
    """Seconds of one epoch of a loop as tutorials write it."""
    recipe = load_recipe(recipe_name)
    network = build_network(recipe.contender[0], recipe.data.preprocessing.shape, 10)
    optimizer = (
        torch.optim.Adadelta(network.parameters(), lr=1.0) if "mnist" in recipe_name
        else torch.optim.Adam(network.parameters(), lr=1e-3)
    )  # fmt: skip
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
    data: Dataset = Images(images, labels) if by_image else TensorDataset(tensors, torch.from_numpy(labels))
    criterion = nn.CrossEntropyLoss()

    def epoch(batches: int | None) -> None:
        network.train()
        for number, (inputs, targets) in enumerate(DataLoader(data, batch_size=BATCH, shuffle=True)):
            if number == batches:
                break
            optimizer.zero_grad()
            loss = criterion(network(inputs), targets)
            loss.backward()
            optimizer.step()
            loss.item()

    epoch(20)
    started = time.perf_counter()
    epoch(None)
    return time.perf_counter() - started


def main() -> None:
    """Print images per second as JSON."""
    network, arrays, mode = sys.argv[1:]
    with np.load(arrays) as stored:
        images, labels = stored["images"], stored["labels"].astype(np.int64)
    recipe = RECIPES[network]
    seconds = (
        ours(recipe, images, labels) if mode == "ours" else plain_torch(recipe, images, labels, mode == "by-image")
    )
    print(json.dumps({"images_per_second": len(images) / seconds}))


if __name__ == "__main__":
    main()
