"""How contenders do on part of the samples: by sex, scanner, age or whatever the columns of a manifest say.

Of each value: accuracy and balanced accuracy with intervals, and the gap, accuracy there minus accuracy on all other
samples, with its interval and the test that it is zero, adjusted by Holm for all contenders, values and columns at
once: whoever looks for the largest gap looks at all of them. Two values that share all samples between them (a column
of two) are one test, counted once. The test depends on the samples:

independent
    Fisher's exact test; Newcombe's interval of a difference.
in groups, each with one value (the sex of a patient)
    A permutation of whole groups; the bootstrap over groups.
in groups of several values (the scanner of a slice)
    Signs of what each group adds to the gap are flipped, where all accuracies are taken to be the common one (the score
    bootstrap of Kline & Santos, *Journal of Econometric Methods* 1 (2012) 23); the bootstrap over groups.

Values of fewer than 10 samples or 5 groups are named without figures: they tell little, and much about single persons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.bootstrap import chunks, draw_weights, grouped_counts
from clearmargin.evaluation.intervals import bootstrap_figure, share_figure, wilson
from clearmargin.evaluation.metrics import (
    Tally,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    predicted_index,
    tally,
)
from clearmargin.evaluation.paired import ROUNDING, holm, sign_flip_p
from clearmargin.evaluation.subgroup_values import Value, column_values

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
    the figures ``accuracy``, ``balanced_accuracy``, ``gap``, and ``p_value``, ``p_method``, ``p_holm``.
    """
    divided = {column: column_values(cells, aligned.units) for column, cells in columns.items()}
    shown = [
        value
        for _, values in divided.values()
        for value in values
        if not value.suppressed and value.n < len(aligned.truth)
    ]
    figures: dict[int, dict[str, Any]] = {id(value): {} for value in shown}
    predicted = {name: predicted_index(probabilities) for name, probabilities in aligned.probabilities.items()}
    resampled = _resampled(aligned, predicted, shown, resamples, seed)
    tests = _tests(aligned, predicted, shown, resamples, seed)
    for name, answers in predicted.items():
        for value, again in zip(shown, resampled[name], strict=True):
            own = _figures(aligned, answers, value, again, confidence)
            figures[id(value)][name] = {**own, **tests[name, _division(value.member)]}
    return [
        {"column": column, "kind": kind, "values": [_told(value, figures.get(id(value), {})) for value in values]}
        for column, (kind, values) in divided.items()
    ]


def _told(value: Value, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "value": value.name,
        "n": None if value.suppressed else value.n,
        "groups": None if value.suppressed else value.units,
        "suppressed": value.suppressed,
        "contenders": figures,
    }


def _figures(
    aligned: AlignedPredictions,
    predicted: np.ndarray,
    value: Value,
    again: Mapping[str, np.ndarray],
    confidence: float,
) -> dict[str, Any]:
    right, member = predicted == aligned.truth, value.member
    units, clustered = aligned.units, aligned.clustered
    own = tally(confusion_matrix(aligned.truth[member], predicted[member], len(aligned.classes)))
    gap = float(right[member].mean() - right[~member].mean())
    if clustered:
        interval = bootstrap_figure(gap, again["gap"], confidence, aligned.n_units, clustered)
    else:
        low, high = newcombe(right[member], right[~member], confidence)
        interval = {"value": gap, "low": low, "high": high, "method": "Newcombe"}
    return {
        "accuracy": share_figure(right[member], units[member], confidence, clustered),
        "balanced_accuracy": bootstrap_figure(
            float(balanced_accuracy(own)), again["balanced_accuracy"], confidence, value.units, clustered
        ),
        "gap": interval,
    }


def _tests(
    aligned: AlignedPredictions, predicted: Mapping[str, np.ndarray], values: list[Value], draws: int, seed: int
) -> dict[tuple[str, bytes], dict[str, Any]]:
    """``p_value``, ``p_method`` and ``p_holm`` by contender and division, all of them one family."""
    divisions: dict[bytes, np.ndarray] = {}
    for value in values:
        divisions.setdefault(_division(value.member), value.member)
    found = {
        (name, division): _gap_p(aligned, answers == aligned.truth, member, draws, seed)
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


def _resampled(
    aligned: AlignedPredictions, predicted: Mapping[str, np.ndarray], values: list[Value], resamples: int, seed: int
) -> dict[str, list[dict[str, np.ndarray]]]:
    """For each contender and value: balanced accuracy and gap in each resample of all groups."""
    n_classes, n_units = len(aligned.classes), aligned.n_units
    everything = np.ones(len(aligned.truth), dtype=bool)
    counts = {
        name: [
            grouped_counts(aligned.truth[rows], answers[rows], aligned.units[rows], n_units, n_classes)
            for rows in (everything, *(value.member for value in values))
        ]
        for name, answers in predicted.items()
    }
    parts: dict[str, list[list[dict[str, np.ndarray]]]] = {name: [[] for _ in values] for name in predicted}
    rng = np.random.default_rng([seed, 0])
    for size in chunks(resamples, max(n_units, 3 * n_classes)) if values else ():
        weights = draw_weights(rng, size, n_units)
        for name, (whole, *own) in counts.items():
            in_all = _tally(weights, whole, n_classes)
            for part, one in zip(parts[name], own, strict=True):
                part.append(_scored(_tally(weights, one, n_classes), in_all))
    return {
        name: [{key: np.concatenate([part[key] for part in pieces]) for key in pieces[0]} for pieces in by_value]
        for name, by_value in parts.items()
    }


def _tally(weights: np.ndarray, counts: Any, n_classes: int) -> Tally:
    return Tally(*np.moveaxis(np.asarray(weights @ counts).reshape(len(weights), 3, n_classes), 1, 0))


def _scored(own: Tally, in_all: Tally) -> dict[str, np.ndarray]:
    rest = Tally(*(whole - part for whole, part in zip(in_all, own, strict=True)))
    return {
        "balanced_accuracy": balanced_accuracy(own),
        "gap": accuracy(own) - accuracy(rest),
    }


def newcombe(first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two shares of independent samples, from their two Wilson intervals.

    ``d − sqrt((p₁ − l₁)² + (u₂ − p₂)²)`` to ``d + sqrt((u₁ − p₁)² + (p₂ − l₂)²)``; Newcombe, *Statistics in Medicine*
    17 (1998) 873, method 10.

    Parameters
    ----------
    first, second
        bool of shape (samples,), neither empty.
    """
    (p1, (l1, u1)), (p2, (l2, u2)) = (
        (float(one.mean()), wilson(int(one.sum()), len(one), confidence)) for one in (first, second)
    )
    apart = p1 - p2
    return apart - math.hypot(p1 - l1, u2 - p2), apart + math.hypot(u1 - p1, p2 - l2)


def _gap_p(
    aligned: AlignedPredictions, right: np.ndarray, member: np.ndarray, draws: int, seed: int
) -> tuple[float, str]:
    """Two-sided p that members and others are right equally often, and the name of the test."""
    if not aligned.clustered:
        table = [[int(right[side].sum()), int((~right[side]).sum())] for side in (member, ~member)]
        return float(stats.fisher_exact(table).pvalue), "Fisher's exact test"
    size = np.bincount(aligned.units, minlength=aligned.n_units)
    inside = np.bincount(aligned.units, member, minlength=aligned.n_units)
    if ((inside == 0) | (inside == size)).all():
        hits = np.bincount(aligned.units, right, minlength=aligned.n_units)
        return permutation_p(hits, size.astype(np.float64), inside > 0, draws, seed), "permutation of whole groups"
    # Each sample's distance from the common accuracy: their weighted sum is the gap itself.
    apart = (right - right.mean()) * np.where(member, 1 / member.sum(), -1 / (~member).sum())
    by_group = np.bincount(aligned.units, apart, minlength=aligned.n_units)
    return sign_flip_p(by_group, draws, seed), "sign flips over groups"


def permutation_p(hits: np.ndarray, sizes: np.ndarray, chosen: np.ndarray, draws: int, seed: int) -> float:
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
    """

    def gaps(picked: np.ndarray) -> np.ndarray:
        inside, weight = picked @ hits, picked @ sizes
        return np.abs(inside / weight - (hits.sum() - inside) / (sizes.sum() - weight))

    bar = float(gaps(chosen[np.newaxis].astype(np.float64))[0]) - ROUNDING
    rng = np.random.default_rng([seed, 2])
    as_far = 1
    for size in chunks(draws, len(chosen)):
        picked = rng.permuted(np.tile(chosen, (size, 1)), axis=1).astype(np.float64)
        as_far += int((gaps(picked) >= bar).sum())
    return as_far / (draws + 1)
