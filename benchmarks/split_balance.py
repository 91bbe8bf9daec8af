"""How near splits come to what was asked, beside scikit-learn's: random groups and classes, and the time.

    python benchmarks/split_balance.py [--structures 200] [--seed 0]

Deviations: of a part's share of all images from the asked one, largest part, in points; and of each class in each part
from its target, root mean square, relative to the target. ``StratifiedGroupKFold`` gives 8:1:1 by ten folds, one of
them the test part and one validation; ``GroupShuffleSplit`` knows no classes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from clearmargin.allotment import allot, class_totals
from clearmargin.errors import SourceError
from clearmargin.fold_allotment import allot_folds
from clearmargin.records import Sample
from clearmargin.split import make_folds, make_split

FRACTIONS = np.array([0.8, 0.1, 0.1])
KINDS = ("single images", "one class a patient", "several classes", "skewed sizes", "many classes")
Draw = Callable[[np.ndarray, int], np.ndarray]


def structure(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Images of each class in each group: int64 of shape (groups, classes)."""
    classes = int(rng.integers(20, 60)) if kind == "many classes" else int(rng.integers(2, 8))
    groups = int(rng.integers(40, 400)) * (5 if kind == "many classes" else 1)
    if kind in ("several classes", "skewed sizes"):
        size = rng.lognormal(1, 1.3, groups) if kind == "skewed sizes" else rng.gamma(1, 6, groups)
        table = rng.poisson(size[:, None] * rng.dirichlet(np.full(classes, 0.5), groups))
        table[table.sum(axis=1) == 0, 0] = 1
    else:
        table = np.zeros((groups, classes), dtype=np.int64)
        frequent = rng.choice(classes, groups, p=rng.dirichlet(np.full(classes, 4.0)))
        table[np.arange(groups), frequent] = 1 if kind == "single images" else rng.integers(1, 30, groups)
    table = table[:, (table > 0).sum(axis=0) >= 10]
    return table[table.sum(axis=1) > 0]


def listed(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group and class of every image."""
    groups, classes = table.shape
    return (
        np.repeat(np.repeat(np.arange(groups), classes), table.ravel()),
        np.repeat(np.tile(np.arange(classes), groups), table.ravel()),
    )


def our_split(table: np.ndarray, seed: int) -> np.ndarray:
    return allot(csr_array(table), FRACTIONS, np.random.default_rng(seed))


def our_folds(table: np.ndarray, seed: int) -> np.ndarray:
    """Ten folds of which two are taken, as from scikit-learn."""
    return np.maximum(0, allot_folds(csr_array(table), 10, np.random.default_rng(seed)) - 7)


def scikit_folds(table: np.ndarray, seed: int) -> np.ndarray:
    group_of, class_of = listed(table)
    part = np.zeros(len(table), dtype=np.int64)
    cut = StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(class_of, class_of, group_of)
    for number, (_, tested) in zip((1, 2), cut, strict=False):
        part[group_of[tested]] = number
    return part


def scikit_shuffle(table: np.ndarray, seed: int) -> np.ndarray:
    group_of, _ = listed(table)
    part = np.zeros(len(table), dtype=np.int64)
    rest, test = next(GroupShuffleSplit(1, test_size=0.1, random_state=seed).split(group_of, groups=group_of))
    _, validation = next(GroupShuffleSplit(1, test_size=1 / 9, random_state=seed).split(rest, groups=group_of[rest]))
    part[group_of[test]], part[group_of[rest[validation]]] = 2, 1
    return part


WAYS: dict[str, Draw] = {
    "clearmargin, 8:1:1": our_split,
    "clearmargin, 2 of 10 folds": our_folds,
    "StratifiedGroupKFold, 2 of 10": scikit_folds,
    "GroupShuffleSplit": scikit_shuffle,
}


def deviations(table: np.ndarray, part: np.ndarray) -> tuple[float, float, float]:
    """Points a part's share is off; relative deviation of the classes; classes missing from a part."""
    held = class_totals(csr_array(table), part, 3)
    asked = FRACTIONS[:, None] * table.sum(axis=0)
    share = np.abs(held.sum(axis=1) / table.sum() - FRACTIONS).max()
    return 100 * float(share), float(np.sqrt((((held - asked) / asked) ** 2).mean())), float((held == 0).sum())


def fold_deviation(table: np.ndarray, fold: np.ndarray, folds: int) -> float:
    held, asked = class_totals(csr_array(table), fold, folds), table.sum(axis=0) / folds
    return float(np.sqrt((((held - asked) / asked) ** 2).mean()))


def compare_splits(structures: int, seed: int) -> None:
    print("| structure | way | share off, points | classes off | classes missing | s |\n|---|---|---|---|---|---|")
    for number, kind in enumerate(KINDS):
        tables = [structure(kind, np.random.default_rng([seed, number, i])) for i in range(structures)]
        for way, draw in WAYS.items():
            start, found = time.perf_counter(), []
            for i, table in enumerate(tables):
                try:
                    found.append(deviations(table, draw(table, i)))
                except SourceError as error:
                    print(f"{kind}, {way}: {error}")
            share, classes, missing = np.mean(found, axis=0)
            seconds = (time.perf_counter() - start) / len(tables)
            print(f"| {kind} | {way} | {share:.2f} | {classes:.3f} | {missing:.2f} | {seconds:.3f} |", flush=True)


def compare_folds(structures: int, seed: int) -> None:
    print("\n| folds | structures | clearmargin | StratifiedGroupKFold | ours as even or more |\n|---|---|---|---|---|")
    for folds in (3, 5, 10):
        ours, theirs = [], []
        for i in range(structures):
            kind = KINDS[i % len(KINDS)]
            table = structure(kind, np.random.default_rng([seed, folds, i]))
            ours.append(fold_deviation(table, allot_folds(csr_array(table), folds, np.random.default_rng(i)), folds))
            group_of, class_of = listed(table)
            fold = np.empty(len(table), dtype=np.int64)
            cut = StratifiedGroupKFold(folds, shuffle=True, random_state=i).split(class_of, class_of, group_of)
            for number, (_, tested) in enumerate(cut):
                fold[group_of[tested]] = number
            theirs.append(fold_deviation(table, fold, folds))
        better = np.mean(np.array(ours) <= np.array(theirs) + 1e-12)
        print(f"| {folds} | {structures} | {np.mean(ours):.3f} | {np.mean(theirs):.3f} | {better:.0%} |", flush=True)


def time_large(images: int) -> None:
    rng = np.random.default_rng(0)
    for what, patients in (("no patients", None), ("13 images a patient", images // 13)):
        groups = None if patients is None else rng.integers(patients, size=images)
        samples = [
            Sample(f"{i:07}.png", f"class {i % 4}", None if groups is None else f"P{groups[i]}") for i in range(images)
        ]
        copies = np.arange(images)
        start = time.perf_counter()
        make_split(samples, copies)
        middle = time.perf_counter()
        make_folds(samples, copies, folds=10)
        print(f"{images:,} images, {what}: split {middle - start:.1f} s, 10 folds {time.perf_counter() - middle:.1f} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    compare_splits(asked.structures, asked.seed)
    compare_folds(asked.structures, asked.seed)
    print()
    time_large(100_000)
