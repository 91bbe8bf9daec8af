"""New parts for samples, drawn by lot: class by class, or quantile by quantile of a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from clearmargin.allotment import allot, counted
from clearmargin.errors import SourceError
from clearmargin.fold_allotment import allot_folds
from clearmargin.split.groups import column
from clearmargin.split.strata import QUANTILE_STRATA, partition, quantile_strata


@dataclass(frozen=True)
class Grouped:
    """What is to be divided.

    Attributes
    ----------
    labels, groups
        Object arrays of shape (samples,), aligned.
    numeric
        True when the labels are the targets of a regression.
    patients
        True when somebody said of any sample which patient it is of.
    """

    labels: np.ndarray
    groups: np.ndarray
    numeric: bool
    patients: bool

    def only(self, rows: np.ndarray) -> Grouped:
        """Some of the samples."""
        return Grouped(self.labels[rows], self.groups[rows], self.numeric, self.patients)


def new_parts(
    samples: Grouped, fractions: Sequence[float], parts: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Draw a part for every sample, group by group: object array of shape (samples,).

    Raises
    ------
    SourceError
        When a class has fewer groups than there are parts, or the rows do not suffice for the fractions.
    """
    if samples.numeric:
        return _parts_by_number(samples, fractions, parts, rng)
    group_of, counts = counted(samples.groups, samples.labels)
    _require_groups(samples, counts, len(parts), f"one each for {', '.join(parts)}")
    return column(np.array(parts, dtype=object)[allot(counts, fractions, rng)[group_of]])


def draw_folds(samples: Grouped, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a fold for every sample, group by group: int64 of shape (samples,), counted from 0.

    Raises
    ------
    SourceError
        When a class has fewer groups than there are folds, or there are fewer groups than folds.
    """
    # One of two folds must be divided into train and validation: both are made of two, each with every class.
    drawn = 4 if folds == 2 else folds
    return _drawn_folds(samples, drawn, f"for {folds} folds", rng) % folds


def _drawn_folds(samples: Grouped, folds: int, why: str, rng: np.random.Generator) -> np.ndarray:
    if not samples.numeric:
        group_of, counts = counted(samples.groups, samples.labels)
        _require_groups(samples, counts, folds, why)
        return allot_folds(counts, folds, rng)[group_of]
    targets = samples.labels.astype(float)
    for number in range(QUANTILE_STRATA, 0, -1):
        group_of, counts = counted(samples.groups, quantile_strata(targets, number))
        if np.bincount(counts.indices).min() >= folds:
            try:
                return allot_folds(counts, folds, rng)[group_of]
            except SourceError:  # the groups tie the strata together too closely
                continue
    raise SourceError(
        f"There must be at least {folds} independent groups {why}, but the {len(targets):,} rows form only "
        f"{len(set(samples.groups)):,}: rows that share a group, and rows with the same inputs, stay together. "
        "Take fewer folds, or add rows of other groups."
    )


def _require_groups(samples: Grouped, counts: csr_array, least: int, why: str) -> None:
    independent = np.bincount(counts.indices, minlength=counts.shape[1])
    scarce = np.flatnonzero(independent < least)
    if len(scarce):
        names, images = np.unique(samples.labels)[scarce], counts.sum(axis=0)[scarce]
        raise SourceError(_too_few(names, independent[scarce], images, least, why, samples.patients))


def _too_few(
    classes: Iterable[str], independent: Iterable[int], images: Iterable[int], least: int, why: str, patients: bool
) -> str:
    told = [
        f"{name!r} has {groups:,} (from {number:,} image{'' if number == 1 else 's'})"
        for name, groups, number in zip(classes, independent, images, strict=True)
    ]
    together = "All images of one patient or group, and copies of an image," if patients else "All copies of an image"
    others = "images of other patients or groups" if patients else "images that are no copies"
    return (
        f"Every class needs at least {least} independent groups, {why}: {'; '.join(told)}. "
        f"{together} count as one group. Add {others}, merge the class with another one, or remove it."
    )


# --- numbers ------------------------------------------------------------------------------------------------


def _parts_by_number(
    samples: Grouped, fractions: Sequence[float], parts: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Divide within the quartiles of the target; within fewer quantiles where those are too small to be divided."""
    targets, groups = samples.labels.astype(float), samples.groups
    for number in range(QUANTILE_STRATA, 0, -1):
        drawn = _parts_by_strata(quantile_strata(targets, number), groups, fractions, parts, rng)
        if drawn is not None and set(drawn) == set(parts):
            return drawn
    raise SourceError(_too_few_rows(len(targets), len(set(groups)), fractions, parts))


def _parts_by_strata(
    strata: np.ndarray, groups: np.ndarray, fractions: Sequence[float], parts: Sequence[str], rng: np.random.Generator
) -> np.ndarray | None:
    """Parts of rows that are stratified so, or None when that gives no proportion."""
    if len(set(groups)) == len(groups):
        return _partitioned(strata, groups, fractions, parts, rng)
    group_of, counts = counted(groups, strata)
    several, rows = counts.shape[1] > 1, counts.sum(axis=0)
    too_small = several and rows.min() * min(fractions) < 1  # in every part it would be there too often
    if too_small or np.bincount(counts.indices, minlength=counts.shape[1]).min() < len(parts):
        return None
    try:
        return column(np.array(parts, dtype=object)[allot(counts, fractions, rng)[group_of]])
    except SourceError:  # the groups tie the strata together too closely
        return None


def _partitioned(
    strata: np.ndarray, names: np.ndarray, fractions: Sequence[float], parts: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Cut the last part off first, as ``createDataPartition`` would, then the one before it from what is left."""
    drawn = np.empty(len(strata), dtype=object)
    left = np.argsort(names.astype(str), kind="stable")  # the order of the samples must not matter
    numbers = pd.factorize(strata, sort=True)[0]
    for place in range(len(parts) - 1, 0, -1):
        stays = partition(numbers[left], sum(fractions[:place]) / sum(fractions[: place + 1]), rng)
        drawn[left[~stays]] = parts[place]
        left = left[stays]
    drawn[left] = parts[0]
    return drawn


def _too_few_rows(rows: int, groups: int, fractions: Sequence[float], parts: Sequence[str]) -> str:
    if groups < len(parts):
        return (
            f"Every part ({', '.join(parts)}) needs rows, but all {rows:,} rows form only {groups:,} groups that must "
            "stay together: rows that share a group, and rows with the same inputs. Add rows of other groups, or "
            "inputs in which the rows differ; or group by another column ([split] group_by)."
        )
    smallest = math.ceil(1000 / rows) / 1000
    return (
        f"Too few rows for these fractions: of {rows:,} rows, {list(fractions)} for {', '.join(parts)} leave a part "
        f"empty. Give every part a fraction of at least {smallest:g} ([split] fractions), or add rows."
    )
