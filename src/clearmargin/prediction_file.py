"""Predictions of any number of images, appended to a CSV file as they come; what was stopped goes on where it was.

Each image has its row, in order, those that can't be read too. Beside ``predictions.csv`` lies
``predictions.csv.json``: which model says it, whether all is done, and a summary.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from clearmargin.errors import ClearmarginError, DiskError, RunFolderError, UsageError
from clearmargin.evaluation.decision import Decision
from clearmargin.files import rows_text, table_text, write_json
from clearmargin.image_archive import ImageArchive
from clearmargin.image_listing import Listed, count_images, image_names, images, opened
from clearmargin.locks import FileLock, Timeout, let_go
from clearmargin.prediction import SEPARATOR, Answers, answer_files, require_all
from clearmargin.records import Columns, Preprocessing, Progress
from clearmargin.trained import TrainedContender

FAILED = "failed"  # the last column: why an image could not be read
SECONDS_BETWEEN_SYNCS = 1.0
LONGEST_ROW = 10_000_000
_ENCODING = ("utf-8", "surrogatepass")


@dataclass
class Summary:
    """What came out, in numbers.

    Attributes
    ----------
    images
        Files that were given.
    predicted
        Images by the class they are said to be of.
    abstained, unlike, failed
        Too unsure to count; unlike the training images; could not be read.
    without_image
        DICOM files without an image, such as reports, that were passed over and have no row.
    """

    images: int = 0
    predicted: dict[str, int] = field(default_factory=dict)
    abstained: int = 0
    unlike: int = 0
    failed: int = 0
    without_image: int = 0

    def add(self, row: Sequence[object], headings: Sequence[str]) -> None:
        """Count one row of the file; of columns with one name the last counts, which are ours."""
        told = dict(zip(headings, row, strict=True))
        self.images += 1
        if told[FAILED]:
            self.failed += 1
            return
        named = str(row[1])
        self.predicted[named] = self.predicted.get(named, 0) + 1
        self.abstained += told.get("abstain") in (True, "True")
        self.unlike += told.get("unlike") in (True, "True")

    def sentences(self) -> Iterator[str]:
        """The same in words."""
        counts = ", ".join(f"{name}: {count:,}" for name, count in sorted(self.predicted.items()))
        yield f"{self.images:,} images. {counts or 'None could be read'}."
        yield (
            f"Too unsure to count: {self.abstained:,}. Unlike the training images: {self.unlike:,}. "
            f"Failed: {self.failed:,}."
        )
        if self.without_image:
            yield f"Passed over, DICOM without an image, such as reports: {self.without_image:,}."


def predict_into(
    contender: TrainedContender, paths: Sequence[Path], out: Path, *, resume: bool, progress: Progress
) -> Summary:
    """Predict images into a CSV file, a row for each; memory does not grow with their number, but for archives' names.

    Parameters
    ----------
    out
        The file. It has the columns of `TrainedContender.predict`, and ``failed``.
    resume
        Go on behind the last whole row; the images must be the same as far as they were done.

    Raises
    ------
    UsageError
        When the file is there and ``resume`` is not asked for; when it is not of this model or of other images; or
        when the model takes tables.
    RunFolderError
        When another process writes there.
    SourceError
        When the data can't be listed, or change while they are read; all that was read before has its row.
    DiskError
        When it can't be written: what is in it stays whole, and may be gone on with.
    """
    how = contender.preprocessing
    if isinstance(how, Columns):
        raise UsageError(f"'{contender.name}' takes tables: --out is for images. Print with --csv, into a file.")
    places = opened(paths)
    counted = count_images(places)
    with _sole_writer(out):
        if out.exists() and not resume:
            raise UsageError(f"{out} is there already: go on with it by --resume, or choose another name with --out.")
        summary = Summary(without_image=counted.without_image)
        return _Work(contender, how, places, out, counted.images, progress, summary).run()


@contextmanager
def _sole_writer(out: Path) -> Generator[None]:
    lock = out.with_name(f".{out.name}.lock")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        held.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(f"Another process is writing to {out}: wait for it, or choose another --out.") from None
    except OSError as error:
        raise DiskError(f"{out} can't be written: {error.strerror or error}.") from error
    try:
        yield
    finally:
        let_go(held)


@dataclass
class _Work:
    """One file of predictions, from what is there to the last row."""

    contender: TrainedContender
    how: Preprocessing
    places: Sequence[Path | ImageArchive]
    out: Path
    total: int
    progress: Progress
    summary: Summary

    def run(self) -> Summary:
        headings = self._headings()
        with self._kept():
            end = self._take_up(headings) if self.out.exists() else 0
        self._tell(finished=False)  # first: a file of which nothing is said could not be gone on with
        with self._opened(end) as file:
            if not end:
                with self._kept():
                    file.write(table_text(pd.DataFrame([], columns=headings)).encode(*_ENCODING))
                    file.flush()
            self._go_on(file, headings)
        self._tell(finished=self.summary.images == self.total)
        require_all(
            self.total,
            self.summary.images,
            f"What is in {self.out} is kept. Leave them alone and give the same command with --resume; where that "
            "refuses to go on, with another --out.",
        )
        return self.summary

    def _headings(self) -> list[str]:
        return [*self.contender.table([], *self.contender.judged([])).columns, FAILED]

    @contextmanager
    def _opened(self, end: int) -> Generator[BinaryIO]:
        with self._kept():
            file = self.out.open("r+b" if end else "wb")
        try:
            with self._kept():
                file.truncate(end)
                file.seek(end)
            yield file
        finally:
            with suppress(OSError):  # what could not be written was told of
                file.close()

    @contextmanager
    def _kept(self) -> Generator[None]:
        """What the file system refuses, with how to go on."""
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"{self.out} can't be written: {error.strerror or error}. What is in it is kept: free some space, and "
                "give the same command with --resume."
            ) from error

    def _go_on(self, file: BinaryIO, headings: Sequence[str]) -> None:
        failed: list[ClearmarginError] = []
        left = _until_failure(images(self.places, self.summary.images), failed)
        synced = time.monotonic()
        for answers in answer_files(self.contender, self.how, left):
            with self._kept():
                self._append(file, answers, headings)
                if time.monotonic() - synced >= SECONDS_BETWEEN_SYNCS:
                    os.fsync(file.fileno())
                    synced = time.monotonic()
            self.progress("Predicting", self.summary.images, self.total, "")
        with self._kept():
            os.fsync(file.fileno())
        if failed:
            self._tell(finished=False)
            raise failed[0]

    def _append(self, file: BinaryIO, answers: Answers, headings: Sequence[str]) -> None:
        """Write whole rows; they are the system's before the next are computed, so that a kill loses none of them."""
        rows = list(self._rows(answers, len(headings)))
        for row in rows:
            self.summary.add(row, headings)
        file.write(rows_text(rows).encode(*_ENCODING))
        file.flush()

    def _rows(self, answers: Answers, width: int) -> Iterator[Sequence[object]]:
        table = self.contender.table(answers.predicted, answers.probabilities, answers.distances)
        said = table.itertuples(index=False, name=None)
        for place, path in enumerate(answers.files):
            if place in answers.failures:
                empty = [float("nan")] * len(self.contender.classes)
                rest = [""] * (width - 3 - len(empty))
                yield (path, "", *empty, *rest, answers.failures[place])
            else:
                yield (*(SEPARATOR.join(cell) if isinstance(cell, tuple) else cell for cell in next(said)), "")

    def _take_up(self, headings: Sequence[str]) -> int:
        """Count the whole rows that are there, and make sure they are of this model and these images.

        Returns
        -------
        Where the last whole row ends, in bytes; 0 when not even the headings are whole.
        """
        self._check_model()
        end, named = 0, image_names(self.places)
        with self.out.open("rb") as file:
            for number, (row, after) in enumerate(_whole_rows(file)):
                if number == 0:
                    if row != _read_back(headings):
                        raise self._other("its columns are other ones")
                else:
                    name = next(named, None)
                    if name is None or len(row) != len(headings) or row[0] != _read_back([name])[0]:
                        raise self._other(f"row {number} is of {row[0]!r}, and image {number} is {name or 'none'}")
                    said = [cell.removeprefix("'") for cell in row]  # which keeps a cell from being a formula
                    self.summary.add(said, headings)
                end = after
        return end

    def _other(self, why: str) -> UsageError:
        return UsageError(
            f"{self.out} can't be gone on with: {why}. Give the same images, or choose another name with --out."
        )

    def _model(self) -> dict[str, str]:
        """By which it is known that the same model goes on."""
        decision: Decision | None = self.contender.decision
        thresholds = "" if decision is None else str(decision.as_json()["content_sha256"])
        model = self.contender.identity()
        return {"contender": self.contender.name, "model_sha256": model, "thresholds_sha256": thresholds}

    def _check_model(self) -> None:
        try:
            told = json.loads(self._beside.read_bytes()[:LONGEST_ROW])
            same = {key: told[key] for key in self._model()} == self._model()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise self._other(
                f"{self._beside.name} beside it, which says what made it, is missing or damaged"
            ) from None
        if not same:
            raise self._other("it was made with another model")

    @property
    def _beside(self) -> Path:
        return self.out.with_name(f"{self.out.name}.json")

    def _tell(self, *, finished: bool) -> None:
        told = {**self._model(), "finished": finished, "summary": asdict(self.summary)}
        write_json(self._beside, {"format": 1, **told})


def _until_failure(listed: Iterator[Listed], failed: list[ClearmarginError]) -> Iterator[Listed]:
    """The same as far as it goes; what ended it early is kept for when all before it is done."""
    try:
        yield from listed
    except ClearmarginError as error:
        failed.append(error)


def _read_back(row: Sequence[object]) -> list[str]:
    """A row as it comes back from the file."""
    return next(csv.reader(io.StringIO(rows_text([row]), newline="")))


def _whole_rows(file: BinaryIO) -> Iterator[tuple[list[str], int]]:
    """Rows of a CSV file that end as they should, each with the place behind it; what is torn off at the end is not.

    A row may hold line ends between quotes.
    """
    pending, place = b"", 0
    for line in file:
        pending += line
        place += len(line)
        if len(pending) > LONGEST_ROW:
            return
        if not line.endswith(b"\n") or pending.count(b'"') % 2:
            continue
        try:
            text = pending.decode(*_ENCODING)
            row = next(csv.reader(io.StringIO(text, newline="")))
        except (UnicodeDecodeError, csv.Error, StopIteration):
            return
        yield row, place
        pending = b""
