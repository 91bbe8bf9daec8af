"""Sources whose samples lie one after another in a few files, all of one size: IDX, CIFAR, NPZ."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from clearmargin.errors import ImageError, SourceError
from clearmargin.records import Finding, Part, Sample
from clearmargin.sources.container import DAMAGE, PIECE_BYTES, Container, damaged, read_exactly

MAX_SAMPLES = 10_000_000
MAX_IMAGE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Block:
    """A run of uint8 images in one file.

    Attributes
    ----------
    name
        The file, as its container names it.
    count, shape
        How many images, and the shape of each: (height, width) or (height, width, 3).
    offset
        Bytes before the first image.
    lead
        Bytes before each image (the label in CIFAR's files).
    planar
        True when the three colours lie apart: (3, height, width).
    """

    name: str
    count: int
    shape: tuple[int, ...]
    offset: int = 0
    lead: int = 0
    planar: bool = False

    @property
    def record_bytes(self) -> int:
        return self.lead + math.prod(self.shape)

    def images(self, stream: IO[bytes]) -> Iterator[np.ndarray]:
        """Each image as a fresh uint8 array of shape ``shape``.

        Raises
        ------
        EOFError
            When the file ends early.
        """
        if len(read_exactly(stream, self.offset)) < self.offset:
            raise EOFError("the file ends in its header")
        at_once = max(1, PIECE_BYTES // self.record_bytes)
        for first in range(0, self.count, at_once):
            rows = min(at_once, self.count - first)
            content = read_exactly(stream, rows * self.record_bytes)
            if len(content) < rows * self.record_bytes:
                raise EOFError(f"the file ends after {first + len(content) // self.record_bytes:,} images")
            for record in np.frombuffer(content, np.uint8).reshape(rows, self.record_bytes):
                yield self._image(record[self.lead :])

    def _image(self, pixels: np.ndarray) -> np.ndarray:
        if self.planar:
            height, width, colors = self.shape
            return np.ascontiguousarray(pixels.reshape(colors, height, width).transpose(1, 2, 0))
        return pixels.reshape(self.shape).copy()


@dataclass(frozen=True)
class ImageBlocks:
    """Many images in each file; see `clearmargin.records.Source`.

    ``files`` are all files that count for the fingerprint (labels and class names too), ``blocks`` the
    images in the order of ``samples``; both in the order of the container.
    """

    kind: str
    container: Container
    files: tuple[str, ...]
    blocks: tuple[Block, ...]
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    simulated: bool = False

    def fingerprint(self) -> str:
        """SHA-256 (hex) over names and bytes of the files, or of the archive file."""
        return self.container.fingerprint(self.files)

    def state(self) -> str:
        """Of the files, or of the archive file; see `clearmargin.records.Source.state`."""
        return self.container.state(self.files)

    def read(self) -> Iterator[np.ndarray]:
        """Each image as a uint8 array of shape (height, width) or (height, width, 3), in order.

        Raises
        ------
        SourceError
            When a file is gone, cut short or damaged: unlike one bad image among many files, this leaves
            no image in it to be trusted.
        """
        blocks = {block.name: block for block in self.blocks}
        with closing(self.container.streams(blocks)) as streams:
            for name, stream in streams:
                with decompressed(stream, self.container.path, name) as content:
                    yield from _checked(blocks[name].images(content), self.container.path, name)


def _checked(images: Iterator[np.ndarray], path: Path, name: str) -> Iterator[np.ndarray]:
    while True:
        try:
            image = next(images)
        except StopIteration:
            return
        except DAMAGE as error:
            raise damaged_file(path, name, error) from error
        yield image


def decompressed(stream: IO[bytes] | ImageError, path: Path, name: str) -> IO[bytes]:
    """Take a stream out of gzip when its name says so.

    Raises
    ------
    SourceError
        When the container could not open it.
    """
    if isinstance(stream, ImageError):
        raise damaged_file(path, name, stream)
    return cast(IO[bytes], gzip.open(stream)) if name.lower().endswith(".gz") else stream


def damaged_file(path: Path, name: str, error: Exception) -> SourceError:
    """Say which file of a container can't be used."""
    if path.name == name or not path.is_dir():
        return damaged(path, error)
    return damaged(path / name, error)


def numbered(prefix: str, labels: Sequence[str], part: Part | None) -> Iterator[Sample]:
    """Samples of one block, named by their place in it: ``prefix/00000``."""
    digits = max(5, len(str(len(labels) - 1)))
    for index, label in enumerate(labels):
        yield Sample(f"{prefix}/{index:0{digits}d}", label, part=part)
