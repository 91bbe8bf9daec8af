"""Contenders that speak about the same samples, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.errors import UsageError, WorkError
from clearmargin.evaluation.metrics import label_index
from clearmargin.records import Predictions

SUM_TOLERANCE = 1e-6
SAME_SPLIT = "Evaluate all contenders on the same split."


@dataclass(frozen=True)
class AlignedPredictions:
    """What all contenders say about one part, sample by sample.

    Attributes
    ----------
    classes
        Class names in the order of the columns.
    truth
        Position of the true class, int64 of shape (samples,).
    units
        Group of each sample as a number from 0, int64 of shape (samples,).
    n_units
        How many groups there are.
    probabilities
        float64 of shape (samples, classes) for each contender, in the order given.
    """

    classes: tuple[str, ...]
    truth: np.ndarray
    units: np.ndarray
    n_units: int
    probabilities: Mapping[str, np.ndarray]

    @property
    def clustered(self) -> bool:
        """True when any group holds more than one sample."""
        return self.n_units < len(self.truth)


def align(contenders: Mapping[str, Predictions]) -> AlignedPredictions:
    """Check that the contenders can be compared, and number labels and groups.

    Raises
    ------
    UsageError
        When there is no contender or no sample, when samples, labels, groups or classes differ between
        contenders, or when a label is none of the classes.
    WorkError
        When probabilities are not finite, negative, of the wrong shape or don't sum to one.
    """
    if not contenders:
        raise UsageError("There is no contender to evaluate: expected the predictions of at least one.")
    first_name, first = next(iter(contenders.items()))
    _check_classes(first.classes)
    if not len(first.names):
        raise UsageError("There is no sample to evaluate on: this part is empty. Give it a larger fraction.")
    for name, predictions in contenders.items():
        _check_same(first_name, first, name, predictions)
        _check_probabilities(name, predictions)
    units, n_units = numbered_groups(first.groups)
    return AlignedPredictions(
        classes=first.classes,
        truth=label_index(first.labels, first.classes),
        units=units,
        n_units=n_units,
        probabilities={
            name: np.asarray(predictions.probabilities, dtype=np.float64) for name, predictions in contenders.items()
        },
    )


def _check_classes(classes: tuple[str, ...]) -> None:
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice or not classes:
        found = f"{', '.join(map(repr, twice))} more than once" if twice else "no class"
        raise UsageError(f"The classes of the predictions must be different names, got {found}.")


def _check_same(first_name: str, first: Predictions, name: str, other: Predictions) -> None:
    if other.classes != first.classes:
        raise UsageError(
            f"The contenders {first_name!r} and {name!r} must have the same classes in the same order, got "
            f"{list(first.classes)} and {list(other.classes)}. {SAME_SPLIT}"
        )
    check_same_samples(first_name, first, name, other, ("names", "labels", "groups"))


def check_same_samples(first_name: str, first: Any, name: str, other: Any, columns: Sequence[str]) -> None:
    """Check that two contenders speak about the same samples, column by column.

    Raises
    ------
    UsageError
        Naming the first sample that differs.
    """
    pair = f"The contenders {first_name!r} and {name!r}"
    for column in columns:
        ours, theirs = getattr(first, column), getattr(other, column)
        if column == "groups":
            ours, theirs = _stated(ours), _stated(theirs)
        if len(ours) != len(theirs):
            raise UsageError(
                f"{pair} must speak about the same samples, got {len(ours)} and {len(theirs)} {column}. {SAME_SPLIT}"
            )
        differing = np.flatnonzero(ours != theirs)
        if differing.size:
            row = differing[0]
            raise UsageError(
                f"{pair} must speak about the same samples in the same order: their {column} differ in "
                f"{differing.size} row(s), first in row {row}: {ours[row]!r} and {theirs[row]!r}. {SAME_SPLIT}"
            )


def _stated(groups: Any) -> np.ndarray:
    """Groups as objects, None where nothing is stated: what is empty, and NaN or NA, which never equals itself."""
    cells = np.array(groups, dtype=object)
    cells[pd.isna(cells)] = None
    cells[[cell == "" for cell in cells.tolist()]] = None
    return cells


def _check_probabilities(name: str, predictions: Predictions) -> None:
    probabilities = predictions.probabilities
    expected = (len(predictions.names), len(predictions.classes))
    if probabilities.shape != expected:
        raise WorkError(
            f"The probabilities of {name!r} must have shape {expected} (samples, classes), got {probabilities.shape}."
        )
    in_range = np.isfinite(probabilities) & (probabilities >= 0)
    bad = np.flatnonzero(~in_range.all(axis=1))
    if bad.size:
        raise WorkError(
            f"The probabilities of {name!r} must be finite numbers from 0 to 1, got "
            f"{probabilities[bad[0]].tolist()} for {predictions.names[bad[0]]!r} ({bad.size} such sample(s)). "
            "The model may have diverged: train it again with a lower learning rate."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > SUM_TOLERANCE:
        raise WorkError(
            f"The probabilities of {name!r} must sum to one for each sample (to {SUM_TOLERANCE:g}), got "
            f"{sums[worst]:.9g} for {predictions.names[worst]!r}. Are they logits?"
        )


def numbered_groups(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the groups in order of appearance; a sample without one (None, empty, NaN) is a group of its own."""
    number: dict[object, int] = {}
    units = np.empty(len(groups), dtype=np.int64)
    for row, group in enumerate(_stated(groups)):
        # An empty cell says nothing: it must not tie all such samples together.
        key = ("alone", row) if group is None else ("group", group)
        units[row] = number.setdefault(key, len(number))
    return units, len(number)


def effective_groups(units: np.ndarray) -> float:
    """How many groups of one size tell as much as these: ``(Σ m)² / Σ m²`` over the sizes m of the groups.

    Kish, *Survey Sampling* (1965), section 11.7; for a mean over samples of which those of a group are all alike. As
    many as there are groups when all are of one size, fewer otherwise; 0 without samples.

    Parameters
    ----------
    units
        Group of each sample, int64 of shape (samples,).
    """
    sizes = np.bincount(units).astype(np.float64)
    return float(len(units) ** 2 / (sizes**2).sum()) if len(units) else 0.0
