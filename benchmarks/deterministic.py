"""What PyTorch's deterministic mode costs in training on this processor, in processor time.

Epochs of two small trainings in turns: without the mode, with it, and with it but without the filling of fresh memory
that comes along. The weights after each are compared: without the mode, too, two trainings should give the same bits.

    python benchmarks/deterministic.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from clearmargin.mapped_rows import ArrayRows
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Augmentation, Contender, Training
from clearmargin.training.feeds import ImageFeed
from clearmargin.training.loop import Labelled, train_epoch
from clearmargin.training.objectives import ClassLabels
from clearmargin.training.optimizers import build_optimizer

WAYS = {"without": (False, False), "with": (True, True), "with, memory not filled": (True, False)}
CNN = [
    {"conv": 16, "kernel": 3, "batch_norm": True, "activation": "relu"},
    {"pool": "max"},
    {"conv": 32, "kernel": 3, "activation": "relu"},
    {"pool": "max"},
    {"dropout": 0.25},
    {"flatten": True},
    {"dense": 64, "activation": "relu"},
]
DENSE = [{"flatten": True}, {"dense": 256, "activation": "relu"}, {"dropout": 0.5}, {"dense": 64}]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    changes = Augmentation(flip_horizontal=True, rotate_degrees=10, shift_fraction=0.05, noise=0.05)
    for name, layers, augmentation in (
        ("plain CNN, augmented", CNN, changes),
        ("plain CNN", CNN, Augmentation()),
        ("dense layers", DENSE, Augmentation()),
    ):
        measure(name, layers, augmentation, asked.rounds)


def measure(name: str, layers: list[dict[str, object]], augmentation: Augmentation, rounds: int) -> None:
    """Train in turns; print the median of the ratios to the way without, and whether the weights are the same."""
    epoch = training(layers, augmentation)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    weights: dict[str, set[bytes]] = {way: set() for way in WAYS}
    for number in range(rounds + 1):
        for way, (mode, fill) in WAYS.items():
            torch.use_deterministic_algorithms(mode)
            torch.utils.deterministic.fill_uninitialized_memory = fill
            started = time.process_time()
            learned = epoch()
            if number:  # the first warms up
                seconds[way].append(time.process_time() - started)
            weights[way].add(learned)
    torch.use_deterministic_algorithms(False)
    told = []
    for way in list(WAYS)[1:]:
        ratios = [own / base for own, base in zip(seconds[way], seconds["without"], strict=True)]
        told.append(f"{way}: {median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})")
    same = len(set.union(*weights.values())) == 1
    print(
        f"{name}: {median(seconds['without']):.2f} s an epoch without; times as much {'; '.join(told)}; "
        f"{'the same bits every time' if same else 'NOT the same bits'}",
        flush=True,
    )


def training(layers: list[dict[str, object]], augmentation: Augmentation) -> Callable[[], bytes]:
    """What trains for an epoch, always from the same start, and tells the weights."""
    generator = np.random.default_rng(0)
    images = ArrayRows(generator.integers(0, 256, (256, 48, 48, 3), dtype=np.uint8))
    targets = torch.arange(256) % 4
    contender = Contender.model_validate({"name": "one", "layers": layers})
    settings = Training(epochs=1, batch_size=32, augmentation=augmentation)

    def epoch() -> bytes:
        network = build_network(contender, (3, 48, 48), 4)
        initialise(network, torch.Generator().manual_seed(0))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        part = Labelled(ImageFeed(images, (0.5,) * 3, (0.25,) * 3, augmentation), targets)
        optimizer = build_optimizer(network.parameters(), settings)
        train_epoch(network, part, ClassLabels(settings, 4, targets), optimizer, settings, torch.float32, 0, 0, None)
        return b"".join(value.detach().numpy().tobytes() for value in network.state_dict().values())

    return epoch


if __name__ == "__main__":
    main()
