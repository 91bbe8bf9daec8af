"""From which epoch on a network overfits, read off its learning curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clearmargin.report.wording import decimal

FEWEST_EPOCHS = 4
LAST = 3  # epochs whose mean stands for the end of a curve
_NOISE_FACTOR = 3.0
_SMALLEST_RISE = 0.02  # of the lowest validation loss
_SMALLEST_GAP = 0.02  # of accuracy


@dataclass(frozen=True)
class Overfitting:
    """The validation loss rises while the training loss falls on.

    Attributes
    ----------
    lowest_epoch, lowest
        Epoch and value of the lowest validation loss.
    from_epoch
        The first epoch after which the loss never came back to its lowest, as far as noise lets one say.
    end
        Validation loss at the end: the mean of the last epochs.
    """

    lowest_epoch: int
    lowest: float
    from_epoch: int
    end: float


@dataclass(frozen=True)
class PullingAhead:
    """The training part is learned ever better, the validation part no more, but not worse either.

    Attributes
    ----------
    from_epoch
        From here to the end the training accuracy lies above that on validation.
    train, validation
        Accuracies at the end: means of the last epochs.
    """

    from_epoch: int
    train: float
    validation: float


def find_overfitting(history: pd.DataFrame) -> Overfitting | None:
    """Tell whether and from when on the validation loss rises while the training loss falls on.

    Only the directions of the two curves count, never their distance: training figures are taken on the way, with
    dropout and augmentation, so that the training loss may well lie above that of validation. Asked for are

    1. a validation loss whose last epochs lie on average above its lowest, by more than three times the curve's
       own noise and by more than 2 % of it. Here the lowest is the median of the lowest value and its two
       neighbours: by itself the lowest of many noisy values is always well below the rest;
    2. a training loss that is lower at the end than in the epoch of the lowest validation loss.

    The noise is the median absolute second difference of the validation loss, divided by 0.6745·√6: its standard
    deviation, if it is normal and the curve beneath is smooth.

    Parameters
    ----------
    history
        ``epoch``, ``train_loss`` and ``validation_loss``, one row an epoch; rows that are not finite are left out.
    """
    epochs, train, validation = _columns(history, "loss")
    if len(epochs) < FEWEST_EPOCHS:
        return None
    lowest = int(validation.argmin())
    later = len(epochs) - 1 - lowest
    if later < 2:
        return None
    last = min(LAST, later)
    end = float(validation[-last:].mean())
    clear = max(_NOISE_FACTOR * _noise(validation), _SMALLEST_RISE * abs(float(validation[lowest])))
    valley = float(np.median(validation[max(0, lowest - 1) : lowest + 2]))
    if end - valley <= clear or train[-last:].mean() >= train[lowest]:
        return None
    close = np.flatnonzero(validation <= validation[lowest] + clear / _NOISE_FACTOR)
    start = int(close[-1]) + 1
    if start >= len(epochs):
        return None  # it came back to its lowest: no lasting rise
    return Overfitting(int(epochs[lowest]), float(validation[lowest]), int(epochs[start]), end)


def find_pulling_ahead(history: pd.DataFrame, validation_samples: int) -> PullingAhead | None:
    """Tell from when on the training accuracy lies above that on validation, and clearly so at the end.

    Clearly: by more than 0.02, three times the noise of the validation accuracy, and twice the standard error that
    the number of validation samples leaves it, while the training accuracy still rises. Training accuracy is taken
    under dropout and augmentation, which lower it, so that this is found too late rather than too early.
    """
    epochs, train, validation = _columns(history, "accuracy")
    if len(epochs) < FEWEST_EPOCHS:
        return None
    behind = np.flatnonzero(train <= validation)
    start = int(behind[-1]) + 1 if len(behind) else 0
    last = min(LAST, len(epochs) - start)
    if last < 2:
        return None
    ends = float(train[-last:].mean()), float(validation[-last:].mean())
    error = np.sqrt(ends[1] * (1 - ends[1]) / max(1, validation_samples))
    clear = max(_SMALLEST_GAP, _NOISE_FACTOR * _noise(validation), 2 * error)
    if ends[0] - ends[1] <= clear or train[-1] <= train[start]:
        return None
    return PullingAhead(int(epochs[start]), *ends)


def _columns(history: pd.DataFrame, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, and float64 of the training and the validation part, where all are finite."""
    names = ["epoch", f"train_{quantity}", f"validation_{quantity}"]
    if any(name not in history.columns for name in names):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    table = history[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    epochs, train, validation = table[np.isfinite(table).all(axis=1)].T
    return epochs, train, validation


def _noise(curve: np.ndarray) -> float:
    return float(np.median(np.abs(np.diff(curve, n=2))) / (0.6745 * np.sqrt(6)))


def overfitting_sentence(history: pd.DataFrame, validation_samples: int) -> str:
    """What the learning curves say of overfitting, in words."""
    epochs, _, _ = _columns(history, "loss")
    if len(epochs) < FEWEST_EPOCHS:
        return f"Too few epochs to tell whether it overfits: at least {FEWEST_EPOCHS} are needed."
    found = find_overfitting(history)
    if found is not None:
        return (
            f"From epoch {found.from_epoch} on it overfits: its validation loss, lowest in epoch {found.lowest_epoch} "
            f"with {decimal(found.lowest)}, rises to {decimal(found.end)}, while its training loss falls on."
        )
    ahead = find_pulling_ahead(history, validation_samples)
    if ahead is not None:
        return (
            f"From epoch {ahead.from_epoch} on the training accuracy lies above that on validation "
            f"({decimal(ahead.train)} against {decimal(ahead.validation)} at the end): overfitting begins, though the "
            "validation loss does not rise clearly."
        )
    return f"No sign of overfitting in {len(epochs)} epochs: the validation loss never rises clearly above its lowest."
