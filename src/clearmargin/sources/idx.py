"""IDX files as MNIST comes in: images and labels in pairs, gzipped or not.

http://yann.lecun.com/exdb/mnist/: two zero bytes, a byte for the type (8 is uint8), a byte for the number
of dimensions, each dimension as a big-endian uint32, then the values.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from clearmargin.errors import SourceError
from clearmargin.records import Part, Sample
from clearmargin.sources.blocks import (
    MAX_IMAGE_BYTES,
    MAX_SAMPLES,
    Block,
    ImageBlocks,
    damaged_file,
    decompressed,
    numbered,
)
from clearmargin.sources.container import DAMAGE, PIECE_BYTES, Container, open_decompressed, quoted, read_exactly
from clearmargin.sources.folder import Folder
from clearmargin.sources.names import PART_NAMES

_IMAGES = re.compile(r"(?P<stem>.*)images(?P<mark>[-.]idx)3(?P<rest>-ubyte(?:\.gz)?)", re.IGNORECASE)
_PARTS: dict[str, Part] = {**PART_NAMES, "t10k": "test"}
_HEADER_BYTES = 4
_UINT8 = 8


class _Pair(NamedTuple):
    images: str
    labels: str
    prefix: str
    part: Part | None


def is_idx(container: Container) -> bool:
    """Whether the container holds a file named like IDX images (``train-images-idx3-ubyte``)."""
    return any(_match(entry) for entry in container.entries)


def is_idx_file(path: Path) -> bool:
    """Whether a file, through gzip or not, begins like IDX."""
    try:
        with open_decompressed(path) as stream:
            magic = stream.read(4)
    except DAMAGE:
        return False
    return len(magic) == 4 and magic[:2] == b"\0\0" and 8 <= magic[2] <= 14 and 1 <= magic[3] <= 4


def open_idx_file(path: Path) -> ImageBlocks:
    """Source of one IDX file of images; the labels are expected beside it.

    Raises
    ------
    SourceError
        Not the images, no labels beside it, or as for `open_idx`.
    """
    if not _match(path.name):
        raise SourceError(
            f"{path} is an IDX file, but its name does not say that it holds the images. Give the file named "
            "like train-images-idx3-ubyte (or .gz), with its labels train-labels-idx1-ubyte beside it."
        )
    there = [name for name in _labels_names(path.name) if (path.parent / name).is_file()]
    return open_idx(Folder(path.parent, tuple(sorted((path.name, *there[:1])))))


def open_idx(container: Container) -> ImageBlocks:
    """Source of IDX pairs, such as the four files of MNIST; samples are named ``train/00000``.

    Every file is read to its end here, so that one that is cut short is found at once.

    Raises
    ------
    SourceError
        Labels missing; two data sets in one place; counts that disagree; files cut short.
    """
    pairs = [_pair(entry, container) for entry in container.entries if _match(entry)]
    _refuse_several(pairs, container.path)
    files = {name for pair in pairs for name in (pair.images, pair.labels)}
    ordered = tuple(entry for entry in container.entries if entry in files)
    blocks, labels = _read_files(container, ordered)
    samples: list[Sample] = []
    for pair in pairs:
        block, numbers = blocks[pair.images], labels[pair.labels]
        if block.count != len(numbers):
            raise SourceError(
                f"In {container.path}, {pair.images} has {block.count:,} images but {pair.labels} "
                f"{len(numbers):,} labels. They do not belong together; download both again."
            )
        samples += numbered(pair.prefix, [str(number) for number in numbers], pair.part)
    ordered_blocks = tuple(blocks[pair.images] for pair in pairs)
    return ImageBlocks("idx", container, ordered, ordered_blocks, tuple(samples), container.findings)


def _match(entry: str) -> re.Match[str] | None:
    return _IMAGES.fullmatch(entry) if "ubyte" in entry.lower() else None


def _labels_names(images: str) -> tuple[str, str]:
    """Names that the labels of an images file can have: as they are, and gzipped."""
    plain = _IMAGES.sub(r"\g<stem>labels\g<mark>1\g<rest>", images).removesuffix(".gz")
    return plain, f"{plain}.gz"


def _pair(images: str, container: Container) -> _Pair:
    expected = _labels_names(images)
    labels = [name for name in expected if name in container.entries]
    if not labels:
        raise SourceError(f"In {container.path}, {images} has no labels beside it; expected {' or '.join(expected)}.")
    stem = images.rpartition("/")[2].lower().partition("images")[0]
    words = [word for word in re.split(r"[-_.]", stem) if word]
    return _Pair(images, labels[0], "-".join(words) or "images", _PARTS.get(words[-1]) if words else None)


def _refuse_several(pairs: Sequence[_Pair], path: Path) -> None:
    if len({pair.part for pair in pairs}) < len(pairs):
        raise SourceError(
            f"{path} holds more than one data set, or one both gzipped and not: "
            f"{quoted([pair.images for pair in pairs], limit=12)}. Give a folder with one of them."
        )


def _read_files(container: Container, names: Iterable[str]) -> tuple[dict[str, Block], dict[str, np.ndarray]]:
    """Blocks of the images files and numbers (uint8) of the labels files, in one pass."""
    blocks, labels = {}, {}
    with closing(container.streams(names)) as streams:
        for name, opened in streams:
            with decompressed(opened, container.path, name) as stream:
                try:
                    if _match(name):
                        blocks[name] = _block(name, stream)
                    else:
                        labels[name] = _numbers(stream)
                except DAMAGE as error:
                    raise damaged_file(container.path, name, error) from error
    return blocks, labels


def _block(name: str, stream: IO[bytes]) -> Block:
    count, height, width = _dimensions(stream, 3)
    if not 0 < height * width <= MAX_IMAGE_BYTES:
        raise ValueError(f"its header says images of {height:,} x {width:,} pixels")
    expected, found = count * height * width, 0
    while found <= expected and (piece := stream.read(PIECE_BYTES)):
        found += len(piece)
    if found != expected:
        more = "more" if found > expected else f"{found:,}"
        raise ValueError(f"its header promises {expected:,} bytes of pixels, there are {more}")
    return Block(name, count, (height, width), offset=_HEADER_BYTES + 3 * 4)


def _numbers(stream: IO[bytes]) -> np.ndarray:
    (count,) = _dimensions(stream, 1)
    content = read_exactly(stream, count + 1)
    if len(content) != count:
        more = "more" if len(content) > count else f"{len(content):,}"
        raise ValueError(f"its header promises {count:,} labels, there are {more}")
    return np.frombuffer(content, np.uint8)


def _dimensions(stream: IO[bytes], expected: int) -> tuple[int, ...]:
    header = read_exactly(stream, _HEADER_BYTES + 4 * expected)
    if header[:4] != bytes((0, 0, _UINT8, expected)):
        raise ValueError(
            f"it begins with {header[:4].hex(' ')}; uint8 of {expected} dimensions is 00 00 08 0{expected}"
        )
    sizes = struct.unpack(f">{expected}I", header[_HEADER_BYTES:])
    if not 0 < sizes[0] <= MAX_SAMPLES:
        raise ValueError(f"its header says {sizes[0]:,} samples; 1 to {MAX_SAMPLES:,} are read")
    return sizes
