"""The training loop: one, visible, for every contender."""

from __future__ import annotations

import copy
import json
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional

from clearmargin.errors import DivergenceError
from clearmargin.recipe import Training
from clearmargin.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from clearmargin.training.feeds import Feed, Report
from clearmargin.training.optimizers import build_optimizer, set_learning_rate


@dataclass(frozen=True)
class Labelled:
    """Samples of one part as the loop wants them: a feed, and class numbers int64 of shape (samples,)."""

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
    classes: int,
    precision: torch.dtype,
    seed: int,
    checkpoint: Path,
    resume: bool = False,
    report: Report | None = None,
) -> Fitted:
    """Train ``model`` in place; afterwards it holds the weights of the best epoch (or the last).

    Parameters
    ----------
    model
        Takes what the feeds give; returns logits (batch, classes).
    validation
        Judges every epoch; nothing learns from it but the choice of the epoch.
    precision
        Number format of the arithmetic; weights and optimiser stay float32.
    checkpoint
        File that is rewritten after every epoch.
    resume
        Go on from ``checkpoint`` when it is there.

    Raises
    ------
    DivergenceError
        When a loss is no longer finite.
    RunFolderError
        When the checkpoint is damaged, or of other settings, another seed, another network or other data.
    DiskError
        When the checkpoint can't be written.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model.parameters(), settings)
    asked = {"training": settings.model_dump(), "seed": seed, "classes": classes, "samples": len(train.feed)}
    progress = Progress(settings=json.dumps(asked), precision=str(precision))
    best: dict[str, torch.Tensor] = {}
    if resume and checkpoint.exists():
        progress, best = load_checkpoint(checkpoint, progress.settings, model, optimizer)
        precision = getattr(torch, progress.precision.removeprefix("torch."))
    weights = class_weights(train.targets, classes) if settings.class_weights else None

    for epoch in range(progress.epochs_done, settings.epochs):
        if _out_of_patience(progress, settings):
            break
        started = time.perf_counter()
        row = train_epoch(model, train, optimizer, settings, weights, precision, seed, epoch, report)
        row |= judge(model, validation, classes, precision)
        row = {"epoch": epoch + 1, **row, "seconds": time.perf_counter() - started}
        _require_finite(row, epoch)
        progress.history.append(row)
        progress.epochs_done, progress.seconds = epoch + 1, progress.seconds + row["seconds"]
        score = _score(row)
        if settings.keep == "last" or score > progress.best_score:
            progress.best_epoch, progress.best_score = epoch + 1, score
            best = copy.deepcopy(model.state_dict())
        save_checkpoint(checkpoint, progress, model, best, optimizer)

    model.load_state_dict(best)
    stopped = progress.epochs_done < settings.epochs
    return Fitted(
        progress.history, progress.best_epoch, progress.epochs_done, progress.seconds, progress.precision, stopped
    )


def train_epoch(
    model: nn.Module,
    train: Labelled,
    optimizer: optim.Optimizer,
    settings: Training,
    weights: torch.Tensor | None,
    precision: torch.dtype,
    seed: int,
    epoch: int,
    report: Report | None,
) -> dict[str, float]:
    """One pass over the training part; return its rate, loss and accuracy as they were on the way."""
    generator = seed_epoch(seed, epoch)
    model.train()
    batches = epoch_batches(len(train.feed), settings.batch_size, seed, epoch)
    steps, loss_sum, right, rate = len(batches) * settings.epochs, 0.0, 0, 0.0
    for number, rows in enumerate(batches):
        inputs, targets = train.feed.batch(rows, generator), train.targets[torch.from_numpy(rows)]
        step = epoch * len(batches) + number
        rate = set_learning_rate(optimizer, settings, step, steps)
        optimizer.zero_grad(set_to_none=True)
        with computing_in(precision):
            logits = model(inputs)  # (batch, classes)
        logits = logits.float()
        loss = functional.cross_entropy(logits, targets, weights, label_smoothing=settings.label_smoothing)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(rows)
        right += int((logits.argmax(dim=1) == targets).sum())
        if not math.isfinite(loss_sum):
            break  # `fit` says so in words
        if report is not None:
            report(step + 1, steps, f"epoch {epoch + 1}/{settings.epochs}, loss {loss.item():.3f}")
    samples = len(train.feed)
    return {"learning_rate": rate, "train_loss": loss_sum / samples, "train_accuracy": right / samples}


def judge(model: nn.Module, part: Labelled, classes: int, precision: torch.dtype) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy on a part, without learning from it."""
    logits = forward(model, part.feed, precision)
    loss = functional.cross_entropy(logits, part.targets).item()
    predicted = logits.argmax(dim=1)
    hits = torch.bincount(part.targets[predicted == part.targets], minlength=classes)
    present = torch.bincount(part.targets, minlength=classes)
    recall = hits[present > 0] / present[present > 0]
    return {
        "validation_loss": loss,
        "validation_accuracy": (predicted == part.targets).float().mean().item(),
        "validation_balanced_accuracy": recall.mean().item(),
    }


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


def seed_epoch(seed: int, epoch: int) -> torch.Generator:
    """Set every random state an epoch uses from (seed, epoch) alone, so that resuming needs no other."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]))  # dropout
    return torch.Generator().manual_seed(int(state[1]))  # augmentation and views


def class_weights(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """N / (classes · n of the class), as scikit-learn's ``class_weight="balanced"``; float32 (classes,)."""
    counts = torch.bincount(targets, minlength=classes).clamp(min=1)
    return len(targets) / (classes * counts.float())


def computing_in(precision: torch.dtype) -> AbstractContextManager[object]:
    """Within it, convolutions and dense layers compute in this number format."""
    return torch.autocast("cpu", dtype=precision) if precision is not torch.float32 else nullcontext()


def _score(row: dict[str, float]) -> float:
    """What the best epoch is chosen by: balanced accuracy, and among equals the smaller loss."""
    return row["validation_balanced_accuracy"] - 1e-6 * min(row["validation_loss"], 1e3)


def _out_of_patience(progress: Progress, settings: Training) -> bool:
    return 0 < settings.early_stopping <= progress.epochs_done - progress.best_epoch


def _require_finite(row: dict[str, float], epoch: int) -> None:
    wrong = [key for key, value in row.items() if not math.isfinite(value)]
    if wrong:
        raise DivergenceError(
            f"Training diverged in epoch {epoch + 1}: {wrong[0].replace('_', ' ')} is {row[wrong[0]]}. "
            "The learning rate is probably too high: try a tenth of it."
        )
