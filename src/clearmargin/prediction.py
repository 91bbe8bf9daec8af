"""Predictions for files and folders of images, a few batches in memory at a time, and for tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.cores import available_cores
from clearmargin.decoding import prepared_pixels
from clearmargin.errors import ImageError
from clearmargin.files import table_text
from clearmargin.image_listing import Listed, count_images, images, opened
from clearmargin.records import Columns, Preprocessing, Progress
from clearmargin.sources.cells import table_numbers
from clearmargin.sources.delimited import read_rows
from clearmargin.trained import BATCH, TrainedContender

SEPARATOR = " | "
MOST_FAILURES = 256  # in one portion
MOST_HELD_BYTES = 256 << 20  # of files that have been read and wait to be decoded


@dataclass(frozen=True)
class FilePredictions:
    """What a contender says about files.

    Attributes
    ----------
    contender
        Its name.
    table
        As `TrainedContender.predict` returns it; ``image`` is the path as given, ``row`` the number in its table.
    failures
        Reasons by path, of files that could not be decoded.
    classes
        Whose probabilities the table holds, from its third column on.
    without_image
        DICOM files in the folders that hold no image and were passed over.
    """

    contender: str
    table: pd.DataFrame
    failures: dict[str, str]
    classes: tuple[str, ...] = ()
    without_image: int = 0

    @property
    def unlike(self) -> int:
        """How many images look unlike anything the model was trained on."""
        return int(self._decided("unlike").sum())

    def _decided(self, heading: str) -> pd.Series:
        """A column behind those of the classes, any of which may have the same name; False where there is none."""
        behind = self.table.iloc[:, 2 + len(self.classes) :]
        return behind[heading] if heading in behind.columns else pd.Series(False, index=self.table.index)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        first, end = self.table.columns[0], 2 + len(self.classes)
        headings = self.table.columns[end:]
        listed = []
        for row in self.table.itertuples(index=False, name=None):
            said = {"probabilities": dict(zip(self.classes, row[2:end], strict=True))} if self.classes else {}
            decided = dict(zip(headings, row[end:], strict=True))
            listed.append({first: row[0], "predicted": row[1], **said, **decided})
        return {"contender": self.contender, "predictions": listed, "failures": self.failures}

    def as_csv(self) -> str:
        """The table as CSV in which nothing can start a formula; classes of a set are parted by `SEPARATOR`."""
        columns = [
            column.map(lambda cell: SEPARATOR.join(cell) if isinstance(cell, tuple) else cell)
            for _, column in self.table.items()
        ]
        return table_text(pd.concat(columns, axis=1) if columns else self.table)


@dataclass(frozen=True)
class Answers:
    """What a contender says about some files, in the order given.

    Attributes
    ----------
    files
        Their paths as given.
    failures
        Reasons by path, of those that could not be decoded.
    probabilities, distances
        Of the others, as `TrainedContender.judged` returns them.
    """

    files: tuple[str, ...]
    failures: dict[str, str]
    probabilities: np.ndarray
    distances: np.ndarray


def predict_files(
    contender: TrainedContender, paths: Sequence[Path], progress: Progress = lambda *_: None
) -> FilePredictions:
    """Predict images and all images in folders and archives, in the order of `images`; or the rows of tables.

    Raises
    ------
    SourceError
        When a path does not exist, or there is no image in what was given; or a table lacks what the model needs.
    """
    how = contender.preprocessing
    if isinstance(how, Columns):
        return FilePredictions(contender.name, _predict_tables(contender, how, paths), {})
    places = opened(paths)
    counted, done = count_images(places), 0
    said = []
    for answers in answer_files(contender, how, images(places)):
        said.append(answers)
        done += len(answers.files)
        progress("Predicting", done, counted.images, "")
    probabilities, distances = (
        np.concatenate([getattr(answers, key) for answers in said]) for key in ("probabilities", "distances")
    )
    failures = {path: reason for answers in said for path, reason in answers.failures.items()}
    names = [path for answers in said for path in answers.files if path not in answers.failures]
    return FilePredictions(
        contender.name,
        contender.table(names, probabilities, distances),
        failures,
        contender.classes,
        counted.without_image,
    )


def answer_files(contender: TrainedContender, how: Preprocessing, images: Iterable[Listed]) -> Generator[Answers]:
    """Answers for images, a batch at a time; what follows is decoded meanwhile.

    Memory does not grow with the number of images.
    """
    from clearmargin.training.memory import reuse_freed_memory

    reuse_freed_memory()
    names: list[str] = []
    failures: dict[str, str] = {}
    waiting: list[np.ndarray] = []
    with closing(_decoded_ahead(images, how)) as decoded:
        for name, pixels in decoded:
            names.append(name)
            if isinstance(pixels, ImageError):
                failures[name] = str(pixels)
            else:
                waiting.append(pixels)
            if len(waiting) == BATCH or len(failures) == MOST_FAILURES:
                yield Answers(tuple(names), failures, *contender.judged(waiting))
                names, failures, waiting = [], {}, []
    if names:
        yield Answers(tuple(names), failures, *contender.judged(waiting))


def _decoded_ahead(images: Iterable[Listed], how: Preprocessing) -> Generator[tuple[str, np.ndarray | ImageError]]:
    """Decode in threads while the network computes: two batches ahead, fewer of large ones, in the order given."""
    pending: deque[tuple[Listed, Future[np.ndarray | ImageError]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(available_cores())
    try:
        for image in images:
            pending.append((image, pool.submit(_decoded, image.read, how)))
            held += image.held_bytes
            while len(pending) > 2 * BATCH or (held > MOST_HELD_BYTES and pending):
                first, decoded = pending.popleft()
                held -= first.held_bytes
                yield first.name, decoded.result()
        while pending:
            first, decoded = pending.popleft()
            yield first.name, decoded.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decoded(read: Callable[[], bytes], how: Preprocessing) -> np.ndarray | ImageError:
    try:
        return prepared_pixels(read(), how)
    except ImageError as error:
        reason = str(error)
    return ImageError(reason)  # the one that was raised holds on to the whole file


def _predict_tables(contender: TrainedContender, how: Columns, paths: Sequence[Path]) -> pd.DataFrame:
    frames = []
    for path in paths:
        header, rows = read_rows(path, frozenset(how.names))
        values = table_numbers(header, rows, how.names, path)
        named = [f"row {number}" if len(paths) == 1 else f"{path}, row {number}" for number in range(1, len(rows) + 1)]
        frames.append(pd.DataFrame({"row": named, "predicted": contender.estimates(values)}))
    return pd.concat(frames, ignore_index=True)
