"""The outcome of a comparison of estimates in one plain sentence that agrees with the figures printed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clearmargin.evaluation.paired import level
from clearmargin.evaluation.verdict import (
    adjusted_text,
    amounts,
    flips_text,
    groups_text,
    interval_text,
    probability_text,
)
from clearmargin.language import tr, trn


def sentence(record: Mapping[str, Any], n_rows: int, n_groups: int | None, n_pairs: int, confidence: float) -> str:
    """Say who is better, or that they can't be told apart, with the figures that decide it.

    Parameters
    ----------
    record
        One comparison, as `clearmargin.evaluation.regression_comparison.compare_estimates` makes it.
    n_groups
        Number of groups when rows cluster, otherwise None.
    n_pairs
        How many pairs are compared; p-values are adjusted for that many.
    """
    bar, difference = level(confidence), record["difference"]
    by, *ends = amounts(_numbers(difference))
    said = {
        "first": record["first"],
        "second": record["second"],
        "by": by,
        "interval": _interval(ends, n_groups, confidence),
        "test": _test(record, n_rows, n_groups, n_pairs, bar),
    }
    if record["distinguishable"]:
        return tr("{first} is better than {second}: RMSE lower by {by} ({interval}; {test}).", **said)
    said["on"] = _on_rows(n_rows, n_groups)
    above, significant = (difference["low"] or 0) > 0, record["p_holm"] < bar
    if above and significant:
        less, *_ = amounts([-number for number in _numbers(record["mae_difference"])])
        return tr(
            "{first} and {second} can't be ranked on {on}: {first} has the lower RMSE, by {by} ({interval}; {test}), "
            "but {second} the lower mean absolute error, by {less}.",
            less=less,
            **said,
        )
    if not any(_numbers(difference)):
        return tr("{first} and {second} can't be told apart on {on}: their errors are of the same size.", **said)
    return _not_told_apart(said, above, significant)


def _not_told_apart(said: Mapping[str, str], above: bool, significant: bool) -> str:
    if above:
        return tr(
            "{first} and {second} can't be told apart on {on}: RMSE differs by {by} ({interval}, but {test}).", **said
        )
    if significant:
        return tr(
            "{first} and {second} can't be told apart on {on}: RMSE differs by {by} ({interval}, although {test}).",
            **said,
        )
    return tr("{first} and {second} can't be told apart on {on}: RMSE differs by {by} ({interval}; {test}).", **said)


def _interval(ends: Sequence[str], n_groups: int | None, confidence: float) -> str:
    if not ends:
        return tr("no interval: a single row") if n_groups is None else tr("no interval: a single group")
    low, high = ends
    return interval_text(low, high, confidence)


def _on_rows(n_rows: int, n_groups: int | None) -> str:
    rows = trn(n_rows, "{n} row", "{n} rows", n=f"{n_rows:,}")
    return rows if n_groups is None else tr("{rows} in {groups}", rows=rows, groups=groups_text(n_groups))


def _test(record: Mapping[str, Any], n_rows: int, n_groups: int | None, n_pairs: int, bar: float) -> str:
    p = probability_text(record["p_value"], bar)
    if n_groups is None:
        text = trn(n_rows, "sign flips over {n} row, p {p}", "sign flips over {n} rows, p {p}", n=f"{n_rows:,}", p=p)
    else:
        text = flips_text(n_groups, p)
    return text + adjusted_text(record["p_holm"], n_pairs, bar)


def _numbers(difference: Mapping[str, Any]) -> tuple[float, ...]:
    """The difference and, where it has them, its limits."""
    found = (difference[key] for key in ("value", "low", "high"))
    return tuple(number for number in found if number is not None)
