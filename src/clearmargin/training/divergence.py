"""Noticing that a training came to numbers that are none, and saying why in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from clearmargin.errors import DivergenceError
from clearmargin.recipe import Training


def require_finite_loss(
    loss: float,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    step: int,
    epoch: int,
    settings: Training,
) -> None:
    """Refuse a batch whose loss is not finite, before anything is learned from it.

    Raises
    ------
    DivergenceError
        Saying in which epoch (from 1), and the likely cause.
    """
    if math.isfinite(loss):
        return
    if not _finite(inputs):
        cause = (
            "Its inputs hold values that are no numbers: look into the data, and empty the cache "
            "(`clearmargin cache clear`) in case they were damaged there."
        )
    elif not _finite(targets):
        cause = "The targets hold values that are no numbers: look into the data."
    elif step == 0:
        cause = (
            "Nothing was learned yet: the weights it begins with, or the size of the inputs, are beyond what numbers "
            "can hold. Take other weights, or look for values in the data that are far from all others."
        )
    else:
        cause = _too_fast(settings)
    raise DivergenceError(f"Training diverged in epoch {epoch + 1}: train loss is {loss}. {cause}")


def require_finite_row(row: Mapping[str, float], model: nn.Module, epoch: int, settings: Training) -> None:
    """Refuse an epoch that ends with figures or weights that are not finite.

    Raises
    ------
    DivergenceError
        Saying which, and the likely cause.
    """
    wrong = [f"{name.replace('_', ' ')} is {value}" for name, value in row.items() if not math.isfinite(value)]
    wrong += [
        f"{name} has values that are no numbers" for name, value in model.state_dict().items() if not _finite(value)
    ]
    if wrong:
        raise DivergenceError(f"Training diverged in epoch {epoch + 1}: {wrong[0]}. {_too_fast(settings)}")


def _too_fast(settings: Training) -> str:
    return (
        f"The learning rate, {settings.learning_rate:g} with {settings.optimizer}, is probably too high: "
        "try a tenth of it."
    )


def _finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())
