"""Which contender is better, or that they can't be told apart: every pair, by one rule.

The rule, fixed before any result is seen. Of two contenders the one with the higher balanced accuracy is
called better when all of this holds, with level = 1 − confidence (0.05):

1. The interval of the difference of balanced accuracies lies above 0: Student's, class by class
   (`clearmargin.evaluation.class_means.balanced_difference`).
2. The larger p-value of two paired tests of balanced accuracy, adjusted for all pairs by Holm, is below the level: the
   test that goes with this interval, and one in which signs of what each group (each sample, where samples are
   independent) adds to the difference are flipped, every class with the same weight in all.
3. Where samples are independent, McNemar's mid-p, a test of accuracy, is below the level too, adjusted by its own
   Holm. When samples cluster in groups (slices of a patient), it stands beside them without a say.
4. The other one does not get more samples right.

Why two tests of balanced accuracy: flipped signs are exact for few groups when the contenders are interchangeable, but
know no variance of a class of few samples that is answered rightly throughout; Student's test does, and is not exact.
McNemar's test can't stand in for either: it counts samples, so that a large class decides it. Where they disagree there
is no winner. How often a winner is named without a true difference: docs/validity.md, row 11.

Differences of AUC, Brier score and log loss stand beside it, each for its pair alone (the p of the AUC is adjusted for
no other pair) and without a say; so does the probability that the second gets at least as many right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.bootstrap import headline
from clearmargin.evaluation.class_means import balanced_difference
from clearmargin.evaluation.differences import auc_difference, difference_figure
from clearmargin.evaluation.intervals import FEW_GROUPS, counted
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.evaluation.paired import (
    ROUNDING,
    holm,
    level,
    mcnemar_exact,
    mcnemar_mid_p,
    most_draws,
    resampled_at_least_as_good,
    second_at_least_as_good,
    sign_flip_p,
)
from clearmargin.evaluation.sample_size import n_to_see
from clearmargin.evaluation.verdict import sentence

COMPARED = ("accuracy", "auc", "brier", "log_loss")


@dataclass(frozen=True)
class Pair:
    """Two contenders side by side; ``first`` has the higher balanced accuracy (or came first).

    Attributes
    ----------
    first_right, second_right
        bool of shape (samples,).
    difference, accuracy_difference
        First minus second: ``value``, ``low``, ``high`` as shares (not points; None for a single group), ``method``.
    class_p
        Of Student's test that goes with the interval of ``difference``.
    further
        What stands beside them in the record, without a say: differences of AUC, Brier score and log loss, and how
        many samples would see a difference of 2 points.
    second_as_good
        How probable it is that the second gets at least as many right; None for a single group.
    """

    first: str
    second: str
    first_right: np.ndarray
    second_right: np.ndarray
    difference: dict[str, Any]
    class_p: float
    accuracy_difference: dict[str, Any]
    further: dict[str, Any]
    second_as_good: float | None

    @property
    def only_first_right(self) -> int:
        return int((self.first_right & ~self.second_right).sum())

    @property
    def only_second_right(self) -> int:
        return int((self.second_right & ~self.first_right).sum())


def compare(
    aligned: AlignedPredictions,
    resampled: Mapping[str, dict[str, np.ndarray]],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compare every pair of contenders by the rule of this module.

    Parameters
    ----------
    aligned
        What the contenders say about the same samples.
    resampled
        What `bootstrap` makes of it.
    confidence
        Of the intervals; one minus it is the level of the tests.

    Returns
    -------
    For each pair a record ready for JSON.
    """
    values = {name: headline(aligned.truth, table) for name, table in aligned.probabilities.items()}
    pairs = [_pair(aligned, values, resampled, *names, confidence) for names in combinations(values, 2)]
    flips = len(next(iter(resampled.values()))["accuracy"])
    most = most_draws(flips, len(pairs), level(confidence))
    flip_p = [_flip_p(aligned, pair, flips, most, seed) for pair in pairs]
    p_holm = holm([max(p, pair.class_p) for p, pair in zip(flip_p, pairs, strict=True)])
    by_accuracy = holm([mcnemar_mid_p(pair.only_first_right, pair.only_second_right) for pair in pairs])
    tests = zip(flip_p, p_holm, by_accuracy, strict=True)
    return [_record(aligned, pair, test, confidence) for pair, test in zip(pairs, tests, strict=True)]


def _pair(
    aligned: AlignedPredictions,
    values: Mapping[str, Mapping[str, float]],
    resampled: Mapping[str, dict[str, np.ndarray]],
    one: str,
    other: str,
    confidence: float,
) -> Pair:
    lead = values[other]["balanced_accuracy"] - values[one]["balanced_accuracy"]
    first, second = (other, one) if lead > ROUNDING else (one, other)
    apart = {metric: _without_rounding(resampled[first][metric] - resampled[second][metric]) for metric in COMPARED}
    lead_of = {metric: float(_without_rounding(values[first][metric] - values[second][metric])) for metric in COMPARED}
    figures = {
        metric: difference_figure(lead_of[metric], apart[metric], confidence, aligned)
        for metric in COMPARED
        if metric != "auc"
    }
    right = {name: predicted_index(aligned.probabilities[name]) == aligned.truth for name in (first, second)}
    difference, class_p = balanced_difference(
        right[first].astype(np.float64) - right[second], aligned.truth, aligned.units, confidence, aligned.clustered
    )
    difference["value"] = float(_without_rounding(difference["value"]))
    return Pair(
        first=first,
        second=second,
        first_right=right[first],
        second_right=right[second],
        difference=difference,
        class_p=class_p,
        accuracy_difference=figures["accuracy"],
        further={
            **auc_difference(aligned, (first, second), lead_of["auc"], apart["auc"], confidence),
            "brier_difference": figures["brier"],
            "log_loss_difference": figures["log_loss"],
            "n_to_see_2_points": n_to_see(
                int((right[first] & ~right[second]).sum()),
                int((right[second] & ~right[first]).sum()),
                len(aligned.truth),
                apart["accuracy"],
                aligned.clustered,
                confidence,
            ),
        },
        second_as_good=_second_as_good(aligned, right[first], right[second], apart["accuracy"]),
    )


def _second_as_good(
    aligned: AlignedPredictions, first: np.ndarray, second: np.ndarray, apart: np.ndarray
) -> float | None:
    """Counting discordant samples takes them for independent: groups are resampled instead."""
    if aligned.n_units == 1:
        return None
    if aligned.clustered:
        return resampled_at_least_as_good(apart)
    return second_at_least_as_good(int((first & ~second).sum()), int((second & ~first).sum()))


def _other_method(aligned: AlignedPredictions) -> str:
    if aligned.n_units == 1:
        return f"none: a single {'group' if aligned.clustered else 'image'}"
    if not aligned.clustered:
        return "Beta(b + 1, c + 1) below 1/2, a flat prior; b and c the images that only one got right"
    groups = counted(aligned.n_units, "group")
    few = f" (fewer than {FEW_GROUPS}: too small)" if aligned.n_units < FEW_GROUPS else ""
    return f"share of resamples of {groups} in which it gets at least as many right{few}"


def _without_rounding(differences: Any) -> np.ndarray:
    """Equal shares summed in another order differ in the last digit: that is no difference."""
    return np.where(np.abs(differences) < ROUNDING, 0.0, differences)


def _flip_p(aligned: AlignedPredictions, pair: Pair, flips: int, most: int, seed: int) -> float:
    """Of flipped signs; a group where samples are independent is one sample."""
    # Balanced accuracy is a weighted share of right answers: each class has the same weight in all.
    class_sizes = np.bincount(aligned.truth)
    weights = 1.0 / (class_sizes[aligned.truth] * np.count_nonzero(class_sizes))
    won = pair.first_right.astype(np.float64) - pair.second_right
    by_group = np.bincount(aligned.units, won * weights, minlength=aligned.n_units)
    return sign_flip_p(by_group, flips, seed, most)


def _record(
    aligned: AlignedPredictions, pair: Pair, tests: tuple[float, float, float], confidence: float
) -> dict[str, Any]:
    (flip_p, p_holm, mcnemar_holm), bar = tests, level(confidence)
    only_first, only_second = pair.only_first_right, pair.only_second_right
    clear = (pair.difference["low"] or 0) > 0 and p_holm < bar and (aligned.clustered or mcnemar_holm < bar)
    of = counted(aligned.n_units, "group" if aligned.clustered else "image")
    p_method = f"the larger p of two tests of balanced accuracy over {of}: flipped signs, and Student's t by class"
    if aligned.clustered:
        p_method += "; McNemar's test assumes independent samples"
    record = {
        "first": pair.first,
        "second": pair.second,
        "difference": pair.difference,
        "accuracy_difference": pair.accuracy_difference,
        **pair.further,
        "only_first_right": only_first,
        "only_second_right": only_second,
        "mcnemar_exact_p": mcnemar_exact(only_first, only_second),
        "mcnemar_mid_p": mcnemar_mid_p(only_first, only_second),
        "mcnemar_holm": mcnemar_holm,
        "p_other_at_least_as_good": pair.second_as_good,
        "other_method": _other_method(aligned),
        "flip_p": flip_p,
        "class_p": pair.class_p,
        "p_value": max(flip_p, pair.class_p),
        "p_method": p_method,
        "p_holm": p_holm,
        "distinguishable": clear and only_first >= only_second,
    }
    groups = aligned.n_units if aligned.clustered else None
    n_pairs = math.comb(len(aligned.probabilities), 2)
    return {**record, "sentence": sentence(record, len(aligned.truth), groups, n_pairs, confidence)}
