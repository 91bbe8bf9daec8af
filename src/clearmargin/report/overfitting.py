"""From which epoch on a network overfits, read off its learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from clearmargin.language import tr
from clearmargin.report.wording import decimal

FEWEST_EPOCHS = 4
LAST = 3  # epochs whose mean stands for the end of a curve
_NOISE_FACTOR = 3.0
_SMALLEST_RISE = 0.02  # of the lowest validation loss
_SMALLEST_GAP = 0.02  # of accuracy


Reason = Literal["too few", "ends lowest", "flat", "single", "came back", "overfits", "stands", "diverges"]


@dataclass(frozen=True)
class LossCourse:
    """Where the validation loss was lowest, how it went on from there, and what that amounts to.

    Attributes
    ----------
    reason
        ``overfits``: it rises, while the training loss falls on; ``stands`` and ``diverges``: it rises, while the
        training loss falls no further, or rises as well. Else it does not rise: there are ``too few`` epochs; its
        lowest is one of the last two (``ends lowest``); what it ends above its lowest is within its noise
        (``flat``); its lowest stands alone (``single``); or it rose and ``came back``.
    lowest_epoch, lowest
        Epoch and value of the lowest validation loss.
    from_epoch
        Where it rises: the first epoch after which it never came back to its lowest, as far as noise lets one say.
    end
        Validation loss at the end: the mean of the last epochs.
    """

    reason: Reason
    lowest_epoch: int = 0
    lowest: float = 0.0
    from_epoch: int = 0
    end: float = 0.0


@dataclass(frozen=True)
class PullingAhead:
    """The training part is learned ever better, the validation part no more, but not worse either.

    Attributes
    ----------
    from_epoch
        From here to the end the training accuracy lies above that on validation.
    train, validation
        Accuracies at the end: means of the last epochs.
    improving
        Validation itself still gets better: its accuracy climbs, or its loss falls.
    """

    from_epoch: int
    train: float
    validation: float
    improving: bool


def follow_loss(history: pd.DataFrame) -> LossCourse:
    """Tell whether and from when on the validation loss rises, and whether the training loss falls on meanwhile.

    Only the directions of the two curves count, never their distance: training figures are taken on the way, with
    dropout and augmentation, so that the training loss may well lie above that of validation. To overfit takes

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
        return LossCourse("too few")
    lowest = int(validation.argmin())
    later = len(epochs) - 1 - lowest
    last = min(LAST, max(1, later))
    end, valley = float(validation[-last:].mean()), float(np.median(validation[max(0, lowest - 1) : lowest + 2]))
    clear = max(_NOISE_FACTOR * _noise(validation), _SMALLEST_RISE * abs(float(validation[lowest])))
    close = np.flatnonzero(validation <= validation[lowest] + clear / _NOISE_FACTOR)
    start = int(close[-1]) + 1
    found = partial(LossCourse, lowest_epoch=int(epochs[lowest]), lowest=float(validation[lowest]), end=end)
    if later < 2:
        return found("ends lowest")
    if end - valley <= clear:
        return found("flat" if end - validation[lowest] <= clear else "single")
    if start >= len(epochs):
        return found("came back")
    return found(_training_meanwhile(train, lowest, last), from_epoch=int(epochs[start]))


def _training_meanwhile(train: np.ndarray, lowest: int, last: int) -> Reason:
    """What the training loss does since the epoch of the lowest validation loss."""
    rise = float(train[-last:].mean() - train[lowest])
    if rise < 0:
        return "overfits"
    clear = max(_NOISE_FACTOR * _noise(train), _SMALLEST_RISE * float(np.abs(train).max()))
    return "diverges" if rise > clear else "stands"


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
    _, _, loss = _columns(history, "loss")
    return PullingAhead(int(epochs[start]), *ends, improving=_climbs(validation) or _climbs(-loss))


def _climbs(curve: np.ndarray) -> bool:
    """Tell whether the last epochs lie on average above as many before them, by more than noise explains."""
    last = min(LAST, len(curve) // 2)
    if last < 2:
        return False
    climb = curve[-last:].mean() - curve[-2 * last : -last].mean()
    return bool(climb > 2 * _noise(curve) * np.sqrt(2 / last))


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
    broken = _broken_sentence(history)
    if broken:
        return broken
    course = follow_loss(history)
    if course.reason == "too few":
        return tr("Too few epochs to tell whether it overfits: at least {n} are needed.", n=FEWEST_EPOCHS)
    if course.from_epoch:
        return _rise_sentence(course)
    ahead = find_pulling_ahead(history, validation_samples)
    if ahead is not None:
        return _gap_sentence(ahead)
    epochs = len(_columns(history, "loss")[0])
    return tr("No sign of overfitting in {n} epochs: {reason}.", n=epochs, reason=_level_clause(course))


def _broken_sentence(history: pd.DataFrame) -> str:
    """Say it when the losses of the last epochs are no numbers, whatever there was before."""
    finite, _, _ = _columns(history, "loss")
    if "epoch" not in history.columns or "validation_loss" not in history.columns:
        return ""
    epochs = pd.to_numeric(history["epoch"], errors="coerce").dropna().to_numpy()
    if not len(epochs) or (len(finite) and finite[-1] >= epochs[-1]):
        return ""
    first = next(int(epoch) for epoch in epochs if not len(finite) or epoch > finite[-1])
    return tr(
        "Training broke down: from epoch {epoch} on, its losses are no finite numbers. A lower learning rate may help.",
        epoch=first,
    )


def _rise_sentence(course: LossCourse) -> str:
    values = {
        "epoch": course.from_epoch,
        "lowest_epoch": course.lowest_epoch,
        "lowest": decimal(course.lowest),
        "end": decimal(course.end),
    }
    if course.reason == "overfits":
        return tr(
            "From epoch {epoch} on it overfits: its validation loss, lowest in epoch {lowest_epoch} with {lowest}, "
            "rises to {end}, while its training loss falls on.",
            **values,
        )
    if course.reason == "stands":
        return tr(
            "From epoch {epoch} on its validation loss, lowest in epoch {lowest_epoch} with {lowest}, rises to {end}, "
            "while its training loss falls no further.",
            **values,
        )
    return tr(
        "From epoch {epoch} on it diverges: its validation loss, lowest in epoch {lowest_epoch} with {lowest}, rises "
        "to {end}, and its training loss rises as well. That is no overfitting; a lower learning rate may help.",
        **values,
    )


def _gap_sentence(ahead: PullingAhead) -> str:
    values = {
        "epoch": ahead.from_epoch,
        "train": decimal(ahead.train),
        "validation": decimal(ahead.validation),
        "gap": decimal(ahead.train - ahead.validation),
    }
    if ahead.improving:
        return tr(
            "From epoch {epoch} on the training accuracy lies above that on validation ({train} against {validation} "
            "at the end): a gap of {gap}, but validation still improves.",
            **values,
        )
    return tr(
        "From epoch {epoch} on the training accuracy lies above that on validation ({train} against {validation} at "
        "the end), while validation gets no better: overfitting begins.",
        **values,
    )


def _level_clause(course: LossCourse) -> str:
    """Why the validation loss is not said to rise."""
    values = {"epoch": course.lowest_epoch, "lowest": decimal(course.lowest), "end": decimal(course.end)}
    match course.reason:
        case "ends lowest":
            return tr(
                "the validation loss is lowest in epoch {epoch} with {lowest}, which is one of the last two", **values
            )
        case "came back":
            return tr(
                "the validation loss, lowest in epoch {epoch} with {lowest}, rises but comes back close to that",
                **values,
            )
        case "single":
            return tr(
                "the validation loss, lowest in epoch {epoch} with {lowest}, ends at {end}, but it was so low in that "
                "epoch alone, not in those beside it",
                **values,
            )
        case _ if course.end - course.lowest <= _SMALLEST_RISE * abs(course.lowest):
            return tr("the validation loss ends at its lowest or close to it")
        case _:
            return tr(
                "the validation loss, lowest in epoch {epoch} with {lowest}, ends at {end}, no further above than its "
                "ups and downs can explain",
                **values,
            )
