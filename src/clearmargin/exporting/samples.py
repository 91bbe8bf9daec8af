"""Samples of a run to compare and calibrate with: of its training and validation part, never of the test part."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from clearmargin.columns import table_inputs
from clearmargin.errors import DamagedStoreError, ImageError, RunFolderError, UsageError
from clearmargin.evaluation.neighbours import evenly_spaced
from clearmargin.pixels import open_pixels, stored_pixels
from clearmargin.preparation import named, open_data, own_column
from clearmargin.records import Columns, Part, Preprocessing, Progress, Rows, Source, Split
from clearmargin.runs import Run, read_json
from clearmargin.sources import Table
from clearmargin.sources.image_files import ImageFiles
from clearmargin.split import read_split
from clearmargin.trained import TrainedContender

COMPARED = 32  # samples; ImageNet-sized networks answer so many in seconds
ORIGINALS = 8  # files, where the graph frames pictures itself
SEED = 0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """Prepared samples, and where they came from.

    Attributes
    ----------
    values
        Images: uint8 (samples, size_px, size_px, channels). Rows of a table: float64 (samples, columns).
    origin
        In words, for a reader.
    real
        False for made-up ones.
    originals
        Some of the images as their files hold them, or as arrays; only where pictures are to be framed.
    """

    values: np.ndarray
    origin: str
    real: bool
    originals: Sequence[bytes | np.ndarray] = ()


@dataclass(frozen=True)
class RunData:
    """The data of a run, the same as it was trained with, in the preprocessing of one contender.

    Attributes
    ----------
    rows
        Of everything that could be read.
    places
        Row of each sample by its name.
    split
        Who went where.
    source
        Where the images come from, when it is at hand.
    """

    rows: Rows
    places: dict[str, int]
    split: Split
    source: Source | None = None

    def of(self, part: Part) -> np.ndarray:
        """Places in the split, int64 (samples,), of those of a part that could be read."""
        listed = self.split.rows(part)
        return listed[[self.split.names[row] in self.places for row in listed]]

    def read(self, listed: np.ndarray) -> np.ndarray:
        """Samples by their places in the split, in that order."""
        return self.rows.read(np.array([self.places[self.split.names[row]] for row in listed], dtype=np.int64))

    def originals(self, count: int) -> list[bytes | np.ndarray]:
        """Up to so many images of the training and validation part as they are stored; none without a source."""
        if self.source is None:
            return []
        learned = {self.split.names[row] for row in (*self.of("train"), *self.of("validation"))}
        source, chosen = self.source, [sample for sample in self.source.samples if sample.name in learned]
        if isinstance(source, ImageFiles):  # which reads those alone
            spread = evenly_spaced(np.zeros(len(chosen), dtype=np.int64), count)
            source = replace(source, samples=tuple(chosen[place] for place in spread))
        found: list[bytes | np.ndarray] = []
        for sample, content in zip(source.samples, source.read(), strict=False):
            if sample.name in learned and not isinstance(content, ImageError):
                found.append(content)
            if len(found) == count:
                break
        return found


def open_run_data(run: Run, contender: TrainedContender, data: str, progress: Progress) -> RunData:
    """Open the data that a run was trained with.

    Raises
    ------
    RunFolderError
        When they are other data: another SHA-256 than ``audit.json`` states.
    SourceError
        When they can't be used.
    """
    asked = run.recipe.data.model_copy(update={"source": named(data)})
    source = open_data(asked, own_column(run.recipe.split))
    if read_json(run.folder / "audit.json").get("data_sha256") != source.fingerprint():
        raise RunFolderError(
            f"{data} are not the data that the run in {run.folder} was trained with (another SHA-256 than in "
            "audit.json): give the same ones with --data."
        )
    how = contender.preprocessing
    split = read_split(run.folder)
    if isinstance(source, Table) or isinstance(how, Columns):
        if not (isinstance(source, Table) and isinstance(how, Columns) and source.columns == how.names):
            raise UsageError(f"'{contender.name}' does not take what {data} holds.")
        inputs = table_inputs(source)
    else:
        inputs = open_pixels(source, how, progress=lambda done, total: progress("Reading images", done, total, ""))
    places = {sample.name: row for row, sample in enumerate(inputs.samples)}
    return RunData(inputs.rows, places, split, None if isinstance(source, Table) else source)


def samples_to_compare(run: Run, contender: TrainedContender, data: RunData | None) -> Samples:
    """Up to `COMPARED` samples: of the data when given, else of the decoded images in the cache, else made up."""
    how = contender.preprocessing
    found = None
    if data is not None:
        found = _learned(data, how)
    elif isinstance(how, Preprocessing):
        found = _from_cache(run, how)
    if found is not None:
        return found
    if isinstance(how, Columns):
        return Samples(_made_rows(contender), f"{COMPARED} made-up rows, as the data are not at hand", False)
    return Samples(_made_images(how), f"{COMPARED} made-up images, as the data are not at hand", False)


def _learned(data: RunData, how: Preprocessing | Columns) -> Samples | None:
    """Samples of the training and validation part; None when it holds none that could be read."""
    learned = np.concatenate([data.of("train"), data.of("validation")])
    if not len(learned):
        return None
    chosen = learned[evenly_spaced(np.zeros(len(learned), dtype=np.int64), COMPARED)]
    what = "rows" if isinstance(how, Columns) else "images"
    return Samples(data.read(chosen), f"{len(chosen)} {what} of the run's training and validation part", True)


def _from_cache(run: Run, how: Preprocessing) -> Samples | None:
    """Decoded images of a run where this machine still has them, undamaged."""
    path = run.folder / "training_summary.json"
    said: Any = read_json(path) if path.is_file() else {}
    key = said.get("pixels_key") if isinstance(said, dict) else None
    found = stored_pixels(key, how) if isinstance(key, str) else None
    if found is None or how != run.recipe.data.preprocessing:
        return None
    names, rows = found
    data = RunData(rows, {name: row for row, name in enumerate(names)}, read_split(run.folder))
    try:
        return _learned(data, how)
    except DamagedStoreError as damage:
        _log.warning("%s Made-up images are compared in their place.", damage)
        return None


def _made_images(how: Preprocessing) -> np.ndarray:
    """Seeded noise at several scales, from coarse to fine."""
    random = np.random.default_rng(SEED)
    images = []
    for number in range(COMPARED):
        coarse = random.integers(0, 256, (2 + number, 2 + number, how.channels), dtype=np.uint8)
        squeezed = coarse[..., 0] if how.channels == 1 else coarse
        resized = np.asarray(Image.fromarray(squeezed).resize((how.size_px, how.size_px), Image.Resampling.BILINEAR))
        images.append(resized.reshape(how.size_px, how.size_px, how.channels))
    return np.stack(images)


def _made_rows(contender: TrainedContender) -> np.ndarray:
    """Seeded normal values with the mean and deviation of each column."""
    said = contender.description["preprocessing"]
    draws = np.random.default_rng(SEED).standard_normal((COMPARED, len(said["mean"])))
    return np.asarray(np.array(said["mean"]) + draws * np.array(said["std"]))
