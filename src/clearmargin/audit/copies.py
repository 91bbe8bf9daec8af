"""Checks on copies, identical and near: how many, and where they contradict each other or leak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clearmargin.audit.duplicates import spelled_alike
from clearmargin.audit.evidence import Evidence
from clearmargin.records import Finding, Part

MOST_PAIRS = 200  # told as evidence
_SHOWN = 3
_MANY = 0.01  # of a tested part, from which near copies alone are serious: a few may be strangers that look alike
_SPELLINGS = 5  # sets of names told in a message
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
            {"pairs": told_pairs(evidence, evidence.links.identical), **_extent(evidence.copies)},
        )


def nearly_identical_images(evidence: Evidence) -> Iterator[Finding]:
    """How many images are nearly another one."""
    links = evidence.links
    nearly = ~links.identical
    if nearly.any():
        rows = np.unique(links.pairs[nearly])
        yield Finding(
            "near-copies",
            "note",
            f"{len(rows):,} of {len(evidence.names):,} images show nearly the same picture as another one: resized, "
            "stored again, brightened, framed, slightly cropped, mirrored or turned.",
            "Nothing has to be done: a new split keeps them in the same part. Look at the pairs: neighbouring slices "
            'of one patient can be among them. With near_duplicates = "drop" one of each set is used.',
            tuple(evidence.names[rows]),
            {"pairs": told_pairs(evidence, nearly), **_extent(evidence.together)},
        )


def chained_copies(evidence: Evidence) -> Iterator[Finding]:
    """Sets of copies that hang together by a chain of likenesses only."""
    near = evidence.near
    if near is None or not (near.chained or near.parted):
        return
    inside = np.isin(near.clusters, near.chained)
    largest = max(np.bincount(near.clusters[inside]), default=0)
    said = [
        f"{len(near.chained):,} {_plural(len(near.chained), 'set', 'sets')} of near-duplicates "
        f"{_plural(len(near.chained), 'hangs', 'hang')} together by a chain, in which the ends need not be alike; the "
        f"largest holds {largest:,} images."
    ] * bool(near.chained)
    if near.parted:
        said.append(
            f"{near.parted:,} {_plural(near.parted, 'set', 'sets')} would have held more than a fifth of the data and "
            f"{_plural(near.parted, 'was', 'were')} parted where images are least alike."
        )
    yield Finding(
        "chained-copies",
        "warning",
        " ".join(said),
        "Look at the pairs: series of neighbouring slices form chains, and so do plain pictures that are all alike. "
        "Sets that were not parted stay in one part, which leaks nothing but may leave a part uneven.",
        tuple(evidence.names[inside]),
        {
            "pairs": told_pairs(evidence, inside[evidence.links.pairs[:, 0]] & ~evidence.links.identical),
            "clusters": len(near.chained),
            "largest": int(largest),
        },
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
            {"pairs": told_pairs(evidence, evidence.links.identical & _differ(evidence, evidence.labels))},
        )
    nearly = ~evidence.links.identical & _differ(evidence, evidence.labels)
    if nearly.any():
        told, names = _near_told(evidence, evidence.labels, nearly, "is labelled")
        yield Finding(
            "copies-with-different-labels",
            "warning",
            f"{nearly.sum():,} {_plural(int(nearly.sum()), 'pair', 'pairs')} of nearly identical images "
            f"{_plural(int(nearly.sum()), 'has', 'have')} different labels: {told}.",
            "Worth a look: if they show the same slice, at most one of the two labels can be right; "
            "neighbouring slices may rightly differ.",
            names,
            {"pairs": told_pairs(evidence, nearly)},
        )


def groups_spelled_alike(evidence: Evidence) -> Iterator[Finding]:
    """Patients whose names differ in case or white space only, and who would not be kept together."""
    alike = spelled_alike({group for group in evidence.groups.tolist() if group is not None})
    if not alike:
        return
    noun = evidence.nouns.group
    shown = "; ".join(" and ".join(repr(name) for name in names) for names in alike[:_SPELLINGS])
    more = f" and {len(alike) - _SPELLINGS:,} more" if len(alike) > _SPELLINGS else ""
    concerned = np.isin(evidence.groups.astype(str), [name for names in alike for name in names])
    yield Finding(
        "groups-spelled-alike",
        "warning",
        f"Names of {noun}s that differ in upper and lower case or in white space only: {shown}{more}. They count as "
        f"different {noun}s.",
        f"If they are one {noun}, write the name in one way: otherwise it may be in training and in test.",
        tuple(evidence.names[concerned]),
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
            {"pairs": told_pairs(evidence, evidence.links.identical & _differ(evidence, evidence.groups))},
        )
    nearly = ~evidence.links.identical & _differ(evidence, evidence.groups)
    if nearly.any():
        told, names = _near_told(evidence, evidence.groups, nearly, "is filed under")
        yield Finding(
            "copies-in-different-patients",
            "warning",
            f"{nearly.sum():,} {_plural(int(nearly.sum()), 'pair', 'pairs')} of nearly identical images "
            f"{_plural(int(nearly.sum()), 'is', 'are')} filed under different patients: {told}.",
            "Check whether two names stand for one patient. A new split keeps such patients together in one part.",
            names,
            {"pairs": told_pairs(evidence, nearly)},
        )


def copies_across_parts(evidence: Evidence) -> Iterator[Finding]:
    """Samples of a given part that the model has seen, or nearly so, in another one."""
    nouns = evidence.nouns
    for tested, tested_name, known, known_name in _TESTED_ON:
        is_tested, is_known = evidence.parts == tested, evidence.parts == known
        seen = is_tested & np.isin(evidence.together, evidence.together[is_known])
        same = is_tested & np.isin(evidence.copies, evidence.copies[is_known])
        number, identical, total = int(seen.sum()), int(same.sum()), int(is_tested.sum())
        if not number:
            continue
        what, how = nouns.copy, ""
        if number > identical:
            what, how = "a copy", f" ({identical:,} identical, {number - identical:,} nearly so)"
        across = is_tested[evidence.links.pairs] | is_known[evidence.links.pairs]
        across = across.all(axis=1) & (is_tested[evidence.links.pairs].sum(axis=1) == 1)
        yield Finding(
            "copies-across-parts",
            "serious" if identical or number >= _MANY * total else "warning",
            f"{number:,} of {total:,} {nouns.sample}s in the given {tested_name} part "
            f"{_plural(number, 'has', 'have')} {what} in the {known_name} part{how}: "
            "a model can recognise them without having learned anything.",
            "Nothing has to be done when the data are split anew (use_given = false, the usual way); "
            f"to keep the given parts, remove the {'copies' if how else nouns.copies} from the {known_name} part.",
            tuple(evidence.names[seen]),
            {
                "pairs": told_pairs(evidence, across),
                "by_class": {
                    name: {
                        "tested": tested_here,
                        "with_copy": int((seen & (evidence.labels == name)).sum()),
                        "identical": int((same & (evidence.labels == name)).sum()),
                    }
                    for name, tested_here in evidence.class_counts(tested).items()
                },
            },
        )


def patients_across_parts(evidence: Evidence) -> Iterator[Finding]:
    """Patients (or groups of rows, or what else somebody says belongs together) in more than one given part."""
    nouns, told = evidence.nouns, evidence.told
    noun = "group" if evidence.is_tied else nouns.group
    known_group = np.array([group is not None for group in evidence.groups], dtype=bool)
    known_group |= evidence.is_tied  # then a sample without a group is one of its own
    for tested, tested_name, known, known_name in _TESTED_ON:
        is_tested = known_group & (evidence.parts == tested)
        rows = np.flatnonzero(is_tested & np.isin(told, told[known_group & (evidence.parts == known)]))
        if len(rows):
            crossing = len(np.unique(told[rows]))
            yield Finding(
                f"{noun}s-across-parts",
                "serious",
                f"{crossing:,} of {len(np.unique(told[is_tested])):,} {noun}s in the given {tested_name} "
                f"part also {_plural(crossing, 'has', 'have')} {nouns.sample}s in the {known_name} part: "
                f"a model can recognise the {noun} instead of {nouns.effect}.",
                "Nothing has to be done when the data are split anew (use_given = false, the usual way); "
                f"to keep the given parts, move every {noun} to one of them.",
                tuple(evidence.names[rows]),
            )


def of_unused_parts(finding: Finding) -> Finding:
    """A finding as it is when nothing is learned or tested by the given parts: of a leak between them, a note."""
    if not finding.kind.endswith("-across-parts"):
        return finding
    return replace(
        finding,
        severity="note",
        message=f"The parts as shipped, not used here, leak: {finding.message}",
        remedy="Nothing has to be done: this study does not use them, and its own parts keep together what belongs "
        "together. Figures that others report on the parts as shipped are too good.",
    )


def of_mended_parts(finding: Finding) -> Finding:
    """A finding as it is when what leaks between the given parts was left out: of a leak between them, a note."""
    if not finding.kind.endswith("-across-parts"):
        return finding
    return replace(
        finding,
        severity="note",
        message=f"The parts as shipped leak, and what leaks is left out here: {finding.message}",
        remedy="Nothing has to be done: no image that is tested has a copy left in another part. Figures that others "
        "report on the parts as shipped are too good.",
    )


def told_pairs(evidence: Evidence, chosen: np.ndarray) -> list[dict[str, Any]]:
    """Pairs as plain JSON, at most `MOST_PAIRS`: the most alike first, those that differ in class before others.

    Parameters
    ----------
    chosen
        bool of shape (pairs,): which of the links.
    """
    rows = np.flatnonzero(chosen)
    differ = _differ(evidence, evidence.labels)[rows]
    rows = rows[np.lexsort((rows, -evidence.links.similarity[rows], ~differ))][:MOST_PAIRS]
    told = []
    for row in rows.tolist():
        first, second = evidence.links.pairs[row].tolist()
        told.append(
            {
                "first": evidence.names[first],
                "second": evidence.names[second],
                "similarity": round(float(evidence.links.similarity[row]), 4),
                "how": evidence.links.how(row),
                "first_label": evidence.labels[first],
                "second_label": evidence.labels[second],
                "first_part": evidence.parts[first],
                "second_part": evidence.parts[second],
            }
        )
    return told


def _extent(clusters: np.ndarray) -> dict[str, int]:
    sizes = np.bincount(clusters)
    return {"clusters": int((sizes > 1).sum()), "largest": int(sizes.max())}


def _differ(evidence: Evidence, values: np.ndarray) -> np.ndarray:
    """Which pairs have two different values, None aside: bool of shape (pairs,)."""
    first, second = values[evidence.links.pairs[:, 0]], values[evidence.links.pairs[:, 1]]
    pairs = zip(first, second, strict=True)
    return np.array([a is not None and b is not None and a != b for a, b in pairs], dtype=bool)


def _near_told(evidence: Evidence, values: np.ndarray, chosen: np.ndarray, verb: str) -> tuple[str, tuple[str, ...]]:
    """The pairs most alike in words, and the names of all."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-evidence.links.similarity[rows], kind="stable")]
    pairs = [(int(first), int(second)) for first, second in evidence.links.pairs[rows]]
    return _told(evidence, values, pairs, verb), tuple(evidence.names[np.unique(evidence.links.pairs[rows])])


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
