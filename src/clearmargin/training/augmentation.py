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
        Normalised float images, (batch, channels, height, width). What is turned or shifted in from outside
        repeats the border, so that no new edge appears.
    generator
        The only source of randomness: the same state gives the same images.

    Returns
    -------
    A new tensor of the same shape, dtype and memory layout.
    """
    batch = len(images)
    draw = torch.rand((batch, 8), generator=generator) * 2 - 1  # (batch, kinds of change), in [-1, 1)
    out = images
    if _moves(settings):
        grid = functional.affine_grid(_matrices(draw, settings), list(images.shape), align_corners=False)
        out = functional.grid_sample(out, grid.to(out.dtype), padding_mode="border", align_corners=False)
    if settings.contrast or settings.brightness:
        middle = out.mean(dim=(1, 2, 3), keepdim=True)
        gain = (1 + settings.contrast * draw[:, 6]).view(-1, 1, 1, 1)
        shift = (settings.brightness * draw[:, 7]).view(-1, 1, 1, 1)
        out = (out - middle) * gain + middle + shift
    if settings.noise:
        out = out + settings.noise * torch.randn(out.shape, generator=generator, dtype=out.dtype)
    return out.contiguous(memory_format=torch.channels_last)


def _moves(settings: Augmentation) -> bool:
    turned = settings.rotate_degrees or settings.shift_fraction or settings.scale_fraction
    return bool(turned or settings.flip_horizontal or settings.flip_vertical)


def _matrices(draw: torch.Tensor, settings: Augmentation) -> torch.Tensor:
    """Affine maps from output to input places, (batch, 2, 3), for flips, turns, scales and shifts."""
    angle = draw[:, 0] * math.radians(settings.rotate_degrees)
    scale = 1 + settings.scale_fraction * draw[:, 1]
    mirror_x = torch.where(draw[:, 2] < 0, -1.0, 1.0) if settings.flip_horizontal else torch.ones(len(draw))
    mirror_y = torch.where(draw[:, 3] < 0, -1.0, 1.0) if settings.flip_vertical else torch.ones(len(draw))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = 2 * settings.shift_fraction * draw[:, 4:6]  # places run from -1 to 1: two units a side
    top = torch.stack([cos * mirror_x, -sin * mirror_x, shift[:, 0]], dim=1)
    bottom = torch.stack([sin * mirror_y, cos * mirror_y, shift[:, 1]], dim=1)
    return torch.stack([top, bottom], dim=1)
