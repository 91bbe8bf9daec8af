"""Saving a training as it goes on, and taking it up where it was left."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn, optim

from clearmargin.interruption import Stopped, finishing
from clearmargin.training.checkpoint import Progress, load_checkpoint, save_checkpoint

CHECKPOINT_SECONDS = 1.0  # after an epoch: epochs of milliseconds must not wait for the disk
BATCH_CHECKPOINT_SECONDS = 30.0  # within an epoch: what a kill may cost at most
LARGEST_SHARE = 0.05  # of the time goes into saving, however large the network


class Keeper:
    """Keeps the state of one training: in memory after every batch, on the disk now and then.

    A checkpoint is written after an epoch and, in long epochs, between batches; more seldom where writing one takes
    long. Whatever the moment, going on from it gives the same bits.

    Attributes
    ----------
    progress
        How far the training has come.
    best
        Weights of the best epoch so far.
    """

    def __init__(self, path: Path, model: nn.Module, optimizer: optim.Optimizer, progress: Progress) -> None:
        self.progress = progress
        self.best: dict[str, torch.Tensor] = {}
        self._path, self._model, self._optimizer = path, model, optimizer
        self._restored: dict[str, torch.Tensor] = {}  # random states
        self._generator: torch.Generator | None = None
        self._whole = True  # False while a step changes the weights
        self._unsaved = False
        self._saved = self._resumed = time.perf_counter()
        self._cost_seconds = 0.0

    def restore(self) -> bool:
        """Go on from the checkpoint, if there is one.

        Raises
        ------
        RunFolderError
            When it is of other settings or another network.
        """
        found = load_checkpoint(self._path, self.progress.settings, self._model, self._optimizer)
        if found is None:
            return False
        self.progress, self.best, self._restored = found.progress, found.best, found.random
        return True

    def begin_epoch(self, row: dict[str, float], generator: torch.Generator) -> tuple[dict[str, float], int]:
        """The row of an epoch so far and how many of its batches are done; random states are put where they were.

        Parameters
        ----------
        row
            That of an epoch which has not begun.
        generator
            Of augmentation and views, as the epoch begins.
        """
        self._generator, self._resumed = generator, time.perf_counter()
        if self.progress.batches_done == 0:
            self.progress.epoch_seconds = 0.0
            return row, 0
        torch.set_rng_state(self._restored["default"])
        generator.set_state(self._restored["generator"])
        return dict(self.progress.sums), self.progress.batches_done

    @contextmanager
    def learning(self) -> Iterator[None]:
        """A step, or what else must not be cut in two: a signal waits for its end, and nothing is saved meanwhile."""
        with finishing():
            self._whole = False
            yield
            self._whole = self._unsaved = True

    def batch_done(self, done: int, row: dict[str, float]) -> None:
        """Note, while `learning`, how far the epoch has come; save it when the last checkpoint is some time ago."""
        self.progress.batches_done, self.progress.sums = done, row
        self._save_after(BATCH_CHECKPOINT_SECONDS)

    def epoch_done(self, epoch: int, row: dict[str, float], better: float | None, *, last: bool) -> None:
        """Add an epoch (from 0) to the history, and its weights as the best when it has a ``better`` score."""
        with self.learning():
            progress, seconds = self.progress, self._epoch_seconds()
            progress.history.append({"epoch": epoch + 1, **row, "seconds": seconds})
            progress.epochs_done, progress.seconds = epoch + 1, progress.seconds + seconds
            progress.batches_done, progress.sums, progress.epoch_seconds = 0, {}, 0.0
            if better is not None:
                progress.best_epoch, progress.best_score = epoch + 1, better
                self.best = copy.deepcopy(self._model.state_dict())
        if last:
            self._save()
        else:
            self._save_after(CHECKPOINT_SECONDS)

    @contextmanager
    def saving_when_stopped(self) -> Iterator[None]:
        """What was learned inside is saved when the user stops it, unless a step was cut in two."""
        try:
            yield
        except KeyboardInterrupt as stopped:
            if self._whole and self._unsaved and not (isinstance(stopped, Stopped) and stopped.at_once):
                self._save()
            raise

    def _save_after(self, seconds: float) -> None:
        if time.perf_counter() - self._saved >= max(seconds, self._cost_seconds / LARGEST_SHARE):
            self._save()

    def _save(self) -> None:
        """Write a checkpoint, with the random states when an epoch is under way."""
        started = time.perf_counter()
        random: dict[str, torch.Tensor] = {}
        progress = self.progress
        if progress.batches_done and self._generator is not None:
            random = {"default": torch.get_rng_state(), "generator": self._generator.get_state()}
            progress = replace(progress, epoch_seconds=self._epoch_seconds())
        with finishing():
            save_checkpoint(self._path, progress, self._model, self.best, self._optimizer, random)
            self._unsaved = False
        self._saved = time.perf_counter()
        self._cost_seconds = self._saved - started

    def _epoch_seconds(self) -> float:
        """Time of the epoch under way, that before an interruption included."""
        return self.progress.epoch_seconds + time.perf_counter() - self._resumed
