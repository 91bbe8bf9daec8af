"""Cross-validation by groups: every sample is tested exactly once, and nothing it is tied to is learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clearmargin.errors import RecipeError
from clearmargin.records import Sample, Split
from clearmargin.split.drawing import Grouped, draw_folds
from clearmargin.split.given import cut_validation
from clearmargin.split.groups import check_split
from clearmargin.split.material import Material, checked_fractions, material_of

MOST_FOLDS = 100
_VALIDATION = 1  # sets the seed of a fold's validation part apart from that of the folds


def make_folds(
    samples: Sequence[Sample],
    copies: np.ndarray,
    *,
    folds: int = 5,
    repeats: int = 1,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> list[Split]:
    """Divide samples into folds by groups, each class in proportion; a split for each fold of each repeat.

    In each repeat every sample is in the test part of exactly one split. A validation part is cut from the rest of
    each fold, by groups. The outcome depends on the seed, names, labels and groups, and not on the order of samples.

    Parameters
    ----------
    samples, copies
        As `make_split` takes them.
    folds
        From 2 to 100.
    repeats
        How often to draw folds: repeat r has the seed ``seed + r``.
    fractions
        The test fraction is not used, it is one over ``folds``; of the rest, validation gets its share against train.

    Returns
    -------
    ``folds`` splits of the first repeat, then of the second …

    Raises
    ------
    RecipeError
        When the fractions or numbers are none.
    SourceError
        When there is a single class, or a class has fewer groups than there are folds.
    """
    material = _foldable(samples, copies, folds, repeats)
    asked = checked_fractions(fractions)
    return [split for r in range(repeats) for split in _splits(material, folds, range(1, folds + 1), asked, seed + r)]


def make_fold(
    samples: Sequence[Sample],
    copies: np.ndarray,
    *,
    folds: int,
    fold: int,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> Split:
    """One of the splits of `make_folds`, the one that tests fold ``fold`` (counted from 1)."""
    material = _foldable(samples, copies, folds, 1)
    if not 1 <= fold <= folds:
        raise RecipeError(f"There is no fold {fold} of {folds}: expected 1 to {folds}.")
    return _splits(material, folds, [fold], checked_fractions(fractions), seed)[0]


def inner_folds(split: Split, *, folds: int = 5, seed: int = 0) -> list[Split]:
    """Divide all but the test part of a split into folds, for a choice that must not see the test part.

    Nested cross-validation is this, for each split of `make_folds`. The test part stays what it is; every other sample
    is in the validation part of exactly one of the splits, and its groups stay whole.

    Raises
    ------
    RecipeError
        When the number of folds is none.
    SourceError
        When the split leaks, or a class has fewer groups outside the test part than there are folds.
    """
    _check_numbers(folds, 1)
    check_split(replace(split, leaks_accepted=False))
    rows = np.flatnonzero(split.parts != "test")
    left = Grouped(split.labels[rows], split.groups[rows], split.numeric, split.patients)
    drawn = draw_folds(left, folds, np.random.default_rng(seed))
    test = split.asked[2]
    made = []
    for number in range(folds):
        parts = split.parts.copy()
        parts[rows] = np.where(drawn == number, "validation", "train").astype(object)
        asked = ((1 - test) * (1 - 1 / folds), (1 - test) / folds, test)
        made.append(replace(split, parts=parts, asked=asked, validation_cut=False))
    for one in made:
        check_split(one)
    return made


def _foldable(samples: Sequence[Sample], copies: np.ndarray, folds: int, repeats: int) -> Material:
    _check_numbers(folds, repeats)
    return material_of(samples, copies)


def _check_numbers(folds: int, repeats: int) -> None:
    if not 2 <= folds <= MOST_FOLDS:
        raise RecipeError(f"The 'folds' setting must be from 2 to {MOST_FOLDS}, got {folds} ([split]).")
    if repeats < 1:
        raise RecipeError(f"There must be at least 1 repeat, got {repeats}.")


def _splits(
    material: Material, folds: int, wanted: Sequence[int], fractions: tuple[float, float, float], seed: int
) -> list[Split]:
    drawn = draw_folds(material.grouped, folds, np.random.default_rng(seed))
    learned, test = 1 - 1 / folds, 1 / folds
    validation = fractions[1] / (fractions[0] + fractions[1])
    asked = (learned * (1 - validation), learned * validation, test)
    made = []
    for fold in wanted:
        parts = np.where(drawn == fold - 1, "test", "train").astype(object)
        rng = np.random.default_rng([seed, _VALIDATION, fold])
        parts = cut_validation(material.grouped, parts, asked, rng)
        split = material.split(parts, asked, folds=folds, fold=fold)
        check_split(split)
        made.append(split)
    return made
