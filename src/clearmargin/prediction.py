"""Predictions for files and folders of images, a few batches in memory at a time, and for tables."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.cores import available_cores
from clearmargin.decoding import prepared_pixels
from clearmargin.errors import ImageError, SourceError
from clearmargin.files import table_text
from clearmargin.image_listing import Listed, count_images, images, opened
from clearmargin.records import Columns, Preprocessing, Progress
from clearmargin.sources.cells import table_numbers
from clearmargin.sources.delimited import read_rows
from clearmargin.trained import BATCH, TrainedContender

SEPARATOR = " | "
MOST_FAILURES = 256  # in one portion
TOGETHER = 4 * BATCH  # images that are decoded before the network takes them
MOST_HELD_BYTES = 256 << 20  # of files that wait to be decoded, but for two a core; and of images that are decoded


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
        Reasons by place among the files, of those that could not be decoded.
    probabilities, distances
        Of the others, as `TrainedContender.judged` returns them.
    """

    files: tuple[str, ...]
    failures: dict[int, str]
    probabilities: np.ndarray
    distances: np.ndarray

    @property
    def predicted(self) -> list[str]:
        """The files that could be decoded."""
        return [path for place, path in enumerate(self.files) if place not in self.failures]


def predict_files(
    contender: TrainedContender, paths: Sequence[Path], progress: Progress = lambda *_: None
) -> FilePredictions:
    """Predict images and all images in folders and archives, in the order of `images`; or the rows of tables.

    Raises
    ------
    SourceError
        When a path does not exist, there is no image in what was given, or it changed while it was read; or a table
        lacks what the model needs.
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
    require_all(counted.images, done, "Leave them alone and predict them again.")
    probabilities, distances = (
        np.concatenate([getattr(answers, key) for answers in said]) for key in ("probabilities", "distances")
    )
    failures = {answers.files[place]: reason for answers in said for place, reason in answers.failures.items()}
    names = [path for answers in said for path in answers.predicted]
    return FilePredictions(
        contender.name,
        contender.table(names, probabilities, distances),
        failures,
        contender.classes,
        counted.without_image,
    )


def require_all(counted: int, there: int, remedy: str) -> None:
    """Refuse to be done with other images than were counted.

    Raises
    ------
    SourceError
        When there were more or fewer.
    """
    if there != counted:
        raise SourceError(
            f"{counted:,} images were counted, and then {there:,} were there: they changed meanwhile, or could not all "
            f"be read at the moment. {remedy}"
        )


def answer_files(contender: TrainedContender, how: Preprocessing, images: Iterable[Listed]) -> Generator[Answers]:
    """Answers for images, a batch at a time; the files of the next in folders are read meanwhile.

    Memory does not grow with the number of images.
    """
    from clearmargin.training.memory import reuse_freed_memory

    reuse_freed_memory()
    names: list[str] = []
    failures: dict[int, str] = {}
    waiting: list[np.ndarray] = []
    with closing(_decoded_together(images, how)) as decoded:
        for name, pixels in decoded:
            if isinstance(pixels, ImageError):
                failures[len(names)] = str(pixels)
            else:
                waiting.append(pixels)
            names.append(name)
            if len(waiting) == BATCH or len(failures) == MOST_FAILURES:
                yield Answers(tuple(names), failures, *contender.judged(waiting))
                names, failures, waiting = [], {}, []
    if names:
        yield Answers(tuple(names), failures, *contender.judged(waiting))


def _decoded_together(images: Iterable[Listed], how: Preprocessing) -> Generator[tuple[str, np.ndarray | ImageError]]:
    """Decode a few batches at a time on all cores, in the order given, and the network has all of them afterwards.

    Side by side both take longer: threads of one wait for those of the other. Files in folders are read while the
    network has the batches before.
    """
    left, most = iter(images), max(BATCH, min(TOGETHER, MOST_HELD_BYTES // math.prod(how.shape)))
    pool = ThreadPoolExecutor(available_cores())
    try:
        ahead = _read_ahead(pool, left, most)
        while ahead:
            names, reads = [name for name, _ in ahead], (read for _, read in ahead)
            del ahead  # each file goes when it has been decoded
            pixels = list(pool.map(partial(_decoded, how=how), reads))
            ahead = _read_ahead(pool, left, most)
            yield from zip(names, pixels, strict=True)
            del pixels  # before others are decoded
    finally:
        pool.shutdown(cancel_futures=True)


Read = Callable[[], bytes | ImageError]


def _read_ahead(pool: Executor, images: Iterator[Listed], most: int) -> list[tuple[str, Read]]:
    """Names of the next images, with what gives their files: read meanwhile, or where too much is held when asked."""
    taken: list[tuple[str, Read]] = []
    lock, held, enough = threading.Lock(), 0, MOST_HELD_BYTES

    def hold(size: int) -> None:
        nonlocal held
        with lock:
            held += size

    def read(image: Listed) -> bytes | ImageError | None:
        with lock:
            if held > enough:
                return None
        try:
            content = _read(image)
        except MemoryError:  # when it is asked for, others are gone
            return None
        if not isinstance(content, ImageError):
            hold(len(content))
        return content

    def given(image: Listed, reading: Future[bytes | ImageError | None]) -> bytes | ImageError:
        content = reading.result()
        return _read(image) if content is None else content

    in_memory = 0
    for image in islice(images, most):
        in_memory += image.held_bytes
        hold(image.held_bytes)
        later = partial(_read, image) if image.held_bytes else partial(given, image, pool.submit(read, image))
        taken.append((image.name, later))
        if in_memory > enough:
            break
    return taken


def _read(image: Listed) -> bytes | ImageError:
    try:
        return image.read()
    except ImageError as error:
        reason = str(error)
    return ImageError(reason)  # the one that was raised holds on to frames, and they to what was read


def _decoded(read: Read, how: Preprocessing) -> np.ndarray | ImageError:
    try:
        content = read()
    except MemoryError:
        return ImageError("there was too little memory to read it")
    if isinstance(content, ImageError):
        return content
    try:
        return prepared_pixels(content, how)
    except ImageError as error:
        reason = str(error)
    return ImageError(reason)


def _predict_tables(contender: TrainedContender, how: Columns, paths: Sequence[Path]) -> pd.DataFrame:
    frames = []
    for path in paths:
        header, rows = read_rows(path, frozenset(how.names))
        values = table_numbers(header, rows, how.names, path)
        named = [f"row {number}" if len(paths) == 1 else f"{path}, row {number}" for number in range(1, len(rows) + 1)]
        frames.append(pd.DataFrame({"row": named, "predicted": contender.estimates(values)}))
    return pd.concat(frames, ignore_index=True)
