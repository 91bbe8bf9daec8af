"""The outcome of a comparison of estimates in one plain sentence that agrees with the figures printed in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmargin.evaluation.intervals import counted
from clearmargin.evaluation.paired import level
from clearmargin.evaluation.verdict import amounts, probability_text


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
    first, second, bar = record["first"], record["second"], level(confidence)
    difference = record["difference"]
    by, *ends = amounts(_numbers(difference))
    interval = f"{100 * confidence:.6g} % interval {' to '.join(ends)}" if ends else difference["method"]
    test = _test(record, n_rows, n_groups, n_pairs, bar)
    if record["distinguishable"]:
        return f"{first} is better than {second}: RMSE lower by {by} ({interval}; {test})."
    on = counted(n_rows, "row") + (f" in {counted(n_groups, 'group')}" if n_groups is not None else "")
    above, significant = (difference["low"] or 0) > 0, record["p_holm"] < bar
    if above and significant:
        less, *_ = amounts([-number for number in _numbers(record["mae_difference"])])
        return (
            f"{first} and {second} can't be ranked on {on}: {first} has the lower RMSE, by {by} ({interval}; {test}), "
            f"but {second} the lower mean absolute error, by {less}."
        )
    if not any(_numbers(difference)):
        return f"{first} and {second} can't be told apart on {on}: their errors are of the same size."
    joint = ", but " if above else ", although " if significant else "; "
    return f"{first} and {second} can't be told apart on {on}: RMSE differs by {by} ({interval}{joint}{test})."


def _test(record: Mapping[str, Any], n_rows: int, n_groups: int | None, n_pairs: int, bar: float) -> str:
    over = counted(n_rows, "row") if n_groups is None else counted(n_groups, "group")
    text = f"sign flips over {over}, p {probability_text(record['p_value'], bar)}"
    if n_pairs > 1:
        text += f", adjusted for {n_pairs} comparisons {probability_text(record['p_holm'], bar)}"
    return text


def _numbers(difference: Mapping[str, Any]) -> tuple[float, ...]:
    """The difference and, where it has them, its limits."""
    found = (difference[key] for key in ("value", "low", "high"))
    return tuple(number for number in found if number is not None)
