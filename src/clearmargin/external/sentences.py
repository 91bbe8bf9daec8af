"""What an external test amounts to, and what a reader must know of it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clearmargin.language import tr, trn


def sentences(figures: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """What the test amounts to, a text for each contender: its accuracy, what was left out, what was not looked for.

    Parameters
    ----------
    figures
        Of the images that are tested.
    record
        ``external.json``, with ``overlap`` and ``internal``.
    """
    overlap = record["overlap"]
    rest = [_left_out(overlap["left_out"])] if overlap["left_out"] else []
    if not overlap["near_looked_for"]:
        rest.append(tr("Only identical copies were looked for, not near ones."))
    if overlap["same_name"]:
        rest.append(_same_name(overlap["same_name"]))
    return [" ".join([_accuracy(name, figures, record["internal"]), *rest]) for name in figures["contenders"]]


def warnings(figures: Mapping[str, Any], labels: Sequence[str], overlap: Mapping[str, Any]) -> list[str]:
    """What the figures can't say, or may say wrongly.

    Parameters
    ----------
    labels
        Of all new images, those left out too.
    overlap
        As ``external.json`` has it.
    """
    told = []
    if not overlap["near_looked_for"]:
        told.append(
            tr(
                "Only identical copies of training images were looked for. Near copies (resized, stored again, "
                "cropped) may be among the images tested, and make the figures too good."
            )
        )
    one = next(iter(figures["contenders"].values()))
    left = [row["class"] for row in one["per_class"] if row["n"]]
    gone = [name for name in dict.fromkeys(labels) if name not in left]
    if gone:
        told.append(tr("No image is left of: {classes}.", classes=", ".join(gone)))
    if len(left) == 1:
        told.append(
            tr(
                "All images tested are of one class, so that nothing is said of telling it from others: {label}.",
                label=left[0],
            )
        )
    if not overlap["groups_stated"]:
        told.append(
            tr(
                "The data state no groups (patients): images of one patient count as independent, which makes "
                "intervals too narrow, and patients who were learned from are not recognised by other images of theirs."
            )
        )
    elif overlap["groups_stated"] < figures["n"]:
        told.append(
            tr(
                "Of {n} of the images tested no group (patient) is stated: each counts as independent of all others.",
                n=f"{figures['n'] - overlap['groups_stated']:,}",
            )
        )
    unnamed = overlap["learned_images"] - overlap["learned_groups_stated"]
    if overlap["groups_stated"] and unnamed:
        told.append(
            tr(
                "Of {n} of the {all} images learned from no group (patient) is stated: whether it is among those "
                "tested could not be looked for by name.",
                n=f"{unnamed:,}",
                all=f"{overlap['learned_images']:,}",
            )
        )
    if overlap["same_name"]:
        told.append(
            f"{_same_name(overlap['same_name'])} "
            + tr("If they are the same patients, the figures are too good: take them out of the data.")
        )
    if figures["groups"] == 1:
        told.append(tr("All images tested are of one group: how others would do is not known."))
    return told


def _accuracy(name: str, figures: Mapping[str, Any], internal: Mapping[str, Any]) -> str:
    new, old = figures["contenders"][name]["metrics"]["accuracy"], internal["contenders"][name]["accuracy"]
    values = {"name": name, "n": figures["n"], "value": _decimal(new["value"]), "internal": _decimal(old["value"])}
    if new["low"] is None:
        return trn(
            figures["n"],
            "{name}: accuracy {value} (no interval) on {n} image from elsewhere, against {internal} in the internal "
            "test.",
            "{name}: accuracy {value} (no interval) on {n} images from elsewhere, against {internal} in the internal "
            "test.",
            **values,
        )
    return trn(
        figures["n"],
        "{name}: accuracy {value} ({low}–{high}) on {n} image from elsewhere, against {internal} in the internal test.",
        "{name}: accuracy {value} ({low}–{high}) on {n} images from elsewhere, against {internal} in the internal "
        "test.",
        low=_decimal(new["low"]),
        high=_decimal(new["high"]),
        **values,
    )


def _left_out(number: int) -> str:
    return trn(
        number,
        "{n} more image was left out: it, or another of its group, is a copy of one that the run learned from.",
        "{n} more images were left out: they, or others of their group, are copies of some that the run learned from.",
        n=number,
    )


def _same_name(number: int) -> str:
    return trn(
        number,
        "{n} image tested is of a group that bears the name of one learned from.",
        "{n} images tested are of groups that bear the names of some learned from.",
        n=number,
    )


def _decimal(value: float) -> str:
    return f"{value:.3f}"
