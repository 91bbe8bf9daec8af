"""The outcome of a comparison in one plain sentence that agrees with the figures printed in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
    first, second, level = record["first"], record["second"], 1 - confidence
    interval = _interval(record["difference"], confidence)
    test = _test(record, n_groups, n_pairs, level)
    points = _points(record["difference"]["value"])
    if record["distinguishable"]:
        return f"{first} is better than {second}: balanced accuracy {points} points higher ({interval}; {test})."
    on = f"{n_samples} images" + (f" in {n_groups} groups" if n_groups is not None else "")
    above, significant = record["difference"]["low"] > 0, record["p_holm"] < level
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
    low, high = _points(difference["low"]), _points(difference["high"])
    return f"{100 * confidence:.6g} % interval {low} to {high}"


def _test(record: Mapping[str, Any], n_groups: int | None, n_pairs: int, level: float) -> str:
    name = "McNemar mid-p" if n_groups is None else f"sign flips over {n_groups} groups, p"
    text = f"{name} {_probability(record['p_value'], level)}"
    if n_pairs > 1:
        text += f", adjusted for {n_pairs} comparisons {_probability(record['p_holm'], level)}"
    return text


def _points(share: float) -> str:
    """A share in percentage points, with so many decimals that nothing but zero prints as zero."""
    return _on_its_side(100 * share, 0.0, 1)


def _probability(p: float, level: float) -> str:
    if p < min(1e-4, level):
        return "< 0.0001"
    return f"= {_on_its_side(p, level, 3 if p >= 0.001 else 4)}"


def _on_its_side(value: float, threshold: float, decimals: int) -> str:
    """The shortest print, from so many decimals up, that lies on the same side of the threshold as the value."""
    for digits in range(decimals, 17):
        text = f"{value:.{digits}f}"
        printed = float(text)
        if (printed < threshold, printed > threshold) == (value < threshold, value > threshold):
            return text.removeprefix("-") if printed == 0 else text
    return repr(value)
