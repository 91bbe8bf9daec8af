"""One classifier under several ways of splitting, each image tested once a seed under all of them.

What is compared must differ in nothing but in who is on which side. A large group leaves less to learn from when it is
tested as a whole: then the classifiers that test an image learn from equally many images of each class under every way
of splitting, drawn at random from those they may learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clearmargin.audit.folds import stratified_folds
from clearmargin.audit.linear_classifier import class_probabilities
from clearmargin.leakage.images import Images

# Numbers to learn from that differ by less are made one, the least; by more and more, until so few are left that a
# fold needs no more classifiers than that.
_ALIKE = (0.9, 0.8, 0.65, 0.5, 0.25, 0.0)
_MOST_AMOUNTS = 3


@dataclass(frozen=True)
class Answers:
    """Each image's share of right answers, of tests with a copy in training, and of both: float64 (images,)."""

    right: np.ndarray
    with_copy: np.ndarray
    right_with_copy: np.ndarray


@dataclass(frozen=True)
class Lesson:
    """A classifier to be: of which way and seed, the rows it learns from and those it is tested on."""

    way: str
    seed: int
    learned: np.ndarray
    told: np.ndarray


def ways_of_splitting(images: Images) -> dict[str, np.ndarray]:
    """What is kept together, int64 (images,), by the name of the split; only those that differ."""
    ways = {"random": np.arange(len(images.truth))}
    if images.n_units < images.n_copies < len(images.truth):
        ways["copies together"] = images.copies
    if images.clustered:
        ways["leak-free"] = images.units
    return ways


def lessons(images: Images, ways: Mapping[str, np.ndarray], seeds: Sequence[int]) -> list[Lesson]:
    """All classifiers of the cross-validations."""
    made = []
    for seed in seeds:
        folds = {
            way: stratified_folds(images.truth, together, images.folds, np.random.default_rng([seed, 0]))
            for way, together in ways.items()
        }
        amount, amounts = _amounts(images.truth, len(images.classes), list(folds.values()))
        rng = np.random.default_rng([seed, 5])
        for way, fold_of in folds.items():
            for fold, number in np.unique(np.column_stack([fold_of, amount]), axis=0):
                learned = _drawn(np.flatnonzero(fold_of != fold), images.truth, amounts[number], rng)
                told = np.flatnonzero((fold_of == fold) & (amount == number))
                made.append(Lesson(way, seed, learned, told))
    return made


def _amounts(truth: np.ndarray, n_classes: int, ways: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How many images of each class may be learned from to test an image, under every way of splitting.

    Returns
    -------
    int64 (images,), and int64 (amounts, classes) to which it points.
    """
    least = np.full((len(truth), n_classes), len(truth))
    for fold_of in ways:
        tested = np.zeros((int(fold_of.max()) + 1, n_classes), np.int64)
        np.add.at(tested, (fold_of, truth), 1)
        least = np.minimum(least, (tested.sum(axis=0) - tested)[fold_of])
    found, kind = np.unique(least, axis=0, return_inverse=True)
    number = next(each for alike in _ALIKE if (each := _joined(found, alike)).max() < _MOST_AMOUNTS)
    return number[kind.ravel()], np.stack([found[number == each].min(axis=0) for each in range(number.max() + 1)])


def _joined(amounts: np.ndarray, alike: float) -> np.ndarray:
    """Number the amounts so that those that share a number are not below this share of the largest in any class."""
    largest: list[np.ndarray] = []
    number = np.empty(len(amounts), np.int64)
    for row in np.argsort(-amounts.sum(axis=1), kind="stable"):
        near = (place for place, amount in enumerate(largest) if (amounts[row] >= alike * amount).all())
        number[row] = next(near, len(largest))
        if number[row] == len(largest):
            largest.append(amounts[row])
    return number


def _drawn(rows: np.ndarray, truth: np.ndarray, amount: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """So many of the rows of each class."""
    mixed = rng.permutation(rows)
    return np.sort(np.concatenate([mixed[truth[mixed] == k][:many] for k, many in enumerate(amount)]))


def answers(images: Images, planned: Sequence[Lesson], step: Callable[[], None]) -> dict[str, Answers]:
    """What the classifiers answer, by the way of splitting."""
    counted = {lesson.way: np.zeros((3, len(images.truth))) for lesson in planned}
    for lesson in planned:
        right, copied = tested(images, lesson.learned, lesson.told)
        counted[lesson.way][:, lesson.told] += [right, copied, right & copied]
        step()
    seeds = len({lesson.seed for lesson in planned})
    return {way: Answers(*(counts / seeds)) for way, counts in counted.items()}


def tested(images: Images, learned: np.ndarray, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the answers on ``told`` are right, and which of these have a copy among ``learned``: bool (told,)."""
    known = images.features[learned], images.truth[learned]
    said = class_probabilities(*known, images.features[told], len(images.classes)).argmax(axis=1)
    return said == images.truth[told], np.isin(images.copies[told], images.copies[learned])
