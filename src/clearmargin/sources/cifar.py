"""CIFAR-10's binary version: six files of 3,073-byte records, in a folder, tar or zip.

https://www.cs.toronto.edu/~kriz/cifar.html: one byte of label, then 1,024 bytes each of red, green and
blue, row by row.
"""

from __future__ import annotations

from contextlib import closing
from typing import IO

import numpy as np

from clearmargin.errors import SourceError
from clearmargin.records import Finding, Part, Sample
from clearmargin.sources.blocks import MAX_SAMPLES, Block, ImageBlocks, damaged_file, decompressed, numbered
from clearmargin.sources.container import DAMAGE, Container, quoted, read_exactly

SHAPE = (32, 32, 3)
_RECORD_BYTES = 1 + 32 * 32 * 3
_PARTS: dict[str, Part] = {
    **{f"data_batch_{number}.bin": "train" for number in range(1, 6)},
    "test_batch.bin": "test",
}
_NAMES_FILE = "batches.meta.txt"
_PICKLES = frozenset({*(name.removesuffix(".bin") for name in _PARTS), "batches.meta"})
_CLASSES = 10


def is_cifar(container: Container) -> bool:
    """Whether the container holds CIFAR-10 batches, binary or pickled."""
    return any(_file_name(entry) in _PARTS or _file_name(entry) in _PICKLES for entry in container.entries)


def _file_name(entry: str) -> str:
    return entry.rpartition("/")[2]


def open_cifar(container: Container) -> ImageBlocks:
    """Source of CIFAR-10's binary batches; samples are named ``data_batch_1/00000``.

    Raises
    ------
    SourceError
        Pickled batches; a batch twice; a file that is no whole number of records; a label without a name.
    """
    batches = [entry for entry in container.entries if _file_name(entry) in _PARTS]
    _refuse_pickles_and_copies(container, batches)
    labels, classes = _read_labels(container, batches)
    names = classes or tuple(str(number) for number in range(_CLASSES))
    samples: list[Sample] = []
    for entry in batches:
        _refuse_nameless(container, entry, labels[entry], len(names))
        of_each = [names[number] for number in labels[entry]]
        samples += numbered(_file_name(entry).removesuffix(".bin"), of_each, _PARTS[_file_name(entry)])
    return ImageBlocks(
        "cifar",
        container,
        tuple(entry for entry in container.entries if entry in batches or _file_name(entry) == _NAMES_FILE),
        tuple(Block(entry, len(labels[entry]), SHAPE, lead=1, planar=True) for entry in batches),
        tuple(samples),
        container.findings + (() if classes else (_numbers_for_names(),)),
    )


def _refuse_pickles_and_copies(container: Container, batches: list[str]) -> None:
    if not batches:
        raise SourceError(
            f"{container.path} holds CIFAR-10 as Python pickles. Opening a pickle can run any code, so it is never "
            "done here. Take the 'binary version' from the same page (cifar-10-binary.tar.gz)."
        )
    if len({_file_name(entry) for entry in batches}) < len(batches):
        raise SourceError(
            f"{container.path} holds the same CIFAR-10 batch in several folders: {quoted(batches, limit=12)}. "
            "Give the folder of one copy."
        )


def _read_labels(container: Container, batches: list[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Label bytes (uint8) of each batch, and the class names if there is a file of them, in one pass."""
    labels: dict[str, np.ndarray] = {}
    classes: tuple[str, ...] = ()
    wanted = [entry for entry in container.entries if entry in batches or _file_name(entry) == _NAMES_FILE]
    with closing(container.streams(wanted)) as streams:
        for entry, opened in streams:
            with decompressed(opened, container.path, entry) as stream:
                try:
                    if entry in batches:
                        labels[entry] = _label_bytes(stream)
                    else:
                        classes = tuple(filter(None, map(str.strip, stream.read(2**16).decode().splitlines())))
                except DAMAGE as error:
                    raise damaged_file(container.path, entry, error) from error
    return labels, classes


def _label_bytes(stream: IO[bytes]) -> np.ndarray:
    pieces: list[np.ndarray] = []
    while piece := read_exactly(stream, 300 * _RECORD_BYTES):
        if len(piece) % _RECORD_BYTES:
            raise ValueError(f"not a whole number of {_RECORD_BYTES:,}-byte records")
        if len(pieces) * 300 > MAX_SAMPLES:
            raise ValueError(f"more than {MAX_SAMPLES:,} records")
        pieces.append(np.frombuffer(piece, np.uint8)[::_RECORD_BYTES].copy())
    if not pieces:
        raise ValueError("empty file")
    return np.concatenate(pieces)


def _refuse_nameless(container: Container, entry: str, labels: np.ndarray, classes: int) -> None:
    if labels.max() >= classes:
        raise SourceError(
            f"The batch {entry!r} in {container.path} has the label {labels.max()}, but there are only {classes} "
            "classes. Is it CIFAR-10's binary version, undamaged?"
        )


def _numbers_for_names() -> Finding:
    return Finding(
        "class-names-missing",
        "note",
        f"{_NAMES_FILE} is not there: classes are called by their numbers, 0 to {_CLASSES - 1}.",
        f"Put {_NAMES_FILE} beside the batches.",
    )
