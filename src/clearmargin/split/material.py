"""What a split is made of: samples that can be divided at all, with the groups that stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearmargin.errors import RecipeError, SourceError
from clearmargin.records import Sample, Split
from clearmargin.split.drawing import Grouped
from clearmargin.split.groups import column, first_few, name_groups


@dataclass(frozen=True)
class Material:
    """Samples with their groups, ready to be divided.

    Attributes
    ----------
    names
        Object array of shape (samples,).
    grouped
        Labels and groups, aligned with the names.
    classes
        Sorted; none of a regression.
    patients
        True when every sample has a patient.
    """

    names: np.ndarray
    grouped: Grouped
    classes: tuple[str, ...]
    patients: bool

    def split(self, parts: np.ndarray, asked: tuple[float, float, float], **further: Any) -> Split:
        """These samples in these parts."""
        return Split(self.names, self.grouped.labels, self.grouped.groups, parts, asked, self.patients, **further)


def material_of(samples: Sequence[Sample], copies: np.ndarray) -> Material:
    """Check that samples can be divided, and find out what stays together.

    Raises
    ------
    SourceError
        When there is a single class, mixed labels, or a name occurs twice.
    """
    numeric = bool(samples) and not any(isinstance(sample.label, str) for sample in samples)
    classes = () if numeric else _checked_classes(samples)
    names = column([sample.name for sample in samples])
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise SourceError(f"Names must be unique, but {first_few(twice)} occur more than once. Rename these samples.")
    labels = column([sample.label for sample in samples])
    known = [sample.group is not None for sample in samples]
    grouped = Grouped(labels, name_groups(samples, copies), numeric, any(known))
    return Material(names, grouped, classes, all(known))


def checked_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Three positive fractions that sum to one.

    Raises
    ------
    RecipeError
        When they are not.
    """
    given = tuple(float(fraction) for fraction in fractions)
    if len(given) != 3 or not all(0 < fraction < 1 for fraction in given) or abs(sum(given) - 1) > 1e-6:
        raise RecipeError(
            "The 'fractions' setting must be three positive numbers that sum to 1 (train, validation, test), "
            f"got {list(given)}, which sum to {sum(given):g} ([split])."
        )
    return given[0], given[1], given[2]


def _checked_classes(samples: Sequence[Sample]) -> tuple[str, ...]:
    numbers = [sample for sample in samples if not isinstance(sample.label, str)]
    if numbers:
        raise SourceError(
            f"A classification needs class names for labels, but {numbers[0].name!r} has {numbers[0].label!r}."
        )
    classes = tuple(sorted({str(sample.label) for sample in samples}))
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no samples at all"
        raise SourceError(
            f"A classification needs at least two classes, found {found}. "
            "Put the images of each class into a folder of its own."
        )
    return classes
