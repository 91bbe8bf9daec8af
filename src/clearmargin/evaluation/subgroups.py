"""How contenders do on part of the samples: by sex, scanner, age or whatever the columns of a manifest say.

Of each value: accuracy and balanced accuracy with intervals, and the gap, accuracy there minus accuracy on all other
samples, with its interval and the test that it is zero, adjusted by Holm for all contenders, values and columns at
once: whoever looks for the largest gap looks at all of them. Two values that share all samples between them (a column
of two) are one test, counted once. The interval is Newcombe's, from those of the two accuracies; the test depends on
the samples:

independent
    Fisher's exact test.
in groups, each with one value (the sex of a patient)
    A permutation of whole groups.
in groups of several values (the scanner of a slice)
    Signs of what each group adds to the gap are flipped, where all accuracies are taken to be the common one (the score
    bootstrap of Kline & Santos, *Journal of Econometric Methods* 1 (2012) 23).

A value differs (``differs``) when the adjusted p is below the level and the interval leaves out 0: for a value of few
groups, tests that resample them find differences too often where the few are less alike, or of another size, than the
others (docs/validity.md, row 21).

Values of fewer than 10 samples or 5 groups are named without figures: they tell little, and much about single persons.
So are others from which such a small number would follow by subtraction of values of one column: within the column, or
from a value of another. Who publishes many columns that cut one another should look at sums of several values himself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.class_means import balanced_accuracy_figure
from clearmargin.evaluation.intervals import share_figure
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.evaluation.paired import ROUNDING, holm, level, most_draws, randomisation_p, sign_flip_p
from clearmargin.evaluation.subgroup_values import Value, column_values, without_differences

Columns = Mapping[str, Sequence[str | None]]


def subgroups(
    aligned: AlignedPredictions, columns: Columns, *, confidence: float, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Figures of every contender on every value of every column, ready for JSON.

    Parameters
    ----------
    columns
        For each column the text of each sample, None or empty where nothing is stated.

    Returns
    -------
    For each column ``column``, ``kind`` (``as given``, or ``tertiles`` of many numbers) and ``values``: each ``value``,
    ``n`` and ``groups`` (None when suppressed), ``suppressed``, and ``contenders`` (empty when suppressed), which hold
    the figures ``accuracy``, ``balanced_accuracy``, ``gap``, and ``p_value``, ``p_method``, ``p_holm``, ``differs``.
    """
    kinds, divided = {}, {}
    for column, cells in columns.items():
        kinds[column], divided[column] = column_values(cells, aligned.units)
    divided = without_differences(divided, aligned.units)
    shown = [
        value
        for values in divided.values()
        for value in values
        if not value.suppressed and value.n < len(aligned.truth)
    ]
    figures: dict[int, dict[str, Any]] = {id(value): {} for value in shown}
    predicted = {name: predicted_index(probabilities) for name, probabilities in aligned.probabilities.items()}
    tests = _tests(aligned, predicted, shown, resamples, seed, level(confidence))
    for name, answers in predicted.items():
        for value in shown:
            own = _figures(aligned, answers, value, confidence)
            test = tests[name, _division(value.member)]
            apart = own["gap"]["low"] is not None and not own["gap"]["low"] <= 0 <= own["gap"]["high"]
            figures[id(value)][name] = {**own, **test, "differs": apart and test["p_holm"] < level(confidence)}
    return [
        {
            "column": column,
            "kind": kinds[column],
            "values": [_told(value, figures.get(id(value), {})) for value in values],
        }
        for column, values in divided.items()
    ]


def _told(value: Value, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "value": value.name,
        "n": None if value.suppressed else value.n,
        "groups": None if value.suppressed else value.units,
        "suppressed": value.suppressed,
        "contenders": figures,
    }


def _figures(aligned: AlignedPredictions, predicted: np.ndarray, value: Value, confidence: float) -> dict[str, Any]:
    right, member = predicted == aligned.truth, value.member
    inside, outside = (
        share_figure(right[rows], aligned.units[rows], confidence, aligned.clustered) for rows in (member, ~member)
    )
    return {
        "accuracy": inside,
        "balanced_accuracy": balanced_accuracy_figure(
            right[member], aligned.truth[member], aligned.units[member], confidence, aligned.clustered
        ),
        "gap": newcombe(inside, outside),
    }


def _tests(
    aligned: AlignedPredictions,
    predicted: Mapping[str, np.ndarray],
    values: list[Value],
    draws: int,
    seed: int,
    bar: float,
) -> dict[tuple[str, bytes], dict[str, Any]]:
    """``p_value``, ``p_method`` and ``p_holm`` by contender and division, all of them one family."""
    divisions: dict[bytes, np.ndarray] = {}
    for value in values:
        divisions.setdefault(_division(value.member), value.member)
    most = most_draws(draws, len(predicted) * len(divisions), bar)
    found = {
        (name, division): _gap_p(aligned, answers == aligned.truth, member, (draws, most), seed)
        for name, answers in predicted.items()
        for division, member in divisions.items()
    }
    adjusted = holm([p_value for p_value, _ in found.values()])
    return {
        key: {"p_value": p_value, "p_method": method, "p_holm": p_holm}
        for (key, (p_value, method)), p_holm in zip(found.items(), adjusted, strict=True)
    }


def _division(member: np.ndarray) -> bytes:
    """What a value and the rest have in common, so that the two of a column of two are one."""
    return (member ^ member[0]).tobytes()


def newcombe(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """A difference of two shares with its interval from theirs, ready for JSON.

    ``d − sqrt((p₁ − l₁)² + (u₂ − p₂)²)`` to ``d + sqrt((u₁ − p₁)² + (p₂ − l₂)²)``; Newcombe, *Statistics in Medicine*
    17 (1998) 873, method 10, for Wilson's limits of independent samples; Zou & Donner, *Statistics in Medicine* 27
    (2008) 1693, for any. Groups that have samples on both sides, where answers are right together, make it too wide.

    Parameters
    ----------
    first, second
        Figures of samples that are not the same, with a value each; without limits where they have none.
    """
    apart = first["value"] - second["value"]
    if first["low"] is None or second["low"] is None:
        missing = first if first["low"] is None else second
        return {"value": apart, "low": None, "high": None, "method": missing["method"]}
    reach = [
        math.hypot(one["value"] - one["low"], other["high"] - other["value"])
        for one, other in ((first, second), (second, first))
    ]
    return {"value": apart, "low": apart - reach[0], "high": apart + reach[1], "method": "Newcombe"}


def _gap_p(
    aligned: AlignedPredictions, right: np.ndarray, member: np.ndarray, draws: tuple[int, int], seed: int
) -> tuple[float, str]:
    """Two-sided p that members and others are right equally often, and the name of the test."""
    if not aligned.clustered:
        table = [[int(right[side].sum()), int((~right[side]).sum())] for side in (member, ~member)]
        return float(scipy.stats.fisher_exact(table).pvalue), "Fisher's exact test"
    size = np.bincount(aligned.units, minlength=aligned.n_units)
    inside = np.bincount(aligned.units, member, minlength=aligned.n_units)
    if ((inside == 0) | (inside == size)).all():
        hits = np.bincount(aligned.units, right, minlength=aligned.n_units)
        return permutation_p(
            hits, size.astype(np.float64), inside > 0, draws[0], seed, draws[1]
        ), "permutation of whole groups"
    # Each sample's distance from the common accuracy: their weighted sum is the gap itself.
    apart = (right - right.mean()) * np.where(member, 1 / member.sum(), -1 / (~member).sum())
    by_group = np.bincount(aligned.units, apart, minlength=aligned.n_units)
    return sign_flip_p(by_group, draws[0], seed, draws[1]), "sign flips over groups"


def permutation_p(
    hits: np.ndarray, sizes: np.ndarray, chosen: np.ndarray, draws: int, seed: int, most: int = 0
) -> float:
    """Permutation test that the chosen groups are right as often as the others, two-sided.

    Groups trade places as wholes, with all their samples; the p-value is the share of random choices of as many groups,
    the observed one counted among them, whose gap is as large as the observed one. It holds its level for any number of
    groups when they are exchangeable.

    Parameters
    ----------
    hits, sizes
        Right samples, and samples, of each group, float64 of shape (groups,).
    chosen
        bool of shape (groups,); some, not all.
    draws, most
        Number of random choices, and up to how many where p is small: `randomisation_p`.
    """

    def gaps(picked: np.ndarray) -> np.ndarray:
        inside, weight = picked @ hits, picked @ sizes
        return np.abs(inside / weight - (hits.sum() - inside) / (sizes.sum() - weight))

    bar = float(gaps(chosen[np.newaxis].astype(np.float64))[0]) - ROUNDING
    rng = np.random.default_rng([seed, 2])

    def as_far(size: int) -> int:
        picked = rng.permuted(np.tile(chosen, (size, 1)), axis=1).astype(np.float64)
        return int((gaps(picked) >= bar).sum())

    return randomisation_p(as_far, len(chosen), draws, most)
