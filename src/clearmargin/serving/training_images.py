"""The training images that the network finds most like a new one, where this machine still has their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clearmargin.errors import ClearmarginError, DamagedStoreError
from clearmargin.evaluation.neighbours import AFFORDABLE, OutputInputs, evenly_spaced, multiply_adds, output_inputs
from clearmargin.external.training_data import SUMMARY
from clearmargin.files import read_table
from clearmargin.inside.pictures import picture_png
from clearmargin.mapped_rows import ArrayRows
from clearmargin.pixels import stored_pixels
from clearmargin.records import Preprocessing, Rows
from clearmargin.runs import Run, read_json
from clearmargin.trained import TrainedContender
from clearmargin.training.feeds import ImageFeed
from clearmargin.training.loop import computing_in

SHOWN = 3
MOST_IMAGES = 5000
MOST_VALUES = 25_000_000  # of all features: 100 MB
TIMES_AFFORDABLE = 4  # of what a report spends on it: a server has the time, half a minute on two cores
PICTURE_PX = 112


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


@dataclass(frozen=True)
class Compared:
    """How many training images new ones are compared with by now, of how many."""

    done: int
    total: int


class TrainingImages:
    """Features of the training images, computed one at a time, and kept in memory.

    Features are what enters the output layer, as in `clearmargin.evaluation.neighbours`. Of very many images, very
    long features, or a large network, evenly spaced images stand for all.
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
        blank = self._feed(np.zeros((1, *pixels.shape[1:]), pixels.dtype))
        width = len(self._features_of(blank)[0])
        affordable = TIMES_AFFORDABLE * AFFORDABLE[self._precision] / self._work(blank)
        most = min(MOST_IMAGES, MOST_VALUES // width, int(affordable))
        kept = evenly_spaced(classes, max(1, most))
        self._rows = np.array([here[number][0] for number in kept], dtype=np.int64)
        self._named = [(here[number][1], here[number][2]) for number in kept]
        self._features = np.empty((len(kept), width), dtype=np.float32)
        self._done = 0

    @property
    def compared(self) -> Compared:
        """How many there are by now."""
        return Compared(self._done, len(self._rows))

    def add_one(self) -> bool:
        """Compute the features of one more; False when all are there. One whose pixels are damaged is left out."""
        if self._done < len(self._rows):
            try:
                pixels = self._pixels.read(self._rows[self._done : self._done + 1])
            except DamagedStoreError:
                self._rows = np.delete(self._rows, self._done)
                del self._named[self._done]
            else:
                self._features[self._done] = self._features_of(self._feed(pixels))[0]
                self._done += 1
        return self._done < len(self._rows)

    def nearest(self, features: np.ndarray) -> list[Neighbour]:
        """The most similar of those that are there by now, the nearest first.

        Parameters
        ----------
        features
            Of a new image, float32 (features,), of length one.
        """
        alike = self._features[: self._done] @ features
        best = np.argsort(-alike, kind="stable")[:SHOWN]
        pictures = self._pixels.read(self._rows[best])
        found = []
        for row, pixels in zip(best, pictures, strict=True):
            name, label = self._named[row]
            found.append(Neighbour(name, label, max(0.0, 1.0 - float(alike[row])), picture_png(pixels, PICTURE_PX)))
        return found

    def _feed(self, images: np.ndarray) -> ImageFeed:
        return ImageFeed(ArrayRows(images), *self._normalisation)

    def _work(self, one: ImageFeed) -> int:
        with torch.inference_mode(), computing_in(self._precision):
            return max(1, multiply_adds(self._network, one))

    def _features_of(self, feed: ImageFeed) -> np.ndarray:
        """Float32 (images, features), of length one."""
        features: OutputInputs
        with output_inputs(self._network) as features:
            return features(feed, np.arange(len(feed)), self._precision).numpy()


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
