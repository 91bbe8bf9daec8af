"""Where batches come from: images made into inputs, or cached activations read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from clearmargin.mapped_rows import Subset
from clearmargin.models import Network
from clearmargin.models.inputs import to_input
from clearmargin.recipe import Augmentation, Training
from clearmargin.records import Inputs, Rows
from clearmargin.training.augmentation import alternately, augment
from clearmargin.training.trunk import TrunkCache

Report = Callable[[int, int, str], None]  # done, in all, a note such as "loss 0.31"


@dataclass(frozen=True)
class Chance:
    """What makes one epoch of training differ from another: its number, from 0, and where its lots come from."""

    seed: int
    epoch: int
    generator: torch.Generator


class Feed(Protocol):
    """Gives the tail of a network its batches; ``len`` is the number of samples."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, chance: Chance | None) -> torch.Tensor:
        """Inputs for these rows; with a chance, randomly changed as training wants them."""
        ...


class ImageFeed:
    """Images, normalised, and augmented while training."""

    def __init__(
        self, images: Rows, mean: tuple[float, ...], std: tuple[float, ...], augmentation: Augmentation | None = None
    ) -> None:
        self._images, self._mean, self._std = images, mean, std
        self._augmentation = augmentation if augmentation is not None and augmentation.active else None

    def __len__(self) -> int:
        return self._images.shape[0]

    def batch(self, rows: np.ndarray, chance: Chance | None) -> torch.Tensor:
        inputs = to_input(self._images.read(rows), self._mean, self._std)
        if chance is not None and self._augmentation is not None:
            flipped = alternately(rows, chance.seed, chance.epoch) if self._augmentation.alternate_flips else None
            inputs = augment(inputs, self._augmentation, chance.generator, flipped)
        return inputs


class CacheFeed:
    """Cached activations at the cut; while training, one view of each sample is drawn at random."""

    def __init__(self, views: Sequence[Rows]) -> None:
        self._views = views

    def __len__(self) -> int:
        return self._views[0].shape[0]

    def batch(self, rows: np.ndarray, chance: Chance | None) -> torch.Tensor:
        if chance is None or len(self._views) == 1:
            bits = self._views[0].read(rows)
        else:
            drawn = torch.randint(len(self._views), (len(rows),), generator=chance.generator).numpy()
            bits = np.empty((len(rows), *self._views[0].shape[1:]), dtype=np.int16)
            for number in np.unique(drawn):
                bits[drawn == number] = self._views[number].read(rows[drawn == number])
        # stored channels last, as the trunk left them and the tail wants them
        activations = torch.from_numpy(bits).view(torch.bfloat16).float()
        return activations.permute(0, 3, 1, 2) if activations.ndim == 4 else activations


class Feeds:
    """Makes the feeds of one contender: images when nothing is frozen, cached activations otherwise.

    ``model`` is what takes their batches: the whole network, or its tail.
    """

    def __init__(
        self,
        network: Network,
        settings: Training,
        pixels: Inputs,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        cache: Path,
        precision: torch.dtype,
    ) -> None:
        self._images, self._mean, self._std = pixels.rows, mean, std
        self._augmentation = settings.augmentation
        self._views: list[TrunkCache] = []
        trunk = network.trunk
        if trunk is not None:
            views = settings.augmentation.cached_views if settings.augmentation.active else 1
            caches = (cache, trunk, pixels.rows, pixels.key, mean, std, precision)
            self._views = [TrunkCache(*caches, view, settings.augmentation) for view in range(views)]
        self.model: nn.Module = network if trunk is None else network.tail
        self.trunk_seconds = 0.0

    def train(self, rows: np.ndarray, report: Report | None = None) -> Feed:
        """A feed over the training rows that changes them at random."""
        if not self._views:
            return ImageFeed(Subset(self._images, rows), self._mean, self._std, self._augmentation)
        return CacheFeed([self._computed(view, rows, report) for view in self._views])

    def plain(self, rows: np.ndarray, report: Report | None = None) -> Feed:
        """A feed over any rows that shows them as they are."""
        if not self._views:
            return ImageFeed(Subset(self._images, rows), self._mean, self._std)
        return CacheFeed([self._computed(self._views[0], rows, report)])

    def _computed(self, view: TrunkCache, rows: np.ndarray, report: Report | None) -> Rows:
        started = time.perf_counter()
        view.compute(rows, report)
        self.trunk_seconds += time.perf_counter() - started
        return Subset(view, rows)
