"""What a contender is worth for each class against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clearmargin.evaluation import metrics
from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.intervals import share_figure
from clearmargin.evaluation.roc import one_vs_rest_auc


def per_class(
    aligned: AlignedPredictions,
    probabilities: np.ndarray,
    confidence: float,
    prevalence: Mapping[str, float],
) -> list[dict[str, Any]]:
    """One record for each class, ready for JSON; undefined figures are None.

    Parameters
    ----------
    probabilities
        float64 of shape (samples, classes).
    prevalence
        Share of a class among those the model is meant for, where it is stated: predictive values are then also given
        for it, as those of the test part hold for the shares of the test part only.

    Returns
    -------
    ``class``, ``n``, ``groups`` (that have a sample of it), ``precision`` (the positive predictive value in this part),
    ``npv``, ``recall``, ``specificity``, ``f1``, ``auc``; ``low``, ``high`` and ``method`` of recall and of
    specificity; ``ppv_at_prevalence``, ``npv_at_prevalence``, and ``low`` and ``high`` of both.
    """
    predicted = metrics.predicted_index(probabilities)
    counts = metrics.tally(metrics.confusion_matrix(aligned.truth, predicted, len(aligned.classes)))
    columns = {
        "precision": metrics.precision(counts),
        "npv": metrics.negative_predictive_value(counts),
        "recall": metrics.recall(counts),
        "specificity": metrics.specificity(counts),
        "f1": metrics.f1(counts),
        "auc": one_vs_rest_auc(aligned.truth, probabilities),
    }
    rows = []
    for index, name in enumerate(aligned.classes):
        own = aligned.truth == index
        told = (predicted == index) == own
        row = {"class": name, "n": int(own.sum()), "groups": len(np.unique(aligned.units[own]))}
        row |= {column: _or_none(values[index]) for column, values in columns.items()}
        for column, asked in (("recall", own), ("specificity", ~own)):
            share = share_figure(told[asked], aligned.units[asked], confidence, aligned.clustered)
            row |= {f"{column}_{key}": share[key] for key in ("low", "high", "method")}
        sensitivity, specificity = (
            share_figure(told[asked], aligned.units[asked], (1 + confidence) / 2, aligned.clustered)
            for asked in (own, ~own)
        )
        rows.append({**row, **predictive_values(sensitivity, specificity, prevalence.get(name))})
    return rows


def predictive_values(
    sensitivity: Mapping[str, Any], specificity: Mapping[str, Any], prevalence: float | None
) -> dict[str, float | None]:
    """Predictive values at a prevalence, with limits from those of sensitivity and specificity.

    Both values rise with sensitivity and with specificity, so that the two lower limits together give the lower one.
    Where each of the two intervals has the confidence ``(1 + c) / 2``, both hold at once with at least c (Bonferroni),
    also when groups have samples of either class: the limits are on the safe side. The prevalence is taken as known.

    Parameters
    ----------
    sensitivity, specificity
        Figures.

    Returns
    -------
    ``ppv_at_prevalence`` and ``npv_at_prevalence``, each also with ``_low`` and ``_high``; None where undefined.
    """
    found: dict[str, float | None] = {}
    for end in ("", "_low", "_high"):
        both = [figure[end.removeprefix("_") or "value"] for figure in (sensitivity, specificity)]
        values = (float("nan"), float("nan"))
        if prevalence is not None and None not in both:
            values = metrics.at_prevalence(both[0], both[1], prevalence)
        for name, value in zip(("ppv", "npv"), values, strict=True):
            undefined = end and found[f"{name}_at_prevalence"] is None
            found[f"{name}_at_prevalence{end}"] = None if undefined else _or_none(value)
    return found


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
