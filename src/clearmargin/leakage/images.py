"""Which images are asked what leaks are worth: whole groups, of every class enough of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clearmargin.audit.folds import enough_groups
from clearmargin.errors import SourceError
from clearmargin.evaluation.alignment import numbered_groups
from clearmargin.features import Features
from clearmargin.records import Sample

FOLDS = 10
FEWEST_GROUPS = 5  # of a class
MOST_IMAGES = 6000


@dataclass(frozen=True)
class Images:
    """What is asked about.

    Attributes
    ----------
    truth
        Position of the class, int64 (images,).
    features
        float32 (images, features).
    copies, units
        int64 (images,), from 0 on: images with the same number are copies, or must stay together.
    parts
        The given parts, object (images,).
    """

    classes: tuple[str, ...]
    truth: np.ndarray
    features: np.ndarray
    copies: np.ndarray
    units: np.ndarray
    parts: np.ndarray

    @property
    def n_units(self) -> int:
        return int(self.units.max()) + 1

    @property
    def n_copies(self) -> int:
        """Images without their copies."""
        return int(self.copies.max()) + 1

    @property
    def clustered(self) -> bool:
        return self.n_units < len(self.truth)

    @property
    def effective_units(self) -> float:
        """How many groups of one size would say as much: (Σ n)² / Σ n², of the groups' sizes n."""
        return float(len(self.truth) ** 2 / (np.bincount(self.units).astype(float) ** 2).sum())

    @property
    def folds(self) -> int:
        """Ten, or as many as the class with the fewest groups has."""
        return min(FOLDS, int((_counts(self.truth, self.units) > 0).sum(axis=0).min()))


def chosen(
    samples: Sequence[Sample], copies: np.ndarray, groups: np.ndarray, features: Features, seed: int
) -> tuple[Images, list[str]]:
    """The images that are asked about, and sentences on those that are not.

    Raises
    ------
    SourceError
        When fewer than two classes have five groups.
    """
    labels = np.array([sample.label for sample in samples], dtype=str)
    units = numbered_groups(groups)[0]
    kept = np.flatnonzero(enough_groups(labels, units, FEWEST_GROUPS))
    _check_classes(labels[kept], "")
    notes = _left_out(labels, kept, "")
    if len(kept) > MOST_IMAGES:
        drawn = kept[_whole_groups(labels[kept], units[kept], np.random.default_rng([seed, 2]))]
        among = f" among {MOST_IMAGES:,} images"
        rows = drawn[enough_groups(labels[drawn], units[drawn], FEWEST_GROUPS)]
        _check_classes(labels[rows], f", drawn{among}")
        notes += _left_out(labels[kept], np.flatnonzero(np.isin(kept, rows)), among)
        notes.append(f"Measured on {len(rows):,} of {len(kept):,} images, drawn by whole groups.")
        kept = rows
    classes, truth = np.unique(labels[kept], return_inverse=True)
    units, alike = (np.unique(number[kept], return_inverse=True)[1] for number in (units, np.asarray(copies)))
    parts = np.array([sample.part for sample in samples], dtype=object)[kept]
    return Images(tuple(classes.tolist()), truth, features.values[kept], alike, units, parts), notes


def _check_classes(labels: np.ndarray, where: str) -> None:
    if len(np.unique(labels)) < 2:
        raise SourceError(
            f"The price of leakage needs at least two classes with {FEWEST_GROUPS} independent groups each (patients, "
            f"or images that are no copies of each other), and there are fewer{where}. Add images of other patients."
        )


def _left_out(labels: np.ndarray, kept: np.ndarray, where: str) -> list[str]:
    lacking = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
    if not lacking:
        return []
    return [f"Classes with fewer than {FEWEST_GROUPS} groups{where} are left out: {', '.join(map(repr, lacking))}."]


def _counts(truth: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Images of each group in each class, int64 (groups, classes)."""
    n_units, n_classes = int(units.max()) + 1, int(truth.max()) + 1
    return np.bincount(units * n_classes + truth, minlength=n_units * n_classes).reshape(n_units, n_classes)


def _whole_groups(labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of at most `MOST_IMAGES` images, in whole groups: `FOLDS` of every class first, then each in proportion.

    A group that does not fit any more is passed over.
    """
    truth, units = (np.unique(values, return_inverse=True)[1] for values in (labels, groups))
    counts = _counts(truth, units)
    lots = rng.permutation(len(counts))
    first = np.full(len(counts), FOLDS)  # the place of a group among those of one of its classes, or FOLDS
    share = np.empty(len(counts))
    commonest = counts.argmax(axis=1)
    for number in range(counts.shape[1]):
        for members, place in ((counts[:, number] > 0, first), (commonest == number, share)):
            rows = np.flatnonzero(members)
            rows = rows[np.argsort(lots[rows])]
            if place is first:
                first[rows[:FOLDS]] = np.minimum(first[rows[:FOLDS]], np.arange(len(rows[:FOLDS])))
            else:
                share[rows] = (np.arange(len(rows)) + 0.5) / max(len(rows), 1)
    left, taken = MOST_IMAGES, np.zeros(len(counts), dtype=bool)
    sizes = counts.sum(axis=1)
    for unit in np.lexsort((lots, share, first)):
        if sizes[unit] <= left:
            taken[unit] = True
            left -= sizes[unit]
    return np.flatnonzero(taken[units])
