"""Random changes of training images, on whole batches of tensors."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from clearmargin.recipe import Augmentation


def augment(images: torch.Tensor, settings: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Flip, turn, shift, scale, brighten and add noise, differently for every image of a batch.

    Parameters
    ----------
    images
        Normalised float images, (batch, channels, height, width), square. What is turned or shifted in from outside
        repeats the border, so that no new edge appears.
    generator
        The only source of randomness: the same state gives the same images.

    Returns
    -------
    Of the same shape and dtype, channels last in memory; ``images`` itself is left as it is.
    """
    draw = torch.rand((len(images), 8), generator=generator) * 2 - 1  # (batch, kinds of change), in [-1, 1)
    out = images
    if settings.flip_horizontal:
        out = torch.where(_each(draw[:, 2] < 0), out.flip(3), out)
    if settings.flip_vertical:
        out = torch.where(_each(draw[:, 3] < 0), out.flip(2), out)
    if settings.rotate_degrees or settings.shift_fraction or settings.scale_fraction:
        grid = functional.affine_grid(_matrices(draw, settings), list(images.shape), align_corners=False)
        out = functional.grid_sample(out, grid.to(out.dtype), padding_mode="border", align_corners=False)
    if settings.contrast or settings.brightness:
        middle = out.mean(dim=(1, 2, 3), keepdim=True)
        gain = _each(1 + settings.contrast * draw[:, 6])
        out = (out - middle) * gain + middle + _each(settings.brightness * draw[:, 7])
    if settings.noise:
        out = out + settings.noise * torch.randn(out.shape, generator=generator)
    return out.to(images.dtype).contiguous(memory_format=torch.channels_last)


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
