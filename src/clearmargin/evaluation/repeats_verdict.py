"""The outcome of a comparison over several splits in one plain sentence that agrees with the figures printed in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmargin.evaluation.paired import level
from clearmargin.evaluation.verdict import adjusted_text, amounts, interval_text, probability_text
from clearmargin.language import tr, trn

# What each metric is called in a sentence, and whether more of it is better.
METRICS: Mapping[str, tuple[str, bool]] = {
    "rmse": ("RMSE", False),
    "mae": ("MAE", False),
    "mse": ("MSE", False),
    "r2": ("R²", True),
    "accuracy": ("accuracy", True),
    "balanced_accuracy": ("balanced accuracy", True),
    "macro_f1": ("macro F1", True),
    "mcc": ("MCC", True),
    "auc": ("AUC", True),
    "log_loss": ("log loss", False),
    "errors": ("number of mistakes", False),
}
FEWEST = 3  # rounds, for an interval and a test


def metric_name(metric: str) -> str:
    """What a metric of `METRICS` is called in a sentence."""
    return tr(METRICS[metric][0])


def why_no_test(rounds: int) -> str:
    """Why figures of so many rounds have no interval and no test."""
    if rounds < FEWEST:
        return tr("two rounds can't tell how far they would vary, from {n} rounds on there is one", n=FEWEST)
    return tr("the repeats show no spread")


def sentence(record: Mapping[str, Any], n_pairs: int, confidence: float) -> str:
    """Say who is better over the splits, or that they can't be told apart, with the figures that decide it.

    Parameters
    ----------
    record
        One comparison, as `clearmargin.evaluation.repeats.summarise_repeats` makes it.
    n_pairs
        How many pairs have a test (a ``p_value``); p-values are adjusted for that many.
    """
    difference, bar = record["difference"], level(confidence)
    said = {
        "over": trn(record["n"], "Over {n} split", "Over {n} splits", n=f"{record['n']:,}"),
        "first": record["first"],
        "second": record["second"],
        "metric": metric_name(record["metric"]),
    }
    if record["p_value"] is None:
        (by,) = amounts([difference["value"]])
        return tr(
            "{over}, {first} and {second} can't be told apart: mean {metric} differs by {by} (no test: {why}).",
            by=by,
            why=why_no_test(record["n"]),
            **said,
        )
    said["by"], low, high = amounts([difference[key] for key in ("value", "low", "high")])
    said["interval"] = interval_text(low, high, confidence)
    test = tr("corrected resampled t, p {p}", p=probability_text(record["p_value"], bar))
    said["test"] = test + adjusted_text(record["p_holm"], n_pairs, bar)
    if not record["distinguishable"]:
        return tr(
            "{over}, {first} and {second} can't be told apart: mean {metric} differs by {by} ({interval}; {test}).",
            **said,
        )
    if METRICS[record["metric"]][1]:
        return tr("{over}, {first} is better than {second}: mean {metric} higher by {by} ({interval}; {test}).", **said)
    return tr("{over}, {first} is better than {second}: mean {metric} lower by {by} ({interval}; {test}).", **said)
