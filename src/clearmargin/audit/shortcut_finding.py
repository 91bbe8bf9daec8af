"""What is said when the class can be told from properties of the files."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearmargin.audit.evidence import Evidence
from clearmargin.audit.permutation import Results
from clearmargin.audit.properties import Property
from clearmargin.audit.told_apart import Categories, Units
from clearmargin.records import Finding, Severity

STRONG = 0.3  # share of the way from chance to certainty
_SHOWN_CLASSES = 4
_SHOWN_PROPERTIES = 3


def shortcut_finding(
    looked_at: list[tuple[Property, Categories]],
    results: Results,
    units: Units,
    labels: np.ndarray,
    classes: np.ndarray,
    evidence: Evidence,
) -> Finding:
    """Say what the class can be told from, how well, and what helps.

    Parameters
    ----------
    results
        Of the properties ``looked_at``, and of all together.
    labels
        int64 of shape (samples looked at,): places in ``classes``.
    """
    flagged = results.flagged
    told = [property_ for (property_, _), one in zip(looked_at, flagged[:-1], strict=True) if one]
    names = [property_.name for property_, _ in looked_at]
    by_class = [_by_class(categories, labels, classes, units) for _, categories in looked_at]
    rows: list[dict[str, Any]] = [
        {
            "property": name,
            "balanced_accuracy": round(float(results.accuracies[place]), 4),
            "chance": round(results.chance, 4),
            "p_value": float(results.p_values[place]),
            "p_holm": float(results.p_holm[place]),
            "flagged": bool(flagged[place]),
            "by_class": text,
        }
        for place, (name, text) in enumerate(zip([*names, "all together"], [*by_class, ""], strict=True))
    ]
    left_out = sorted(set(evidence.class_counts()) - set(classes.tolist()))
    remedies = dict.fromkeys(property_.remedy for property_ in told)
    return Finding(
        "shortcuts",
        _severity(results, told, names),
        _message(rows, told, results.chance) + _judged_on(len(labels), len(evidence.labels), left_out),
        " ".join(("A model may learn this instead of what matters, and fail on other images.", *remedies)),
        evidence={
            "properties": rows[:-1],
            "together": rows[-1],
            "shuffles": results.shuffles,
            "images": len(labels),
            "classes_left_out": left_out,
        },
    )


def _by_class(categories: Categories, labels: np.ndarray, classes: np.ndarray, units: Units) -> str:
    """The category in which the classes differ most, and its share of each."""
    shares = np.zeros((len(classes), len(categories.names)))
    np.add.at(shares, (labels, categories.of_sample), units.weights)
    shares /= shares.sum(axis=1, keepdims=True)
    most = int((np.ptp(shares, axis=0) + 1e-6 * shares.sum(axis=0)).argmax())  # of equal ones the commoner
    order = np.argsort(-shares[:, most], kind="stable")
    if len(order) > _SHOWN_CLASSES:
        order = np.concatenate((order[: _SHOWN_CLASSES - 1], order[-1:]))
    told = ", ".join(f"{shares[place, most]:.0%} of {classes[place]}" for place in order)
    return f"{categories.names[most]}: {told}"


def _message(rows: list[dict[str, Any]], told: list[Property], chance: float) -> str:
    of_file = [property_.name for property_ in told if property_.of_file]
    flagged = [row for row in rows[:-1] if row["flagged"]]
    flagged.sort(key=lambda row: (row["property"] not in of_file, -row["balanced_accuracy"]))
    shown = [f"from the {row['property']} alone {row['balanced_accuracy']:.0%}" for row in flagged[:_SHOWN_PROPERTIES]]
    if len(flagged) > _SHOWN_PROPERTIES:
        shown.append(f"less from {len(flagged) - _SHOWN_PROPERTIES} others")
    shown.append(f"from all {len(rows) - 1} properties together {rows[-1]['balanced_accuracy']:.0%}")
    message = (
        "The class can be told without recognising anything in the image: "
        f"{', '.join(shown)} (balanced accuracy, on images not learned from; chance is {chance:.0%})."
    )
    if of_file:
        strongest = flagged[0]
        message += f" {_capital(strongest['property'])}, {strongest['by_class']}."
        message += f" {_capital(_listed(of_file))} can't come from the disease."
    elif told:
        message += f" {_capital(_listed([one.name for one in told]))} may belong to what is shown."
    return message


def _judged_on(looked_at: int, there_are: int, left_out: list[str]) -> str:
    if looked_at == there_are:
        return ""
    text = f" Judged on {looked_at:,} of {there_are:,} images"
    if left_out:
        shown = [*left_out[:_SHOWN_CLASSES], *(["others"] if len(left_out) > _SHOWN_CLASSES else [])]
        text += f", without {_listed(shown)}: too few different images or patients to judge"
    return text + "."


def _severity(results: Results, told: list[Property], names: list[str]) -> Severity:
    """By the strongest property that anatomy can't explain."""
    strengths = [results.strengths[names.index(one.name)] for one in told if one.of_file]
    if not strengths:
        return "note"
    return "serious" if max(strengths) >= STRONG else "warning"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
