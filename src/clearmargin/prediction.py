"""Predictions for files and folders of images, a few batches in memory at a time, and for tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.cores import available_cores
from clearmargin.decoding import prepared_pixels
from clearmargin.dicom import frame_file, open_dicom
from clearmargin.errors import ImageError, SourceError
from clearmargin.files import table_text
from clearmargin.records import Columns, Preprocessing
from clearmargin.sources.cells import table_numbers
from clearmargin.sources.delimited import read_rows
from clearmargin.sources.dicom_directory import listed_or_itself
from clearmargin.sources.dicom_files import count_frames, is_dicom_image
from clearmargin.sources.names import IMAGE_EXTENSIONS
from clearmargin.trained import BATCH, TrainedContender, read_image_file

SEPARATOR = " | "


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
    """

    contender: str
    table: pd.DataFrame
    failures: dict[str, str]
    classes: tuple[str, ...] = ()

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


def predict_files(contender: TrainedContender, paths: Sequence[Path]) -> FilePredictions:
    """Predict images and all images in folders, at any depth, in the order of their names; or the rows of tables.

    Raises
    ------
    SourceError
        When a path does not exist, or there is no image in what was given; or a table lacks what the model needs.
    """
    how = contender.preprocessing
    if isinstance(how, Columns):
        return FilePredictions(contender.name, _predict_tables(contender, how, paths), {})
    names: list[str] = []
    failures: dict[str, str] = {}
    judged: list[tuple[np.ndarray, np.ndarray]] = []
    waiting: list[np.ndarray] = []
    with closing(_decoded_ahead(_contents(image_files(paths)), how)) as decoded:
        for name, pixels in decoded:
            if isinstance(pixels, ImageError):
                failures[name] = str(pixels)
                continue
            waiting.append(pixels)
            names.append(name)
            if len(waiting) == BATCH:
                judged.append(contender.judged(waiting))
                waiting = []
    judged.append(contender.judged(waiting))
    probabilities, distances = (np.concatenate(column) for column in zip(*judged, strict=True))
    return FilePredictions(
        contender.name, contender.table(names, probabilities, distances), failures, contender.classes
    )


def _contents(files: Sequence[Path]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """What each image is called, and how to read it; the frames of a DICOM file one by one."""
    for path in files:
        frames = count_frames(path) if path.suffix.lower() not in IMAGE_EXTENSIONS else 1
        if frames <= 1:
            yield str(path), partial(read_image_file, path)
            continue
        file = open_dicom(read_image_file(path))
        for number in range(frames):
            yield f"{path}#{number + 1}", partial(frame_file, file, number)


def _decoded_ahead(
    contents: Iterable[tuple[str, Callable[[], bytes]]], how: Preprocessing
) -> Generator[tuple[str, np.ndarray | ImageError]]:
    """Decode in threads while the network computes: two batches ahead, in the order given."""
    pending: deque[tuple[str, Future[np.ndarray | ImageError]]] = deque()
    pool = ThreadPoolExecutor(available_cores())
    try:
        for name, read in contents:
            pending.append((name, pool.submit(_decoded, read, how)))
            if len(pending) > 2 * BATCH:
                first, decoded = pending.popleft()
                yield first, decoded.result()
        while pending:
            first, decoded = pending.popleft()
            yield first, decoded.result()
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


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files among the paths, the images below the folders among them, and those that a DICOMDIR lists.

    Raises
    ------
    SourceError
        When a path does not exist, or there is no image at all.
    MissingExtraError
        When there are DICOM files, and the libraries to read them are not there.
    """
    found = [file for path in paths for file in _below(path)]
    if not found:
        raise SourceError(
            f"There are no images in {', '.join(map(str, paths))}: expected DICOM files, or files that end in "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    return found


def _below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        inside = sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.name.startswith("."))
        yield from (entry for entry in inside if entry.suffix.lower() in IMAGE_EXTENSIONS or is_dicom_image(entry))
    elif path.is_file():
        yield from listed_or_itself(path)
    elif path.exists():
        raise SourceError(f"{path} is neither a file nor a folder.")
    else:
        raise SourceError(f"There is no file or folder {path}.")
