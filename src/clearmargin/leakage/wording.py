"""The price of leakage in words that agree with the figures printed in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEWEST_EFFECTIVE = 10  # groups of one size that say as much: with fewer no leak is claimed


def sentences(found: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``leakage.json`` with its sentences filled in."""
    splits = {split["split"]: split for split in found["splits"]}
    difference = {**found["difference"], "sentence": _difference(splits, found)}
    said = [difference["sentence"], *_from_copies(found["difference"])]
    said += [_by_copies(splits[name]) for name in ("given", "random") if name in splits and splits[name]["with_copy"]]
    if found["control"] is None:
        return {**found, "difference": difference, "sentences": [*said, _NO_CONTROL]}
    control = {**found["control"], "sentence": _control(found["control"])}
    return {**found, "difference": difference, "control": control, "sentences": [*said, control["sentence"]]}


def _difference(splits: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    difference = found["difference"]
    random, free = (splits[name]["accuracy"]["value"] for name in ("random", "leak-free"))
    if difference["value"] == 0 and difference["low"] is None:
        return (
            f"The classifier is right on {_percent(free)}. No patients and no copies are known here, so that a random "
            "split and a leak-free one are the same; slices of one patient, if there are any, leak unseen."
        )
    points = _points(difference["value"])
    both = f"With a random split a simple classifier seems to be right on {_percent(random)}, "
    both += f"without leaks the same one on {_percent(free)}"
    if difference["low"] is None:
        return f"{both}: a difference of {points} points ({difference['method']})."
    if found["effective_groups"] < FEWEST_EFFECTIVE:
        return (
            f"{both}: a difference of {points} points. The {found['groups']:,} groups are so few or so unequal that "
            f"they count as {found['effective_groups']:.0f}: too few to tell leakage from chance."
        )
    if difference["low"] > 0:
        return f"{both}: {points} points{_interval(difference)} of it are leakage."
    return (
        f"{both}: a difference of {points} points{_interval(difference)}. Its {100 * found['confidence']:.6g} % "
        "interval does not lie above zero, so that no leakage can be told from chance."
    )


def _from_copies(difference: Mapping[str, Any]) -> list[str]:
    copies, patients = difference["from_copies"], difference["from_patients"]
    if copies and patients:
        return [
            f"Of the difference, {_points(copies['value'])} points{_interval(copies)} go when only copies are kept "
            f"together, and {_points(patients['value'])} more{_interval(patients)} when other images of the same "
            "patient or group are kept together as well."
        ]
    if not difference["low"] or difference["low"] <= 0:
        return []
    if copies:
        return ["All of it comes from copies: no other images of the same patient or group are known."]
    return ["All of it comes from other images of the same patient or group; no image has a copy."]


def _by_copies(split: Mapping[str, Any]) -> str:
    where = {"given": "With the given parts", "random": "With a random split"}[split["split"]]
    copied, others = split["with_copy"], split["without_copy"]
    share = copied["n"] / split["n_test"]
    said = (
        f"{where}, {_percent(share)} of the tested images have a copy among those that were learned from; "
        f"the classifier is right on {_percent(copied['accuracy']['value'])} of these"
    )
    return f"{said}, and on {_percent(others['accuracy']['value'])} of the others." if others else f"{said}."


_NO_CONTROL = (
    "No control was possible: with labels shuffled among so few groups, or with features this weak, there is nothing a "
    "leak could show in. Whether these splits are clean is not shown by it."
)


def _control(control: Mapping[str, Any]) -> str:
    accuracy, chance = _percent(control["accuracy"]["value"]), _percent(control["chance"])
    low, high = (_percent(control["accuracy"][limit]) for limit in ("low", "high"))
    said = f"With labels shuffled among the groups it is right on {accuracy} ({low} to {high}) on leak-free splits"
    random = control["random"]
    if not control["holds"]:
        said += f", better than chance ({chance}): these splits let something through, and their accuracy is not to be "
        said += "believed."
    elif random is not None and random["holds"]:
        said += f", no better than chance ({chance})."
    else:
        said += f", no better than chance ({chance}): nothing that is known to belong together is in training and test."
    if random is None:
        return said
    at_random = _percent(random["accuracy"]["value"])
    if not random["holds"]:
        return f"{said} On random splits the same labels give {at_random}, better than chance."
    return (
        f"{said} On random splits the same labels give {at_random}, not clearly better than chance either: images that "
        "belong together are too few or too unlike here for the control to see a leak."
    )


def _interval(figure: Mapping[str, Any]) -> str:
    return "" if figure["low"] is None else f" ({_points(figure['low'])} to {_points(figure['high'])})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-0.0", "0.0")
