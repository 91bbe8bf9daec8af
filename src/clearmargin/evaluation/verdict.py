"""The outcome of a comparison in one plain sentence that agrees with the figures printed in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from clearmargin.evaluation.paired import level
from clearmargin.language import tr, trn

SIGNIFICANT_DIGITS = 2
SMALLEST_WRITTEN_OUT, LARGEST_WRITTEN_OUT = 1e-4, 1e7


def sentence(record: Mapping[str, Any], n_samples: int, n_groups: int | None, n_pairs: int, confidence: float) -> str:
    """Say who is better, or that the contenders can't be told apart, with the figures that decide it.

    Everything comes from the record: the same sentence can be said again later, in another language.

    Parameters
    ----------
    record
        One comparison, as `clearmargin.evaluation.comparison.compare` makes it.
    n_groups
        Number of groups when samples cluster, otherwise None.
    n_pairs
        How many pairs are compared; p-values are adjusted for that many.
    """
    bar = level(confidence)
    said = {
        "first": record["first"],
        "second": record["second"],
        "points": _points(record["difference"]["value"]),
        "interval": _interval(record["difference"], n_groups, confidence),
        "test": _test(record, n_groups, n_pairs, bar),
    }
    if record["distinguishable"]:
        return tr(
            "{first} is better than {second} (difference {points} points in balanced accuracy, {interval}, {test}).",
            **said,
        )
    said["on"] = on_samples(n_samples, n_groups)
    above, significant = (record["difference"]["low"] or 0) > 0, record["p_holm"] < bar
    if n_groups is None and record["mcnemar_holm"] >= bar:
        significant = False
    if above and significant:
        return tr(
            "{first} and {second} can't be ranked on {on}: {first} has the higher balanced accuracy, by {points} "
            "points ({interval}; {test}), but {second} the higher accuracy, by {more} points.",
            more=_points(-record["accuracy_difference"]["value"]),
            **said,
        )
    if not record["only_first_right"] and not record["only_second_right"]:
        return tr(
            "{first} and {second} can't be told apart on {on}: each image is answered rightly by both or by neither.",
            **said,
        )
    return _not_told_apart(said, above) + _needed(record.get("n_to_see_2_points"), n_samples, n_groups is not None)


def _not_told_apart(said: Mapping[str, str], above: bool) -> str:
    if above:
        return tr(
            "{first} and {second} can't be told apart on {on}: balanced accuracy differs by {points} points "
            "({interval}, but {test}).",
            **said,
        )
    return tr(
        "{first} and {second} can't be told apart on {on}: balanced accuracy differs by {points} points ({interval}; "
        "{test}).",
        **said,
    )


def _needed(needed: int | None, n_samples: int, grouped: bool) -> str:
    """How many images would see a difference of 2 points, with a space in front; empty when nothing tells.

    For this pair alone: with many pairs to be told apart at once, more are needed. Images in groups are counted in
    groups like these: as many images of fewer groups would not do.
    """
    if needed is None:
        return ""
    number = f"{two_digits(needed):,}"
    if grouped and needed <= n_samples:
        return " " + tr(
            "About {n} images in groups like these are enough to see a difference of 2 points in accuracy.", n=number
        )
    if grouped:
        return " " + tr(
            "About {n} images in groups like these would be needed to see a difference of 2 points in accuracy.",
            n=number,
        )
    if needed <= n_samples:
        return " " + tr("About {n} images are enough to see a difference of 2 points in accuracy.", n=number)
    return " " + tr("About {n} images would be needed to see a difference of 2 points in accuracy.", n=number)


def two_digits(number: int) -> int:
    """A count rounded to two significant digits: 1,234 is 1,200."""
    return round(number, SIGNIFICANT_DIGITS - len(str(number))) if number >= 10**SIGNIFICANT_DIGITS else number


def on_samples(n_samples: int, n_groups: int | None) -> str:
    """On how many images, and of how many groups when they cluster."""
    images = trn(n_samples, "{n} image", "{n} images", n=f"{n_samples:,}")
    return images if n_groups is None else tr("{images} in {groups}", images=images, groups=groups_text(n_groups))


def groups_text(n_groups: int) -> str:
    """How many groups."""
    return trn(n_groups, "{n} group", "{n} groups", n=f"{n_groups:,}")


def interval_text(low: str, high: str, confidence: float) -> str:
    """An interval from its limits as they are printed."""
    return tr("{confidence} % interval {low} to {high}", confidence=f"{100 * confidence:.6g}", low=low, high=high)


def flips_text(n_groups: int, p: str) -> str:
    """The test that flips signs by groups, with its p-value as it is printed."""
    return trn(
        n_groups, "sign flips over {n} group, p {p}", "sign flips over {n} groups, p {p}", n=f"{n_groups:,}", p=p
    )


def adjusted_text(p_holm: float, n_pairs: int, bar: float) -> str:
    """The adjusted p-value with a comma in front; empty for a single pair."""
    if n_pairs <= 1:
        return ""
    return tr(", adjusted for {n} comparisons {p}", n=f"{n_pairs:,}", p=probability_text(p_holm, bar))


def _interval(difference: Mapping[str, Any], n_groups: int | None, confidence: float) -> str:
    if difference["low"] is None:
        return tr("no interval: a single sample") if n_groups is None else tr("no interval: a single group")
    return interval_text(_points(difference["low"]), _points(difference["high"]), confidence)


def _test(record: Mapping[str, Any], n_groups: int | None, n_pairs: int, bar: float) -> str:
    """What was tested: balanced accuracy twice, of which the larger p counts, and of independent samples accuracy."""
    p, adjusted = probability_text(record["p_value"], bar), adjusted_text(record["p_holm"], n_pairs, bar)
    if n_groups is not None:
        return (
            trn(
                n_groups,
                "sign flips and Student's t over {n} group, larger p {p}",
                "sign flips and Student's t over {n} groups, larger p {p}",
                n=f"{n_groups:,}",
                p=p,
            )
            + adjusted
        )
    return tr(
        "sign flips and Student's t, larger p {p}{adjusted}; McNemar mid-p of accuracy {mid_p}{mid_adjusted}",
        p=p,
        adjusted=adjusted,
        mid_p=probability_text(record["mcnemar_mid_p"], bar),
        mid_adjusted=adjusted_text(record["mcnemar_holm"], n_pairs, bar),
    )


def single_sentence(evaluation: Mapping[str, Any]) -> str:
    """What is said of a contender that stands alone, from a whole ``evaluation.json``: beside the commonest class."""
    (name, said), *_ = evaluation["contenders"].items()
    reached, baseline = said["metrics"]["balanced_accuracy"], evaluation.get("baseline") or {}
    told = trn(
        evaluation["n"],
        "{name} reaches a balanced accuracy of {reached} on {n} test image.",
        "{name} reaches a balanced accuracy of {reached} on {n} test images.",
        name=name,
        reached=_share(reached),
        n=f"{evaluation['n']:,}",
    )
    floor = baseline.get("balanced_accuracy")
    if floor is None:
        return told
    beside = {"class_name": baseline["class"], "floor": f"{floor:.3f}"}
    if reached["low"] is not None and reached["low"] <= floor:
        return f"{told} " + tr(
            "That cannot be told apart from always answering “{class_name}”, which reaches {floor}.", **beside
        )
    return f"{told} " + tr("For comparison: always answering “{class_name}” would reach {floor}.", **beside)


def _share(figure: Mapping[str, Any]) -> str:
    """A share with its interval, to three decimals."""
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return tr(
        "{value} ({low} to {high})",
        value=f"{figure['value']:.3f}",
        low=f"{figure['low']:.3f}",
        high=f"{figure['high']:.3f}",
    )


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
