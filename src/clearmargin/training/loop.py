"""The training loop: one, visible, for every contender."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim

from clearmargin.recipe import Training
from clearmargin.training.checkpoint import Progress, remove_checkpoint
from clearmargin.training.divergence import require_finite_loss, require_finite_row
from clearmargin.training.feeds import Chance, Feed, Report
from clearmargin.training.keeping import Keeper
from clearmargin.training.objectives import ClassLabels, Numbers, Objective
from clearmargin.training.optimizers import build_optimizer, set_learning_rate
from clearmargin.training.threads import computed_with

AfterEpoch = Callable[[Sequence[Mapping[str, float]]], None]  # rows of the history, one an epoch


@dataclass(frozen=True)
class Labelled:
    """Samples of one part as the loop wants them.

    Attributes
    ----------
    feed
        Their inputs.
    targets
        Class numbers, int64 (samples,); or, to learn numbers, float32 (samples,).
    """

    feed: Feed
    targets: torch.Tensor


@dataclass(frozen=True)
class Fitted:
    """What the loop leaves: its weights are in the model; this is how it got there."""

    history: list[dict[str, float]]
    best_epoch: int
    epochs_run: int
    seconds: float
    precision: str
    stopped_early: bool


def fit(
    model: nn.Module,
    train: Labelled,
    validation: Labelled,
    settings: Training,
    *,
    classes: int | None,
    precision: torch.dtype,
    seed: int,
    checkpoint: Path,
    identity: str = "",
    resume: bool = False,
    report: Report | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Fitted:
    """Train ``model`` in place; afterwards it holds the weights of the best epoch (or the last).

    Parameters
    ----------
    model
        Takes what the feeds give; returns logits (batch, classes), or numbers (batch, 1).
    validation
        Judges every epoch; nothing learns from it but the choice of the epoch.
    classes
        How many there are; None to learn numbers.
    precision
        Number format of the arithmetic; the weights and what the optimiser keeps stay float32.
    identity
        Stands for all else that the course of training depends on: the network, its first weights, the data.
    checkpoint
        File that is rewritten as `Keeper` says, and when the work is told to stop.
    resume
        Go on from ``checkpoint`` when it is there, at the batch that follows.
    after_epoch
        Called with the history so far, also with that of a checkpoint; what it raises ends the training.

    Raises
    ------
    DivergenceError
        When a loss or a weight is no longer finite.
    RunFolderError
        When the checkpoint is of other settings, another seed or another identity.
    DiskError
        When the checkpoint can't be written.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model.parameters(), settings)
    objective = Numbers(settings) if classes is None else ClassLabels(settings, classes, train.targets)
    training = settings.model_dump()
    asked = {"training": training, "seed": seed, "classes": classes, "samples": len(train.feed), "of": identity}
    progress = Progress(json.dumps(asked), precision=str(precision), computed_with=computed_with())
    keeper = Keeper(checkpoint, model, optimizer, progress)
    if not resume:
        remove_checkpoint(checkpoint)
    elif keeper.restore():
        progress = keeper.progress
        precision = progress.dtype
        if after_epoch is not None and progress.history:
            after_epoch(progress.history)

    with keeper.saving_when_stopped():
        for epoch in range(progress.epochs_done, settings.epochs):
            if _out_of_patience(progress, settings):
                break
            row = train_epoch(model, train, objective, optimizer, settings, precision, seed, epoch, report, keeper)
            judged = judge(model, validation, objective, precision)
            row = row | {f"validation_{name}": value for name, value in judged.items()}
            require_finite_row(row, model, epoch, settings, validation.feed, validation.targets)
            score = objective.score(judged)
            better = settings.keep == "last" or score > progress.best_score
            keeper.epoch_done(epoch, row, score if better else None, last=epoch + 1 == settings.epochs)
            if after_epoch is not None:
                after_epoch(progress.history)

    model.load_state_dict(keeper.best)
    stopped = progress.epochs_done < settings.epochs
    return Fitted(
        progress.history, progress.best_epoch, progress.epochs_done, progress.seconds, progress.precision, stopped
    )


def train_epoch(
    model: nn.Module,
    train: Labelled,
    objective: Objective,
    optimizer: optim.Optimizer,
    settings: Training,
    precision: torch.dtype,
    seed: int,
    epoch: int,
    report: Report | None,
    keeper: Keeper | None = None,
) -> dict[str, float]:
    """One pass over the training part; return its rate, loss and shares as they were on the way.

    With a keeper it goes on where that one says, and a signal that comes during a batch waits for its end.
    """
    chance = seed_epoch(seed, epoch)
    model.train()
    samples = len(train.feed)
    batches = epoch_batches(samples, settings.batch_size, seed, epoch)
    steps, row, done = len(batches) * settings.epochs, {"learning_rate": 0.0, "train_loss": 0.0}, 0
    if keeper is not None:
        row, done = keeper.begin_epoch(row, chance.generator)
    for number, rows in enumerate(batches[done:], start=done):
        step = epoch * len(batches) + number
        with keeper.learning() if keeper is not None else nullcontext():
            inputs, targets = train.feed.batch(rows, chance), train.targets[torch.from_numpy(rows)]
            row["learning_rate"] = set_learning_rate(optimizer, settings, step, steps)
            optimizer.zero_grad(set_to_none=True)
            with computing_in(precision):
                outputs = model(inputs)  # (batch, classes)
            outputs = outputs.float()
            loss = objective.loss(outputs, targets)
            require_finite_loss(loss.item(), inputs, targets, step, epoch, settings)
            loss.backward()
            with computing_in(precision):  # Muon's steps are matrix products
                optimizer.step()
            for name, value in {"loss": loss.item(), **objective.shares(outputs, targets)}.items():
                row[f"train_{name}"] = row.get(f"train_{name}", 0.0) + value * len(rows) / samples
            if keeper is not None:
                keeper.batch_done(number + 1, row)
        if report is not None:
            report(step + 1, steps, f"epoch {epoch + 1}/{settings.epochs}, loss {loss.item():.3f}")
    return row


def judge(model: nn.Module, part: Labelled, objective: Objective, precision: torch.dtype) -> dict[str, float]:
    """Figures of a part, without learning from it."""
    return objective.measures(forward(model, part.feed, precision), part.targets)


def forward(
    model: nn.Module, feed: Feed, precision: torch.dtype, batch: int = 64, report: Report | None = None
) -> torch.Tensor:
    """Logits, float32 (samples, outputs), for everything a feed has, in its order."""
    model.eval()
    pieces: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(feed), batch):
            rows = np.arange(start, min(start + batch, len(feed)))
            with computing_in(precision):
                pieces.append(model(feed.batch(rows, None)).float())
            if report is not None:
                report(int(rows[-1]) + 1, len(feed), "")
    return torch.cat(pieces)


def epoch_batches(samples: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Rows in a new order for every epoch, in batches of at most ``batch_size`` that differ by one at most.

    A leftover batch of one image would stop batch normalisation. Even batches never leave one; an odd number in
    pairs has one batch of three.
    """
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    return np.array_split(order, max(1, min(math.ceil(samples / batch_size), samples // 2)))


def seed_epoch(seed: int, epoch: int) -> Chance:
    """Set every random state an epoch uses from (seed, epoch) alone, so that resuming needs no other."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]))  # dropout
    return Chance(seed, epoch, torch.Generator().manual_seed(int(state[1])))  # augmentation and views


def computing_in(precision: torch.dtype) -> AbstractContextManager[object]:
    """Within it, convolutions, dense layers and matrix products compute in this number format."""
    return torch.autocast("cpu", dtype=precision) if precision is not torch.float32 else nullcontext()


def _out_of_patience(progress: Progress, settings: Training) -> bool:
    return 0 < settings.early_stopping <= progress.epochs_done - progress.best_epoch
