"""Random changes of training images, on whole batches of tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from clearmargin.recipe import Augmentation


def augment(
    images: torch.Tensor, settings: Augmentation, generator: torch.Generator, flipped: torch.Tensor | None = None
) -> torch.Tensor:
    """Flip, turn, shift, scale, brighten, add noise and cut out, differently for every image of a batch.

    Parameters
    ----------
    images
        Normalised float images, (batch, channels, height, width), square. What is turned or shifted in from outside
        repeats the border, so that no new edge appears.
    generator
        The only source of randomness: the same state gives the same images.
    flipped
        bool (batch,): which ones to flip horizontally; by lot when None.

    Returns
    -------
    Of the same shape and dtype, channels last in memory; ``images`` itself is left as it is.
    """
    draw = torch.rand((len(images), 8), generator=generator) * 2 - 1  # (batch, kinds of change), in [-1, 1)
    out = images
    if settings.flip_horizontal:
        out = torch.where(_each(draw[:, 2] < 0 if flipped is None else flipped), out.flip(3), out)
    if settings.flip_vertical:
        out = torch.where(_each(draw[:, 3] < 0), out.flip(2), out)
    if settings.shift_px:
        out = _moved(out, torch.randint(-settings.shift_px, settings.shift_px + 1, (len(out), 2), generator=generator))
    if settings.rotate_degrees or settings.shift_fraction or settings.scale_fraction:
        grid = functional.affine_grid(_matrices(draw, settings), list(images.shape), align_corners=False)
        out = functional.grid_sample(out, grid.to(out.dtype), padding_mode="border", align_corners=False)
    if settings.contrast or settings.brightness:
        middle = out.mean(dim=(1, 2, 3), keepdim=True)
        gain = _each(1 + settings.contrast * draw[:, 6])
        out = (out - middle) * gain + middle + _each(settings.brightness * draw[:, 7])
    if settings.noise:
        out = out + settings.noise * torch.randn(out.shape, generator=generator)
    if settings.cutout_fraction:
        out = _cut_out(out, max(1, round(settings.cutout_fraction * out.shape[3])), generator)
    return out.to(images.dtype).contiguous(memory_format=torch.channels_last)


def alternately(rows: np.ndarray, seed: int, epoch: int) -> torch.Tensor:
    """Which images are flipped in an epoch: half of them in the first, the others in the second, and so on.

    Jordan 2024, arXiv:2404.00498, section 3.6: within two epochs each image is seen from both sides.

    Parameters
    ----------
    rows
        Numbers of the images. Which half comes first is drawn from them and the seed (splitmix64, Steele et al. 2014).

    Returns
    -------
    bool (len(rows),).
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    mixed = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # all of it wraps around
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return torch.from_numpy(((mixed >> np.uint64(63)) + np.uint64(epoch)) % np.uint64(2) == 1)


def _moved(images: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Images moved by whole pixels, ``by`` int64 (batch, 2: down, right); the border mirrors what is beside it."""
    down = _mirrored(torch.arange(images.shape[2]) - by[:, :1], images.shape[2])  # (batch, height)
    right = _mirrored(torch.arange(images.shape[3]) - by[:, 1:], images.shape[3])
    which = torch.arange(len(images))[:, None, None]
    return images.permute(0, 2, 3, 1)[which, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)


def _mirrored(places: torch.Tensor, side: int) -> torch.Tensor:
    """Places outside 0 … side - 1 mirrored back in, the border itself not repeated."""
    around = places.remainder(max(1, 2 * (side - 1)))
    return torch.minimum(around, 2 * (side - 1) - around)


def _cut_out(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """A square of ``side`` pixels, wholly inside, is made 0, the mean that images are normalised with.

    DeVries & Taylor 2017, arXiv:1708.04552, but for squares that are partly outside.
    """
    starts = torch.randint(0, images.shape[3] - side + 1, (len(images), 2, 1), generator=generator)
    places = torch.arange(images.shape[3])
    inside = (places >= starts) & (places < starts + side)  # (batch, 2: down and right, side)
    return images.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0)


def _each(values: torch.Tensor) -> torch.Tensor:
    """One value an image, shaped to meet (batch, channels, height, width)."""
    return values.view(-1, 1, 1, 1)


def _matrices(draw: torch.Tensor, settings: Augmentation) -> torch.Tensor:
    """Affine maps from output to input places, (batch, 2, 3), for turns, scales and shifts."""
    angle = draw[:, 0] * math.radians(settings.rotate_degrees)
    scale = 1 + settings.scale_fraction * draw[:, 1]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = 2 * settings.shift_fraction * draw[:, 4:6]  # places run from -1 to 1: two units a side
    top = torch.stack([cos, -sin, shift[:, 0]], dim=1)
    bottom = torch.stack([sin, cos, shift[:, 1]], dim=1)
    return torch.stack([top, bottom], dim=1)
