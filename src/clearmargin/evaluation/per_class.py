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
    ``class``, ``n``, ``precision`` (the positive predictive value in this part), ``npv``, ``recall``, ``specificity``,
    ``f1``, ``auc``; ``low``, ``high`` and ``method`` of recall and of specificity; ``ppv_at_prevalence``,
    ``npv_at_prevalence``.
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
        row = {"class": name, "n": int(own.sum())}
        row |= {column: _or_none(values[index]) for column, values in columns.items()}
        for column, asked in (("recall", own), ("specificity", ~own)):
            share = share_figure(told[asked], aligned.units[asked], confidence, aligned.clustered)
            row |= {f"{column}_{key}": share[key] for key in ("low", "high", "method")}
        rows.append({**row, **_predictive_values(row, prevalence.get(name))})
    return rows


def _predictive_values(row: Mapping[str, Any], prevalence: float | None) -> dict[str, float | None]:
    if prevalence is None or row["recall"] is None or row["specificity"] is None:
        return {"ppv_at_prevalence": None, "npv_at_prevalence": None}
    positive, negative = metrics.at_prevalence(row["recall"], row["specificity"], prevalence)
    return {"ppv_at_prevalence": _or_none(positive), "npv_at_prevalence": _or_none(negative)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
