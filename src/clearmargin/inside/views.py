"""What is shown of one network: which images, what they look like inside it, and the files that hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clearmargin.cache import cache_folder
from clearmargin.evaluation.explanations import feature_maps, first_filters, grad_cam
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.evaluation.misclassified import confident_mistakes, truth_index, typical_successes
from clearmargin.evaluation.neighbours import nearest_training_images
from clearmargin.files import write_bytes, write_json
from clearmargin.inside.matrix import image_matrix
from clearmargin.inside.pictures import MOST_FILTERS, filters_png, maps_png, overlay_jpeg, picture_png
from clearmargin.models.inputs import to_input
from clearmargin.recipe import Training
from clearmargin.records import Inputs, Predictions, Split
from clearmargin.report.mistakes import most_shown
from clearmargin.report.thumbnails import save_thumbnails
from clearmargin.trained import TrainedContender
from clearmargin.training.feeds import Feeds

LOOKS = 12  # of right answers, and as many of wrong ones
LOOKS_IN_ALL = 48  # of each, over all contenders


@dataclass(frozen=True)
class Shown:
    """What is common to all networks of a study.

    Attributes
    ----------
    sample
        Row of the image that is followed through the layers.
    sample_right
        True when the contender chosen on validation gets it right; false when it gets no test image right.
    looks, neighbours
        At most so many images of each contender.
    """

    pixels: Inputs
    split: Split
    sample: int
    sample_right: bool
    looks: int
    neighbours: int

    @classmethod
    def of(cls, pixels: Inputs, split: Split, best: Predictions, contenders: int) -> Shown:
        """Follow the first test image, by name, that the best contender gets right (the first when none is)."""
        right = predicted_index(best.probabilities) == truth_index(best)
        names = sorted(best.names[right] if right.any() else best.names)
        sample = int(np.flatnonzero(split.names == names[0])[0])
        looks = max(2, min(LOOKS, LOOKS_IN_ALL // contenders))
        return cls(pixels, split, sample, bool(right.any()), looks, most_shown(contenders))

    def read(self, rows: np.ndarray | list[int]) -> np.ndarray:
        """Images, uint8 (rows, height, width, channels)."""
        return self.pixels.rows.read(np.asarray(rows, dtype=np.int64))


@dataclass(frozen=True)
class ContenderViews:
    """A look inside one contender."""

    contender: TrainedContender
    settings: Training
    predictions: Predictions
    shown: Shown

    def write(self, path: Path) -> None:
        """Write the pictures beside ``path``, and ``path`` last: where it is, everything is."""
        folder = path.parent
        content = {
            "format": 1,
            "sample": self._sample(folder),
            "filters": self._filters(folder),
            "maps": self._maps(folder),
            "grad_cam": self._looks(folder),
            "nearest": self._nearest(folder),
        }
        write_json(path, content)

    @cached_property
    def _rows(self) -> np.ndarray:
        """Rows of the pixels (int64), in the order of the predictions."""
        place = {name: row for row, name in enumerate(self.shown.split.names)}
        return np.array([place[name] for name in self.predictions.names], dtype=np.int64)

    @cached_property
    def _truth(self) -> np.ndarray:
        return truth_index(self.predictions)

    @cached_property
    def _said(self) -> np.ndarray:
        return predicted_index(self.predictions.probabilities)

    @cached_property
    def _normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        said = self.contender.description["preprocessing"]
        return tuple(said["mean"]), tuple(said["std"])

    def _inputs(self, pixels: np.ndarray) -> torch.Tensor:
        return to_input(pixels, *self._normalisation)

    def _answer(self, row: int) -> dict[str, Any]:
        """What the contender said of one test image."""
        of = self.predictions.probabilities[row]
        return {
            "name": self.predictions.names[row],
            "label": self.predictions.labels[row],
            "predicted": self.predictions.classes[self._said[row]],
            "probability": float(of[self._said[row]]),
            "true_probability": float(of[self._truth[row]]),
        }

    def _sample(self, folder: Path) -> dict[str, Any]:
        pixels = self.shown.read([self.shown.sample])[0]
        write_bytes(folder / "sample.png", picture_png(pixels))
        row = int(np.flatnonzero(self._rows == self.shown.sample)[0])
        size = list(pixels.shape[:2])
        said = {"chosen_right": self.shown.sample_right, "picture": "sample.png", "size": size}
        return {**self._answer(row), **said, "matrix": image_matrix(pixels)}

    def _filters(self, folder: Path) -> dict[str, Any] | None:
        found = first_filters(self.contender.network)
        if found is None:
            return None
        write_bytes(folder / "filters.png", filters_png(found.weights))
        count, channels = found.weights.shape[:2]
        shown = min(count, MOST_FILTERS)
        said = {"layer": found.layer, "filters": count, "shown": shown, "channels": channels}
        return {"picture": "filters.png", **said, "learned": found.learned}

    def _maps(self, folder: Path) -> list[dict[str, Any]]:
        image = self._inputs(self.shown.read([self.shown.sample]))[0]
        stages = []
        for number, found in enumerate(feature_maps(self.contender.network, image), start=1):
            picture = f"maps-{number}.png"
            write_bytes(folder / picture, maps_png(found.maps))
            said = {"layer": found.layer, "shape": list(found.shape), "channels": list(found.channels)}
            stages.append({"picture": picture, **said})
        return stages

    def _looks(self, folder: Path) -> dict[str, Any] | None:
        """Grad-CAM for the class that was said, and where that was wrong for the true class too."""
        most = self.shown.looks
        wrong = confident_mistakes(self.predictions)[:most]
        rows = np.concatenate([typical_successes(self.predictions, most), wrong])
        pixels = self.shown.read(self._rows[rows])
        asked = np.concatenate([pixels, pixels[len(rows) - len(wrong) :]])
        classes = np.concatenate([self._said[rows], self._truth[wrong]])
        found = grad_cam(self.contender.network, self._inputs(asked), classes)
        if found is None:
            return None
        looks = []
        for number, row in enumerate(rows):
            write_bytes(folder / f"look-{number + 1}.png", picture_png(pixels[number]))
            look = {**self._answer(row), "picture": f"look-{number + 1}.png"}
            look["said"] = _overlay(folder / f"look-{number + 1}-said.jpg", pixels[number], found.maps[number])
            if number >= len(rows) - len(wrong):
                map_of_truth = found.maps[number + len(wrong)]
                look["true"] = _overlay(folder / f"look-{number + 1}-true.jpg", pixels[number], map_of_truth)
            looks.append(look)
        return {"layer": found.layer, "shape": list(found.maps.shape[1:]), "looks": looks}

    def _nearest(self, folder: Path) -> dict[str, Any]:
        """For each shown mistake the training image of its true class that the network finds most alike."""
        split, training = self.shown.split, self.shown.split.rows("train")
        mistakes = confident_mistakes(self.predictions)[: self.shown.neighbours]
        column = {name: place for place, name in enumerate(self.predictions.classes)}
        classes = np.array([column[label] for label in split.labels[training]], dtype=np.int64)
        mistakes = mistakes[np.isin(self._truth[mistakes], classes)]  # a class may have no training image
        kept = np.isin(classes, self._truth[mistakes])
        training, classes = training[kept], classes[kept]
        said = {"distance": "cosine", "candidates": len(training)}
        if not len(mistakes):
            return {**said, "compared": 0, "features": 0, "pairs": []}
        precision = getattr(torch, self.contender.description["training"]["precision"])
        feeds = Feeds(
            self.contender.network, self.settings, self.shown.pixels, *self._normalisation,
            cache=cache_folder(), precision=precision,
        )  # fmt: skip
        found = nearest_training_images(
            feeds, self._rows[mistakes], self._truth[mistakes], training, classes, precision
        )
        pictures = {split.names[row]: row for row in found.rows}
        save_thumbnails(folder / "nearest", list(pictures), lambda names: self._read_by_name(pictures, names))
        pairs = [
            {"name": name, "nearest": split.names[row], "distance": round(float(distance), 6)}
            for name, row, distance in zip(self.predictions.names[mistakes], found.rows, found.distances, strict=False)
        ]
        return {**said, "compared": found.compared, "features": found.features, "pairs": pairs}

    def _read_by_name(self, rows: Mapping[str, int], names: Sequence[str]) -> dict[str, np.ndarray]:
        return dict(zip(names, self.shown.read([rows[name] for name in names]), strict=True))


def _overlay(path: Path, pixels: np.ndarray, heat: np.ndarray) -> str | None:
    """Write an overlay and return its name; None when nothing in the map spoke for the class."""
    if not heat.max() > 0:
        return None
    write_bytes(path, overlay_jpeg(pixels, heat))
    return path.name
