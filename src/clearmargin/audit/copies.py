"""Checks on identical samples: how many, and where they contradict each other or leak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from clearmargin.audit.evidence import Evidence
from clearmargin.records import Finding, Part

_SHOWN = 3
# What a reader calls the parts, and which of them must not know the other.
_TESTED_ON: tuple[tuple[Part, str, Part, str], ...] = (
    ("test", "test", "train", "training"),
    ("validation", "validation", "train", "training"),
    ("test", "test", "validation", "validation"),
)


def identical_images(evidence: Evidence) -> Iterator[Finding]:
    """How many images repeat another one."""
    sets = evidence.sets_of_copies
    if sets:
        rows = np.concatenate(sets)
        repeats = len(rows) - len(sets)
        yield Finding(
            "exact-copies",
            "note",
            f"{repeats:,} of {len(evidence.names):,} images {_plural(repeats, 'repeats', 'repeat')} another one, pixel "
            f"for pixel: {len(rows):,} images form {len(sets):,} {_plural(len(sets), 'set', 'sets')} of identical "
            "images.",
            "Nothing has to be done: a new split keeps identical images in the same part. "
            "Remove the repeats if every image should count once.",
            tuple(evidence.names[rows]),
        )


def copies_with_different_labels(evidence: Evidence) -> Iterator[Finding]:
    """Identical images that are said to show different things."""
    pairs, samples = _contradictions(evidence, evidence.labels)
    if pairs:
        yield Finding(
            "copies-with-different-labels",
            "serious",
            f"{len(pairs):,} {_plural(len(pairs), 'set', 'sets')} of identical images "
            f"{_plural(len(pairs), 'has', 'have')} different labels, of which at most one can be right: "
            f"{_told(evidence, evidence.labels, pairs, 'is labelled')}.",
            "Have them labelled again by somebody who knows, and correct or remove them; "
            "until then a model is punished for right answers.",
            samples,
        )


def copies_in_different_patients(evidence: Evidence) -> Iterator[Finding]:
    """Identical images that are filed under different patients."""
    pairs, samples = _contradictions(evidence, evidence.groups)
    if pairs:
        yield Finding(
            "copies-in-different-patients",
            "warning",
            f"{len(pairs):,} {_plural(len(pairs), 'set', 'sets')} of identical images "
            f"{_plural(len(pairs), 'is', 'are')} filed under different patients: "
            f"{_told(evidence, evidence.groups, pairs, 'is filed under')}.",
            "Check whether two names stand for one patient or an image was filed wrongly. "
            "A new split keeps such patients together in one part.",
            samples,
        )


def copies_across_parts(evidence: Evidence) -> Iterator[Finding]:
    """Samples of a given part that the model has seen, with the same pixels or inputs, in another one."""
    nouns = evidence.nouns
    for tested, tested_name, known, known_name in _TESTED_ON:
        seen = np.isin(evidence.copies, evidence.copies[evidence.parts == known])
        rows = np.flatnonzero((evidence.parts == tested) & seen)
        total = int((evidence.parts == tested).sum())
        if len(rows):
            yield Finding(
                "copies-across-parts",
                "serious",
                f"{len(rows):,} of {total:,} {nouns.sample}s in the given {tested_name} part "
                f"{_plural(len(rows), 'has', 'have')} {nouns.copy} in the {known_name} part: "
                "a model can recognise them without having learned anything.",
                "Nothing has to be done when the data are split anew (use_given = false, the usual way); "
                f"to keep the given parts, remove the {nouns.copies} from the {known_name} part.",
                tuple(evidence.names[rows]),
            )


def patients_across_parts(evidence: Evidence) -> Iterator[Finding]:
    """Patients (or groups of rows) with samples in more than one given part."""
    nouns = evidence.nouns
    known_group = np.array([group is not None for group in evidence.groups], dtype=bool)
    for tested, tested_name, known, known_name in _TESTED_ON:
        groups = set(evidence.groups[known_group & (evidence.parts == known)])
        is_tested = known_group & (evidence.parts == tested)
        rows = [int(row) for row in np.flatnonzero(is_tested) if evidence.groups[row] in groups]
        if rows:
            crossing = len(set(evidence.groups[rows]))
            yield Finding(
                f"{nouns.group}s-across-parts",
                "serious",
                f"{crossing:,} of {len(set(evidence.groups[is_tested])):,} {nouns.group}s in the given {tested_name} "
                f"part also {_plural(crossing, 'has', 'have')} {nouns.sample}s in the {known_name} part: "
                f"a model can recognise the {nouns.group} instead of {nouns.effect}.",
                "Nothing has to be done when the data are split anew (use_given = false, the usual way); "
                f"to keep the given parts, move every {nouns.group} to one of them.",
                tuple(evidence.names[rows]),
            )


def _contradictions(evidence: Evidence, values: np.ndarray) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    """Two rows of each set of copies whose values, None aside, differ; and the names of all in these sets."""
    pairs: list[tuple[int, int]] = []
    samples: list[str] = []
    for rows in evidence.sets_of_copies:
        stated = [int(row) for row in rows if values[row] is not None]
        other = next((row for row in stated if values[row] != values[stated[0]]), None)
        if other is not None:
            pairs.append((stated[0], other))
            samples.extend(evidence.names[stated])
    return pairs, tuple(samples)


def _told(evidence: Evidence, values: np.ndarray, pairs: Sequence[tuple[int, int]], verb: str) -> str:
    """Name the first few contradictions; repr keeps odd characters of a name harmless."""
    told = [
        f"{evidence.names[a]!r} {verb} {values[a]!r} and its copy {evidence.names[b]!r} {verb} {values[b]!r}"
        for a, b in pairs[:_SHOWN]
    ]
    more = len(pairs) - _SHOWN
    return "; ".join(told) + (f"; and {more:,} more" if more > 0 else "")


def _plural(number: int, one: str, many: str) -> str:
    return one if number == 1 else many
