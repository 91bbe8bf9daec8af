"""Whether the class can be told from the file, without looking at the anatomy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clearmargin.audit import properties
from clearmargin.audit.evidence import Evidence
from clearmargin.audit.told_apart import Categories, Units, balanced_accuracies
from clearmargin.records import Finding, Severity

MOST_SAMPLES = 5000
LEAST_UNITS = 5  # of a class; with fewer nothing can be learned and tested
SIGNIFICANT = 0.02  # for all properties of a data set together (Holm): chance must not look like a finding
STRONG = 0.3  # share of the way from chance to certainty
RELEVANT = 0.1
_HOPELESS = 0.05  # p-value after the first shuffles above which none can become significant
_FIRST_SHUFFLES, _SHUFFLES, _BATCH = 99, 999, 50
_SHOWN_CLASSES = 4
_SHOWN_PROPERTIES = 3


@dataclass(frozen=True)
class _Property:
    """What is looked at: ``of_file`` when anatomy can't explain it."""

    name: str
    categories: Callable[[pd.DataFrame], Categories | None]
    needs: tuple[str, ...]
    of_file: bool
    remedy: str


_BORDER_COLUMNS = ("border_left_px", "border_top_px", "border_right_px", "border_bottom_px", "edge_level")
_MARGIN_COLUMNS = ("margin_left", "margin_top", "margin_right", "margin_bottom")
_INTENSITY_REMEDY = (
    'Brightness and contrast can belong to the disease, or to the scanner: intensity = "standardised" in [data] takes '
    "away much of what whole images differ in."
)
PROPERTIES = (
    _Property(
        "image size",
        properties.image_size,
        ("width_px", "height_px"),
        True,
        "Every image is brought to size_px, which hides the size but not its traces: enlarged images are softer, and "
        'fit = "pad" shows the proportions as black bars (fit = "crop" or "stretch" does not).',
    ),
    _Property(
        "colour mode",
        properties.colour_mode,
        ("mode", "colourfulness"),
        True,
        'color = "gray" in [data] removes the colours.',
    ),
    _Property(
        "file format",
        properties.file_format,
        ("format",),
        True,
        "Traces of a format stay in the pixels: take all classes from the same export.",
    ),
    _Property(
        "JPEG quality",
        properties.jpeg_quality,
        ("jpeg_quality",),
        True,
        "Traces of the compression stay in the pixels: take all classes from the same export.",
    ),
    _Property(
        "file size in bytes per pixel",
        properties.file_size,
        ("bytes", "width_px", "height_px"),
        False,
        "The bytes of a file depend on its compression, and also on how much there is to be seen.",
    ),
    _Property(
        "border",
        properties.border,
        _BORDER_COLUMNS,
        True,
        "trim = true in [data] cuts frames and blank margins off.",
    ),
    _Property(
        "margin around the content",
        properties.margin,
        _MARGIN_COLUMNS,
        False,
        "Margins come from the framing, and also from the size of what is shown: trim = true in [data] cuts them off.",
    ),
    _Property(
        "mean brightness",
        properties.brightness,
        ("brightness",),
        False,
        _INTENSITY_REMEDY,
    ),
    _Property(
        "contrast",
        properties.contrast,
        ("contrast",),
        False,
        _INTENSITY_REMEDY,
    ),
    _Property(
        "sharpness",
        properties.sharpness,
        ("sharpness",),
        False,
        "Sharpness can belong to what is shown, or to scanner, enlargement and compression.",
    ),
)


def shortcuts(evidence: Evidence) -> Iterator[Finding]:
    """Properties from which the class can be told better than shuffled labels allow, if there are any."""
    chosen = _chosen(evidence)
    if len(chosen) == 0:
        return
    _, labels = np.unique(evidence.labels[chosen].astype(str), return_inverse=True)
    facts = evidence.facts.iloc[chosen]
    looked_at = [
        (property_, categories)
        for property_ in PROPERTIES
        if set(property_.needs) <= set(facts.columns) and (categories := property_.categories(facts)) is not None
    ]
    if not looked_at:
        return
    generator = np.random.default_rng(0)
    units = Units.gather(labels, evidence.units[chosen], generator)
    if np.bincount(units.labels).min() < LEAST_UNITS:
        return
    results = permutation_test([categories for _, categories in looked_at], units, generator)
    names = [property_.name for property_, _ in looked_at]
    told = [property_ for (property_, _), flagged in zip(looked_at, results.flagged, strict=False) if flagged]
    if not results.flagged.any():
        return
    by_class = [_by_class(categories, evidence.labels[chosen], units) for _, categories in looked_at]
    yield _finding(evidence, names, told, results, by_class, len(chosen))


def _chosen(evidence: Evidence) -> np.ndarray:
    """Rows to look at: at most `MOST_SAMPLES`, of classes with enough units, each class in proportion."""
    if not evidence.is_classification or len(evidence.labels) == 0:
        return np.empty(0, np.int64)
    numbers, _ = pd.factorize(evidence.labels)
    pairs = np.unique(np.stack([numbers, evidence.units]), axis=1)[0]
    enough = np.flatnonzero(np.bincount(pairs) >= LEAST_UNITS)
    rows = np.flatnonzero(np.isin(numbers, enough))
    if len(enough) < 2:
        return np.empty(0, np.int64)
    if len(rows) <= MOST_SAMPLES:
        return rows
    shuffled = np.random.default_rng(0).permutation(rows)
    taken = [
        shuffled[numbers[shuffled] == number][: max(LEAST_UNITS, int(MOST_SAMPLES * (numbers[rows] == number).mean()))]
        for number in enough
    ]
    return np.sort(np.concatenate(taken))


@dataclass(frozen=True)
class Results:
    """Of each property, and last of all together.

    Attributes
    ----------
    accuracies, p_values, p_holm
        float64 of shape (properties + 1,).
    chance
        One over the number of classes.
    shuffles
        How many shuffled labellings the p-values rest on.
    flagged
        bool: significant and of practical relevance.
    """

    accuracies: np.ndarray
    p_values: np.ndarray
    p_holm: np.ndarray
    chance: float
    shuffles: int

    @property
    def strengths(self) -> np.ndarray:
        """Share of the way from chance to certainty."""
        return (self.accuracies - self.chance) / (1 - self.chance)

    @property
    def flagged(self) -> np.ndarray:
        return (self.p_holm <= SIGNIFICANT) & (self.strengths >= RELEVANT)


def permutation_test(categories: list[Categories], units: Units, generator: np.random.Generator) -> Results:
    """Permutation test of each property and of all together, adjusted by Holm.

    Shuffling stops early when after the first shuffles nothing can become a finding any more.
    """
    accuracies = balanced_accuracies(categories, units, units.labels[:, None])[:, 0]
    chance = 1 / units.classes
    relevant = (accuracies - chance) / (1 - chance) >= RELEVANT
    reached, done = np.zeros(len(accuracies)), 0
    while done < _SHUFFLES:
        now = min(_BATCH, (_FIRST_SHUFFLES if done < _FIRST_SHUFFLES else _SHUFFLES) - done)
        shuffled = balanced_accuracies(categories, units, units.shuffled(now, generator))
        reached += (shuffled >= accuracies[:, None] - 1e-12).sum(axis=1)
        done += now
        if done == _FIRST_SHUFFLES and not (relevant & (reached <= _HOPELESS * done)).any():
            break
    p_values = (1 + reached) / (1 + done)
    return Results(accuracies, p_values, adjusted_by_holm(p_values), chance, done)


def adjusted_by_holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def _by_class(categories: Categories, labels: np.ndarray, units: Units) -> str:
    """The category in which the classes differ most, and its share of each."""
    classes, numbers = np.unique(labels.astype(str), return_inverse=True)
    shares = np.zeros((len(classes), len(categories.names)))
    np.add.at(shares, (numbers, categories.of_sample), units.weights)
    shares /= shares.sum(axis=1, keepdims=True)
    most = int((np.ptp(shares, axis=0) + 1e-6 * shares.sum(axis=0)).argmax())  # of equal ones the commoner
    order = np.argsort(-shares[:, most], kind="stable")
    if len(order) > _SHOWN_CLASSES:
        order = np.concatenate((order[: _SHOWN_CLASSES - 1], order[-1:]))
    told = ", ".join(f"{shares[place, most]:.0%} of {classes[place]}" for place in order)
    return f"{categories.names[most]}: {told}"


def _finding(
    evidence: Evidence,
    names: list[str],
    told: list[_Property],
    results: Results,
    by_class: list[str],
    looked_at: int,
) -> Finding:
    rows: list[dict[str, Any]] = [
        {
            "property": name,
            "balanced_accuracy": round(float(results.accuracies[place]), 4),
            "chance": round(results.chance, 4),
            "p_value": float(results.p_values[place]),
            "p_holm": float(results.p_holm[place]),
            "flagged": bool(results.flagged[place]),
            "by_class": text,
        }
        for place, (name, text) in enumerate(zip([*names, "all together"], [*by_class, ""], strict=True))
    ]
    remedies = [property_.remedy for property_ in told]
    return Finding(
        "shortcuts",
        _severity(results, told, names),
        _message(rows, told, results.chance) + _sampled(looked_at, len(evidence.labels)),
        " ".join(
            ("A model may learn this instead of what matters, and fail on other images.", *dict.fromkeys(remedies))
        ),
        evidence={"properties": rows[:-1], "together": rows[-1], "shuffles": results.shuffles, "images": looked_at},
    )


def _message(rows: list[dict[str, Any]], told: list[_Property], chance: float) -> str:
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


def _sampled(looked_at: int, there_are: int) -> str:
    if looked_at == there_are:
        return ""
    return f" Judged on {looked_at:,} of {there_are:,} images, from every class with at least {LEAST_UNITS}."


def _severity(results: Results, told: list[_Property], names: list[str]) -> Severity:
    """By the strongest property that anatomy can't explain."""
    strengths = [results.strengths[names.index(one.name)] for one in told if one.of_file]
    if not strengths:
        return "note"
    return "serious" if max(strengths) >= STRONG else "warning"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
