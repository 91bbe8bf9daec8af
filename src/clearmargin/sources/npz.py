"""NumPy archives of images and labels, such as MedMNIST's.

The arrays are streamed out of the zip, a few rows at a time; nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from clearmargin.errors import SourceError
from clearmargin.records import Finding, Part, Sample
from clearmargin.sources.blocks import (
    MAX_IMAGE_BYTES,
    MAX_SAMPLES,
    Block,
    ImageBlocks,
    damaged_file,
    decompressed,
    numbered,
)
from clearmargin.sources.container import DAMAGE, MAX_ENTRY_BYTES, Container, counted, quoted, read_exactly

# Names of images, labels, and the part; the first family of which any array is there counts.
FAMILIES: tuple[tuple[tuple[str, str, Part | None], ...], ...] = (
    (
        ("train_images", "train_labels", "train"),
        ("val_images", "val_labels", "validation"),
        ("test_images", "test_labels", "test"),
    ),
    (("x_train", "y_train", "train"), ("x_val", "y_val", "validation"), ("x_test", "y_test", "test")),
    (("images", "labels", None),),
)
_HEADER_BYTES = 2**14
# What numpy's parser lets through on headers that were made to break it, besides what streams raise.
_HEADER_DAMAGE: tuple[type[Exception], ...] = (
    *DAMAGE,
    SyntaxError,
    TypeError,
    KeyError,
    MemoryError,
    tokenize.TokenError,
)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    bytes: int


class _Pair(NamedTuple):
    images: str
    labels: str
    part: Part | None


def is_npz(container: Container) -> bool:
    """Whether the container is a zip of nothing but ``.npy`` files."""
    return (
        container.kind == "zip"
        and bool(container.entries)
        and all(entry.endswith(".npy") for entry in container.entries)
    )


def open_npz(container: Container) -> ImageBlocks:
    """Source of an NPZ of uint8 images and labels; samples are named ``train_images/00000``.

    Raises
    ------
    SourceError
        Arrays under other names, of other types or shapes; several labels for one image; counts that disagree.
    """
    pairs = _pairs(container)
    used = {f"{name}.npy" for pair in pairs for name in (pair.images, pair.labels)}
    blocks, labels = _read_files(container, [entry for entry in container.entries if entry in used], pairs)
    samples: list[Sample] = []
    for pair in pairs:
        block, names = blocks[f"{pair.images}.npy"], labels[f"{pair.labels}.npy"]
        if block.count != len(names):
            raise SourceError(
                f"{container.path} has {block.count:,} images in {pair.images} but {len(names):,} labels in "
                f"{pair.labels}; expected one label for each image."
            )
        samples += numbered(pair.images, names, pair.part)
    files = tuple(entry for entry in container.entries if entry in used)
    findings = (*container.findings, *_unused(sorted(set(container.entries) - used)))
    return ImageBlocks("npz", container, files, tuple(blocks.values()), tuple(samples), findings)


def _pairs(container: Container) -> list[_Pair]:
    """Pairs of arrays that are there, in the order of the container."""
    there = {entry.removesuffix(".npy") for entry in container.entries}
    for family in FAMILIES:
        pairs = sorted(_Pair(*row) for row in family if row[0] in there)
        unlabelled = [pair for pair in pairs if pair.labels not in there]
        if unlabelled:
            raise SourceError(f"{container.path} has the array {unlabelled[0].images} but not {unlabelled[0].labels}.")
        if pairs:
            return pairs
    expected = "; ".join(f"{family[0][0]} and {family[0][1]}" for family in FAMILIES)
    raise SourceError(
        f"{container.path} has no images under a known name: expected {expected}; "
        f"it holds {quoted(sorted(there), limit=12)}."
    )


def _read_files(
    container: Container, names: Iterable[str], pairs: Iterable[_Pair]
) -> tuple[dict[str, Block], dict[str, list[str]]]:
    """Blocks of the images arrays and class names of the labels arrays, in one pass."""
    images = {f"{pair.images}.npy" for pair in pairs}
    blocks: dict[str, Block] = {}
    labels: dict[str, list[str]] = {}
    with closing(container.streams(names)) as streams:
        for name, opened in streams:
            with decompressed(opened, container.path, name) as stream:
                try:
                    if name in images:
                        blocks[name] = _block(name, stream)
                    else:
                        labels[name] = _class_names(stream)
                except _HEADER_DAMAGE as error:
                    raise damaged_file(container.path, name, error) from error
                except _Unsuitable as error:
                    raise SourceError(f"The array {name.removesuffix('.npy')} in {container.path} {error}.") from error
    return blocks, labels


class _Unsuitable(Exception):
    """An array that is whole, but not what is needed; the message follows the array's name."""


def _header(stream: IO[bytes]) -> tuple[_Header, bytes]:
    """Header of a ``.npy`` file, and what was read after it."""
    head = io.BytesIO(read_exactly(stream, _HEADER_BYTES))
    version = npy.read_magic(head)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise _Unsuitable(f"has the .npy version {version}; 1.0 and 2.0 are read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers that Python 2 wrote are read all the same
        shape, fortran_order, dtype = readers[version](head)
    if dtype.hasobject:
        raise _Unsuitable("holds Python objects; opening them could run any code, so it is never done")
    return _Header(shape, fortran_order, dtype, head.tell()), head.read()


def _block(name: str, stream: IO[bytes]) -> Block:
    header, _ = _header(stream)
    if header.dtype != np.uint8:
        raise _Unsuitable(f"has the type {header.dtype}; expected uint8 from 0 to 255")
    if header.fortran_order:
        raise _Unsuitable("is stored column by column; save it after numpy.ascontiguousarray")
    shape = _image_shape(header.shape)
    if not 0 < header.shape[0] <= MAX_SAMPLES:
        raise _Unsuitable(f"has {header.shape[0]:,} images; 1 to {MAX_SAMPLES:,} are read")
    if not 0 < math.prod(shape) <= MAX_IMAGE_BYTES or min(shape) < 1:
        raise _Unsuitable(f"has images of shape {shape}")
    return Block(name, header.shape[0], shape, offset=header.bytes)


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(height, width) or (height, width, 3) of each image."""
    match shape:
        case (_, height, width) | (_, height, width, 1):
            return (height, width)
        case (_, height, width, 3):
            return (height, width, 3)
        case (_, 3, height, width):
            problem = "colours come first; move them last with numpy.moveaxis(images, 1, -1)"
        case (_, _, _, _) | (_, _, _, _, _):
            problem = "these look like volumes, and only flat images are read"
        case _:
            problem = "that is no stack of images"
    raise _Unsuitable(f"has the shape {shape}: {problem}. Expected (images, height, width) or (…, 3)")


def _class_names(stream: IO[bytes]) -> list[str]:
    header, start = _header(stream)
    count, *columns = header.shape or (0,)
    if columns not in ([], [1]):
        raise _Unsuitable(
            f"has the shape {header.shape}, several values for one image; studies with several labels an image "
            "are not supported, and one-hot labels have to become numbers with labels.argmax(axis=1)"
        )
    if header.dtype.kind not in "biuUS":
        raise _Unsuitable(f"has the type {header.dtype}; expected whole numbers or text")
    expected = count * header.dtype.itemsize
    if not 0 < count <= MAX_SAMPLES or expected > MAX_ENTRY_BYTES:
        raise _Unsuitable(f"has {count:,} labels; 1 to {MAX_SAMPLES:,} are read")
    content = start + read_exactly(stream, max(0, expected + 1 - len(start)))
    if len(content) != expected:
        raise EOFError(f"its header promises {expected:,} bytes, there are {len(content):,}")
    values = np.frombuffer(content, header.dtype).astype(int if header.dtype.kind == "b" else header.dtype)
    names = [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]
    if "" in names:
        raise _Unsuitable(f"has no label for the image {names.index('')}")
    return names


def _unused(entries: list[str]) -> Iterator[Finding]:
    if entries:
        names = tuple(entry.removesuffix(".npy") for entry in entries)
        yield Finding(
            "ignored-arrays",
            "note",
            f"Left aside, neither images nor labels: {counted(len(names), 'array')} of the NPZ ({quoted(names)}).",
            samples=names,
        )
