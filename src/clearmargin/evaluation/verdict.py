"""The outcome of a comparison in one plain sentence that agrees with the figures printed in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from clearmargin.evaluation.intervals import counted
from clearmargin.evaluation.paired import level

SIGNIFICANT_DIGITS = 2
SMALLEST_WRITTEN_OUT, LARGEST_WRITTEN_OUT = 1e-4, 1e7


def sentence(record: Mapping[str, Any], n_samples: int, n_groups: int | None, n_pairs: int, confidence: float) -> str:
    """Say who is better, or that the contenders can't be told apart, with the figures that decide it.

    Parameters
    ----------
    record
        One comparison, as `clearmargin.evaluation.comparison.compare` makes it.
    n_groups
        Number of groups when samples cluster, otherwise None.
    n_pairs
        How many pairs are compared; p-values are adjusted for that many.
    """
    first, second, bar = record["first"], record["second"], level(confidence)
    interval = _interval(record["difference"], confidence)
    test = _test(record, n_groups, n_pairs, bar)
    points = _points(record["difference"]["value"])
    if record["distinguishable"]:
        return f"{first} is better than {second}: balanced accuracy {points} points higher ({interval}; {test})."
    on = counted(n_samples, "image") + (f" in {counted(n_groups, 'group')}" if n_groups is not None else "")
    above, significant = (record["difference"]["low"] or 0) > 0, record["p_holm"] < bar
    if above and significant:
        more = _points(-record["accuracy_difference"]["value"])
        return (
            f"{first} and {second} can't be ranked on {on}: {first} has the higher balanced accuracy, by {points} "
            f"points ({interval}; {test}), but {second} the higher accuracy, by {more} points."
        )
    if not record["only_first_right"] and not record["only_second_right"]:
        why = "each image is answered rightly by both or by neither"
    else:
        joint = ", but " if above else ", although " if significant else "; "
        why = f"balanced accuracy differs by {points} points ({interval}{joint}{test})"
    return f"{first} and {second} can't be told apart on {on}: {why}."


def _interval(difference: Mapping[str, Any], confidence: float) -> str:
    if difference["low"] is None:
        return str(difference["method"])
    low, high = _points(difference["low"]), _points(difference["high"])
    return f"{100 * confidence:.6g} % interval {low} to {high}"


def _test(record: Mapping[str, Any], n_groups: int | None, n_pairs: int, bar: float) -> str:
    name = "McNemar mid-p" if n_groups is None else f"sign flips over {counted(n_groups, 'group')}, p"
    text = f"{name} {probability_text(record['p_value'], bar)}"
    if n_pairs > 1:
        text += f", adjusted for {n_pairs} comparisons {probability_text(record['p_holm'], bar)}"
    return text


def _points(share: float) -> str:
    """A share in percentage points, with so many decimals that nothing but zero prints as zero."""
    return on_its_side(100 * share, 0.0, 1)


def probability_text(p: float, bar: float) -> str:
    """A p-value as ``= 0.012`` or ``< 0.0001``, printed on the side of the bar it lies on."""
    if p < min(1e-4, bar):
        return "< 0.0001"
    return f"= {on_its_side(p, bar, 3 if p >= 0.001 else 4)}"


def on_its_side(value: float, threshold: float, decimals: int) -> str:
    """The shortest print, from so many decimals up, that lies on the same side of the threshold as the value."""
    for digits in range(decimals, 17):
        text = f"{value:.{digits}f}"
        printed = float(text)
        if (printed < threshold, printed > threshold) == (value < threshold, value > threshold):
            return text.removeprefix("-") if printed == 0 else text
    return repr(value)


def amounts(numbers: Sequence[float]) -> list[str]:
    """Numbers of one unit as text: the largest with two significant digits, and none but zero printed as zero."""
    largest = max((abs(number) for number in numbers if math.isfinite(number)), default=0.0)
    if largest and not SMALLEST_WRITTEN_OUT <= largest < LARGEST_WRITTEN_OUT:
        return [f"{number:.3g}" for number in numbers]
    decimals = max(0, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest))) if largest else 1
    return [on_its_side(number, 0.0, decimals) for number in numbers]
