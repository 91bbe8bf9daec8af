"""Noticing that a training came to numbers that are none, and saying why in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from clearmargin.errors import DivergenceError
from clearmargin.recipe import Training
from clearmargin.training.feeds import Feed

_LOOK = (
    "look into the data, empty the cache (`clearmargin cache clear --recent`, while no study runs) in case they were "
    "damaged there, and run the study anew."
)


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
        cause = f"Its inputs hold values that are no numbers: {_LOOK}"
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


def require_finite_row(
    row: Mapping[str, float], model: nn.Module, epoch: int, settings: Training, validation: Feed, targets: torch.Tensor
) -> None:
    """Refuse an epoch that ends with figures or weights that are not finite.

    Parameters
    ----------
    validation, targets
        What the figures named ``validation_…`` rest on; looked through for a cause when one of them is not finite.

    Raises
    ------
    DivergenceError
        Saying which, and the likely cause.
    """
    figures = [name for name, value in row.items() if not math.isfinite(value)]
    wrong = [f"{name.replace('_', ' ')} is {row[name]}" for name in figures]
    wrong += [
        f"{name} has values that are no numbers" for name, value in model.state_dict().items() if not _finite(value)
    ]
    if wrong:
        judged = any(name.startswith("validation_") for name in figures)
        cause = _damaged_validation(validation, targets) if judged else None
        raise DivergenceError(f"Training diverged in epoch {epoch + 1}: {wrong[0]}. {cause or _too_fast(settings)}")


def _damaged_validation(inputs: Feed, targets: torch.Tensor) -> str | None:
    batches = (
        inputs.batch(np.arange(start, min(start + 64, len(inputs))), None) for start in range(0, len(inputs), 64)
    )
    if not all(map(_finite, batches)):
        return f"The inputs of the validation part hold values that are no numbers: {_LOOK}"
    if not _finite(targets):
        return "The targets of the validation part hold values that are no numbers: look into the data."
    return None


def _too_fast(settings: Training) -> str:
    return (
        f"The learning rate, {settings.learning_rate:g} with {settings.optimizer}, is probably too high: "
        "try a tenth of it."
    )


def _finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())
