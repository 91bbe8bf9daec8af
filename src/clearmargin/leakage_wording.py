"""The price of leakage in words that agree with the figures printed in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sentences(found: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``leakage.json`` with its sentences filled in."""
    splits = {split["split"]: split for split in found["splits"]}
    difference = {**found["difference"], "sentence": _difference(splits, found["difference"], found["confidence"])}
    control = {**found["control"], "sentence": _control(found["control"])}
    said = [difference["sentence"], *_from_copies(found["difference"], found["images"])]
    said += [_by_copies(splits[name]) for name in ("given", "random") if name in splits and splits[name]["with_copy"]]
    return {**found, "difference": difference, "control": control, "sentences": [*said, control["sentence"]]}


def _difference(splits: Mapping[str, Any], difference: Mapping[str, Any], confidence: float) -> str:
    random, free = (splits[name]["accuracy"]["value"] for name in ("random", "leak-free"))
    if difference["value"] == 0 and difference["low"] is None:
        return (
            f"The classifier is right on {_percent(free)}. No patients and no copies are known here, so that a random "
            "split and a leak-free one are the same; slices of one patient, if there are any, leak unseen."
        )
    interval = "" if difference["low"] is None else f" ({_points(difference['low'])} to {_points(difference['high'])})"
    points = _points(difference["value"])
    both = f"With a random split the same classifier seems to be right on {_percent(random)}, "
    both += f"without leaks on {_percent(free)}"
    if difference["low"] is not None and difference["low"] > 0:
        return f"{both}: {points} points{interval} of it are leakage."
    if difference["low"] is None:
        return f"{both}: a difference of {points} points ({difference['method']})."
    return (
        f"{both}: a difference of {points} points{interval}. Its {100 * confidence:.6g} % interval does not lie above "
        "zero, so that no leakage can be told from chance."
    )


def _from_copies(difference: Mapping[str, Any], images: int) -> list[str]:
    copies = difference["from_copies"]
    if not difference["low"] or difference["low"] <= 0:
        return []
    if copies is None:
        return ["All of it comes from other images of the same patient; no image has a copy."]
    rest = ", the rest from other images of the same patient" if difference["beyond_copies"] else ""
    return [
        f"{_points(copies['value'])} of the {_points(difference['value'])} points come from the {copies['images']:,} "
        f"of {images:,} images that have a copy in the set{rest}."
    ]


def _by_copies(split: Mapping[str, Any]) -> str:
    where = {"given": "With the given parts", "random": "With a random split"}[split["split"]]
    copied, others = split["with_copy"], split["without_copy"]
    share = copied["n"] / split["n_test"]
    said = (
        f"{where}, {_percent(share)} of the tested images have a copy among those that were learned from; "
        f"the classifier is right on {_percent(copied['accuracy']['value'])} of these"
    )
    return f"{said}, and on {_percent(others['accuracy']['value'])} of the others." if others else f"{said}."


def _control(control: Mapping[str, Any]) -> str:
    accuracy, chance = _percent(control["accuracy"]["value"]), _percent(control["chance"])
    low, high = (_percent(control["accuracy"][limit]) for limit in ("low", "high"))
    said = f"With labels shuffled among the groups it is right on {accuracy} ({low} to {high}) on leak-free splits"
    if control["holds"]:
        said += f", no better than chance ({chance}): nothing that is known to belong together is in training and test."
    else:
        said += f", better than chance ({chance}): these splits let something through, and their accuracy is not to be "
        said += "believed."
    random = control["random"]
    if random is not None:
        outcome = "not better than" if random["holds"] else "better than"
        said += f" On random splits the same labels give {_percent(random['accuracy']['value'])}, {outcome} chance."
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-0.0", "0.0")
