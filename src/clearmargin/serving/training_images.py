"""The training images that the network finds most like a new one, where this machine still has their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from clearmargin.errors import ClearmarginError
from clearmargin.evaluation.neighbours import OutputInputs, evenly_spaced, output_inputs
from clearmargin.external.training_data import SUMMARY
from clearmargin.files import read_table
from clearmargin.inside.pictures import picture_png
from clearmargin.mapped_rows import ArrayRows
from clearmargin.pixels import stored_pixels
from clearmargin.records import Preprocessing, Rows
from clearmargin.runs import Run, read_json
from clearmargin.trained import TrainedContender
from clearmargin.training.feeds import ImageFeed

SHOWN = 3
MOST_IMAGES = 5000
MOST_VALUES = 25_000_000  # of all features: 100 MB
PICTURE_PX = 112
_AT_A_TIME = 4


@dataclass(frozen=True)
class Neighbour:
    """One training image.

    Attributes
    ----------
    distance
        One minus the cosine of the angle between the features: 0 for the same image.
    picture
        A small PNG.
    """

    name: str
    label: str
    distance: float
    picture: bytes


class TrainingImages:
    """Features of the training images, computed a few at a time, and kept in memory.

    Features are what enters the output layer, as in `clearmargin.evaluation.neighbours`. Of very many images, or very
    long features, evenly spaced images stand for all.
    """

    def __init__(
        self, contender: TrainedContender, stored: list[str], pixels: Rows, names: list[str], labels: list[str]
    ) -> None:
        said = contender.description["preprocessing"]
        self._network, self._pixels = contender.network, pixels
        self._normalisation = tuple(said["mean"]), tuple(said["std"])
        self._precision = getattr(torch, contender.description["training"]["precision"])
        place = {name: row for row, name in enumerate(stored)}
        here = [(place[name], name, label) for name, label in zip(names, labels, strict=True) if name in place]
        classes = np.array([label for _, _, label in here], dtype=object)
        kept = evenly_spaced(classes, min(MOST_IMAGES, max(1, MOST_VALUES // self._width)))
        self._rows = np.array([here[number][0] for number in kept], dtype=np.int64)
        self._named = [(here[number][1], here[number][2]) for number in kept]
        self._features = np.empty((len(kept), self._width), dtype=np.float32)
        self.done = 0

    @property
    def total(self) -> int:
        """How many images there are to compare with."""
        return len(self._rows)

    @cached_property
    def _width(self) -> int:
        return len(self._features_of(self._pixels.read(np.zeros(1, np.int64)))[0])

    def add_more(self) -> bool:
        """Compute the features of a few more; False when all are there."""
        rows = self._rows[self.done : self.done + _AT_A_TIME]
        if len(rows):
            self._features[self.done : self.done + len(rows)] = self._features_of(self._pixels.read(rows))
            self.done += len(rows)
        return self.done < self.total

    def nearest(self, image: np.ndarray) -> list[Neighbour]:
        """The most similar of those that are there by now, the nearest first.

        Parameters
        ----------
        image
            Prepared, uint8 of shape (size_px, size_px, channels).
        """
        alike = self._features[: self.done] @ self._features_of(image[None])[0]
        best = np.argsort(-alike, kind="stable")[:SHOWN]
        pictures = self._pixels.read(self._rows[best])
        found = []
        for row, pixels in zip(best, pictures, strict=True):
            name, label = self._named[row]
            found.append(Neighbour(name, label, max(0.0, 1.0 - float(alike[row])), picture_png(pixels, PICTURE_PX)))
        return found

    def _features_of(self, images: np.ndarray) -> np.ndarray:
        """Float32 (images, features), of length one."""
        feed = ImageFeed(ArrayRows(images), *self._normalisation)
        features: OutputInputs
        with output_inputs(self._network) as features:
            return features(feed, np.arange(len(images)), self._precision).numpy()


def open_training_images(run: Run, contender: TrainedContender) -> TrainingImages | None:
    """The training images of a run; None when their pixels are not in this machine's cache any more.

    The pixels stay out of the run folder, which is handed around.
    """
    try:
        key, how = read_json(run.folder / SUMMARY)["pixels_key"], contender.preprocessing
        stored = stored_pixels(key, how) if isinstance(how, Preprocessing) else None
        split = read_table(run.folder / "split.csv", text=("name", "label", "group", "part"))
        training = split[split["part"] == "train"]
        names, labels = training["name"].tolist(), training["label"].tolist()
    except (ClearmarginError, OSError, ValueError, LookupError, TypeError):
        return None
    if stored is None or not set(names) & set(stored[0]):
        return None
    return TrainingImages(contender, *stored, names, labels)
