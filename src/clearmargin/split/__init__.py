"""Who goes where: groups that stay together, divided so that every class keeps its proportion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from clearmargin.audit.nouns import IMAGES, ROWS, Nouns
from clearmargin.errors import RecipeError, SourceError
from clearmargin.records import PARTS, Sample, Split
from clearmargin.split.allotment import allot
from clearmargin.split.groups import check_split, column, crossing_groups, first_few, groups_in_two_parts, name_groups
from clearmargin.split.stored import read_split, require_same_split, write_split
from clearmargin.split.strata import QUANTILE_STRATA, partition, quantile_strata

__all__ = ["check_split", "crossing_groups", "make_split", "read_split", "require_same_split", "write_split"]


def make_split(
    samples: Sequence[Sample],
    copies: np.ndarray,
    *,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    use_given: bool = False,
    accept_leaks: bool = False,
) -> Split:
    """Divide samples among train, validation and test by groups, each class in proportion.

    The outcome depends on the seed, the names, labels and groups, and not on the order of the samples.
    How the lot is drawn, and what it favours, is written in `clearmargin.split.allotment`. Of a regression, quantiles
    of the target take the place of classes, quartiles where there are rows enough; where no rows belong together, each
    gives the numbers that caret's ``createDataPartition`` gives (`clearmargin.split.strata`).

    Parameters
    ----------
    samples
        With class names, or the numbers of a regression, for labels; a sample without a patient is a group of its
        own.
    copies
        Integers of shape (samples,): samples with the same number stay together, and so do their patients.
    fractions
        Of train, validation and test: positive, summing to one.
    use_given
        Keep the parts of the source; a missing validation part is cut from train.
    accept_leaks
        With ``use_given``: allow groups in more than one part; `crossing_groups` counts them.

    Raises
    ------
    RecipeError
        When the fractions are not three positive numbers that sum to one.
    SourceError
        When there is a single class, a class with too few groups, too few rows for the fractions, or the given parts
        are incomplete or leak.
    """
    asked = _checked_fractions(fractions)
    numeric = bool(samples) and not any(isinstance(sample.label, str) for sample in samples)
    classes = [] if numeric else _checked_classes(samples)
    names = column([sample.name for sample in samples])
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise SourceError(f"Names must be unique, but {first_few(twice)} occur more than once. Rename these samples.")
    groups = name_groups(samples, copies)
    labels = column([sample.label for sample in samples])
    rng = np.random.default_rng(seed)
    cut = False
    if use_given:
        parts = _given_parts(samples, groups, accept_leaks, ROWS if numeric else IMAGES)
        cut = not (parts == "validation").any()
        if cut:
            parts = _cut_validation(parts, labels, groups, asked, rng, numeric)
        _check_given_classes(parts, labels, classes)
    else:
        parts = _new_parts(labels, groups, asked, PARTS, rng, numeric)
    patients = all(sample.group is not None for sample in samples)
    split = Split(names, labels, groups, parts, asked, patients, given=use_given, validation_cut=cut)
    check_split(split, crossing_accepted=crossing_groups(split) if use_given and accept_leaks else 0)
    return split


# --- what is given ------------------------------------------------------------------------------------------


def _checked_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    given = tuple(float(fraction) for fraction in fractions)
    if len(given) != 3 or not all(0 < fraction < 1 for fraction in given) or abs(sum(given) - 1) > 1e-6:
        raise RecipeError(
            "The 'fractions' setting must be three positive numbers that sum to 1 (train, validation, test), "
            f"got {list(given)}, which sum to {sum(given):g} ([split])."
        )
    return given[0], given[1], given[2]


def _checked_classes(samples: Sequence[Sample]) -> list[str]:
    numbers = [sample for sample in samples if not isinstance(sample.label, str)]
    if numbers:
        raise SourceError(
            f"A classification needs class names for labels, but {numbers[0].name!r} has {numbers[0].label!r}."
        )
    classes = sorted({str(sample.label) for sample in samples})
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no samples at all"
        raise SourceError(
            f"A classification needs at least two classes, found {found}. "
            "Put the images of each class into a folder of its own."
        )
    return classes


# --- new parts ----------------------------------------------------------------------------------------------


def _new_parts(
    labels: np.ndarray,
    groups: np.ndarray,
    fractions: Sequence[float],
    parts: Sequence[str],
    rng: np.random.Generator,
    numeric: bool,
) -> np.ndarray:
    """Draw a part for every sample, group by group: object array of shape (samples,)."""
    if numeric:
        return _parts_by_number(labels.astype(float), groups, fractions, parts, rng)
    group_of, counts = _counted(groups, labels)
    independent = np.bincount(counts.indices, minlength=counts.shape[1])
    scarce = np.flatnonzero(independent < len(parts))
    if len(scarce):
        classes = np.unique(labels)
        raise SourceError(_too_few(classes[scarce], independent[scarce], counts.sum(axis=0)[scarce], parts))
    return column(np.array(parts, dtype=object)[allot(counts, fractions, rng)[group_of]])


def _counted(groups: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """Number of each sample's group, and samples of each class in each group: (groups, classes)."""
    group_of, group_names = pd.factorize(groups, sort=True)
    class_of, names = pd.factorize(classes, sort=True)
    counts = csr_array((np.ones(len(groups), np.int64), (group_of, class_of)), shape=(len(group_names), len(names)))
    counts.sum_duplicates()
    return group_of, counts


def _parts_by_number(
    targets: np.ndarray, groups: np.ndarray, fractions: Sequence[float], parts: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """Divide within the quartiles of the target; within fewer quantiles where those are too small to be divided."""
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
    group_of, counts = _counted(groups, strata)
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


def _too_few(classes: Iterable[str], independent: Iterable[int], images: Iterable[int], parts: Sequence[str]) -> str:
    told = [
        f"{name!r} has {groups:,} (from {number:,} image{'' if number == 1 else 's'})"
        for name, groups, number in zip(classes, independent, images, strict=True)
    ]
    return (
        f"Every class needs at least {len(parts)} independent groups, one each for {', '.join(parts)}: "
        f"{'; '.join(told)}. A patient with all images, and identical images, count as one group. "
        "Add images of other patients, merge the class with another one, or remove it."
    )


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


# --- given parts --------------------------------------------------------------------------------------------


def _given_parts(samples: Sequence[Sample], groups: np.ndarray, accept_leaks: bool, nouns: Nouns) -> np.ndarray:
    """The source's own parts, once it is sure that they are complete and do not leak."""
    without = [sample.name for sample in samples if sample.part is None]
    if without:
        raise SourceError(
            f"use_given = true needs a part for every sample, but {len(without):,} of {len(samples):,} have none: "
            f"{first_few(without)}. {nouns.give_parts}, or set use_given = false."
        )
    parts = column([sample.part for sample in samples])
    for part in ("train", "test"):
        if part not in set(parts):
            raise SourceError(
                f"use_given = true needs a {part} part, but the data have only {first_few(sorted(set(parts)))}. "
                f"{nouns.give_part.format(part)}, or set use_given = false to have the data split anew."
            )
    crossing = groups_in_two_parts(groups, parts)
    if crossing and not accept_leaks:
        leaking = int(np.isin(groups, np.array(crossing, dtype=object)).sum())
        raise SourceError(
            f"The given parts leak. Groups ({nouns.group}, or {nouns.copies}) in more than one part: "
            f"{len(crossing):,}, with {leaking:,} {nouns.sample}s: {first_few(crossing)}. Set use_given = false to "
            "have the data split anew, mend the parts, or set accept_leaks = true to go on and have the leak reported."
        )
    return parts


def _cut_validation(
    parts: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    asked: tuple[float, float, float],
    rng: np.random.Generator,
    numeric: bool,
) -> np.ndarray:
    """Cut a validation part from the given train part, by groups."""
    rows = np.flatnonzero(parts == "train")
    validation = asked[1] / (asked[0] + asked[1])
    cut = parts.copy()
    fractions = (1 - validation, validation)
    cut[rows] = _new_parts(labels[rows], groups[rows], fractions, ("train", "validation"), rng, numeric)
    return cut


def _check_given_classes(parts: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    lacking = [
        f"{name!r} has none in {part}" for part in PARTS for name in sorted(set(classes) - set(labels[parts == part]))
    ]
    if lacking:
        raise SourceError(
            f"Every class needs images in every given part, but {'; '.join(lacking)}. "
            "Add images, remove the class, or set use_given = false to have the data split anew."
        )
