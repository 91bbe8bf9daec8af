"""The control: labels that were dealt out anew among the groups leave nothing to be learned.

A classifier that does better than chance on them has recognised what it was tested on. All images of a group get one
label, whatever labels they have: then what belongs together is worth recognising.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy

from clearmargin.audit.folds import stratified_folds
from clearmargin.audit.linear_classifier import agreement_by_chance, out_of_fold
from clearmargin.leakage.images import Images

SHUFFLES = 5
CONTROL_CONFIDENCE = 0.99  # a clean split is to fail its control once in 200 reports, not once in 40


def shuffles(images: Images, seed: int) -> list[Images]:
    """The images with labels dealt out anew, some times over; none when so few groups can't be a control."""
    dealt = [_dealt_anew(images, np.random.default_rng([seed, 3, number])) for number in range(SHUFFLES)]
    return dealt if all(_two_classes(each) for each in dealt) else []


def _dealt_anew(images: Images, rng: np.random.Generator) -> Images:
    """The same images, with one label for all images of a group."""
    sizes = np.bincount(images.truth, minlength=len(images.classes))
    return replace(images, truth=deal_labels(images.units, sizes.astype(float), rng))


def deal_labels(units: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal out labels among groups, one for all images of a group.

    The large groups come first. A class is drawn in proportion to the images it still lacks: so class sizes are kept as
    well as the sizes of groups allow, and every class is as probable for a large group as for a small one.

    Parameters
    ----------
    units
        Group of each image, int64 (images,), from 0 on.
    sizes
        How many images each label is to have, float64 (labels,); they sum to the images.

    Returns
    -------
    numpy.ndarray
        Label of each image, int64 (images,).
    """
    members, lacking = np.bincount(units), sizes.copy()
    label = np.empty(len(members), np.int64)
    for unit in np.lexsort((rng.random(len(members)), -members)):
        share = np.maximum(lacking, 0)
        label[unit] = rng.choice(len(share), p=share / share.sum())
        lacking[label[unit]] -= members[unit]
    return label[units]


def _two_classes(images: Images) -> bool:
    """Whether two classes at least have a group to be learned from and another one to be tested."""
    groups = np.unique(np.column_stack([images.truth, images.units]), axis=0)[:, 0]
    return bool((np.bincount(groups) >= 2).sum() >= 2)


def random_label_control(shuffled: Sequence[Images], folds: int, step: Callable[[], None]) -> dict[str, Any] | None:
    """Accuracy on the shuffled labels, on leak-free splits and, where it differs, on random ones.

    Parameters
    ----------
    folds
        How many there are with the true labels.

    Returns
    -------
    None when there is no control: without shuffles, or with a classifier that gives all images one and the same answer.
    """
    if not shuffled:
        return None
    clean, told_apart = _at_chance(shuffled, folds, grouped=True, step=step)
    if not shuffled[0].clustered:
        return {**clean, "random": None} if told_apart else None
    random, told_apart_at_random = _at_chance(shuffled, folds, grouped=False, step=step)
    return {**clean, "random": random} if told_apart or told_apart_at_random else None


def _at_chance(
    shuffled: Sequence[Images], folds: int, *, grouped: bool, step: Callable[[], None]
) -> tuple[dict[str, Any], bool]:
    """Mean accuracy over the shuffles beside `agreement_by_chance`, and whether more than one answer was given.

    The interval is Student's, of accuracy minus chance over the shuffles, which are independent of each other.
    """
    accuracies, chances, several = [], [], False
    for number, images in enumerate(shuffled):
        together = images.units if grouped else np.arange(len(images.truth))
        fold_of = stratified_folds(images.truth, together, folds, np.random.default_rng([number, 4]))
        said = out_of_fold(images.features, images.truth, fold_of, len(images.classes), after_each=step).argmax(axis=1)
        accuracies.append(float((said == images.truth).mean()))
        chances.append(agreement_by_chance(images.truth, said))
        several |= len(np.unique(said)) > 1
    excess = np.array(accuracies) - np.array(chances)
    accuracy, chance = float(np.mean(accuracies)), float(np.mean(chances))
    tail = (1 - CONTROL_CONFIDENCE) / 2
    reach = float(scipy.stats.t.isf(tail, len(excess) - 1) * excess.std(ddof=1) / np.sqrt(len(excess)))
    figure = {
        "value": accuracy,
        "low": max(accuracy - reach, 0.0),
        "high": min(accuracy + reach, 1.0),
        "method": f"Student's t over {len(excess)} shuffles, {100 * CONTROL_CONFIDENCE:g} %",
    }
    holds = bool(accuracy - reach <= chance)
    return {"accuracy": figure, "chance": chance, "shuffles": len(excess), "holds": holds}, several
