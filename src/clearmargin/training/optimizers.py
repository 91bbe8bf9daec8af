"""Optimisers and learning-rate schedules, by the names a recipe uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import nn, optim

from clearmargin.recipe import Training
from clearmargin.training.muon import Muon

WARM_UP_SHARE = 0.25  # of all steps, as one-cycle is usually run (Smith & Topin 2018)


def build_optimizer(parameters: Iterable[nn.Parameter], settings: Training) -> optim.Optimizer:
    """The optimiser a recipe names; weight decay and momentum go to those that have them."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "adamw":
            return optim.AdamW(trained, lr=rate, weight_decay=decay, fused=True)
        case "adam":
            return optim.Adam(trained, lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            momentum = settings.momentum
            return optim.SGD(trained, lr=rate, momentum=momentum, weight_decay=decay, nesterov=momentum > 0, fused=True)
        case "rmsprop":
            return optim.RMSprop(trained, lr=rate, weight_decay=decay, momentum=settings.momentum)
        case "muon":
            return Muon(trained, lr=rate, momentum=settings.momentum, weight_decay=decay)
        case "adadelta":
            # torch's own rho is 0.9 and its epsilon 1e-6; these are Keras's, so that a rate of 1 means the same here
            return optim.Adadelta(trained, lr=rate, rho=0.95, eps=1e-7, weight_decay=decay)


def one_cycle(progress: float) -> float:
    """Up from 1/25 along a cosine for the first quarter, then down to nearly zero."""
    if progress < WARM_UP_SHARE:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / WARM_UP_SHARE)) / 2
    return 1e-4 + (1 - 1e-4) * cosine((progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))


def cosine(progress: float) -> float:
    """Down from one to zero along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return (1 + math.cos(math.pi * progress)) / 2


def constant(progress: float) -> float:
    """Always one."""
    return 1.0


# progress through all steps, in [0, 1), to a factor on the learning rate: no state, so resume is exact
SCHEDULES: dict[str, Callable[[float], float]] = {"one-cycle": one_cycle, "cosine": cosine, "constant": constant}


def set_learning_rate(optimizer: optim.Optimizer, settings: Training, step: int, steps: int) -> float:
    """Set the rate for step ``step`` (from 0) of ``steps``; return it."""
    rate = settings.learning_rate * SCHEDULES[settings.schedule](step / steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
