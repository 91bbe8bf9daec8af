"""The plain files of an external test, from which every figure of it can be computed anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from clearmargin.evaluation.gate import write_distances
from clearmargin.evaluation.predictions import write_predictions
from clearmargin.external.mapping import ClassMapping
from clearmargin.external.overlap import Overlap
from clearmargin.files import file_sha256, write_table
from clearmargin.recipe import slug
from clearmargin.records import Predictions

RESTS_ON = ("images.csv", "contenders/*/*.csv")


@dataclass(frozen=True)
class Judged:
    """What one contender says of the new images.

    Attributes
    ----------
    classes
        Its own, in the order of the probabilities.
    probabilities
        float64 of shape (images, classes).
    distances
        From the training part, float64 of shape (images,); NaN of a contender without a gate.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    distances: np.ndarray

    def some(self, rows: np.ndarray) -> Judged:
        """The same of some images."""
        return Judged(self.classes, self.probabilities[rows], self.distances[rows])


def write_evidence(
    folder: Path,
    mapping: ClassMapping,
    said: Mapping[str, Predictions],
    own: Mapping[str, Judged],
    hashes: np.ndarray,
    overlap: Overlap,
) -> None:
    """Write what the figures of an external test are computed from: of all images, those left out too.

    ``images.csv``: ``name``, ``group`` (as the data state it), ``pixel_sha256`` and ``copy`` (as `Overlap.kinds`) of
    each image. Of each contender ``predictions.csv``, in the classes of the test; ``own_classes.csv`` where these are
    sums of its own; and ``gate.csv`` of one with a gate.
    """
    names = next(iter(said.values())).names
    stated = np.array([name or "" for name in overlap.stated], dtype=object)
    listed = {"name": names, "group": stated, "pixel_sha256": hashes, "copy": overlap.kinds}
    write_table(folder / "images.csv", pd.DataFrame(listed))
    for name, judged in own.items():
        place = folder / "contenders" / slug(name)
        write_predictions(place / "predictions.csv", {"test": said[name]})
        if mapping.merges:
            values = pd.DataFrame(judged.probabilities, columns=[f"P({each})" for each in judged.classes])
            values.insert(0, "name", names)
            write_table(place / "own_classes.csv", values)
        if not np.isnan(judged.distances).any():
            write_distances(place / "gate.csv", {"test": judged.distances}, {"test": names})


def rests_on(folder: Path) -> dict[str, str]:
    """SHA-256 of each of these files, by its name within the folder."""
    paths = sorted({path for pattern in RESTS_ON for path in folder.glob(pattern)})
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
