"""What stays together: patients and copies, and whether they do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from clearmargin.audit.duplicates import join_groups
from clearmargin.errors import SourceError
from clearmargin.records import PARTS, Inputs, Sample, Split

_SHOWN = 3


def name_groups(samples: Sequence[Sample], copies: np.ndarray) -> np.ndarray:
    """Identifier of what must stay together, for each sample: object array of shape (samples,).

    It is the name of the smallest patient in the group, else of its smallest sample, and ``+k`` when k further
    patients or single samples are joined to it through copies.
    """
    # Patients sort before samples without one.
    units = [(sample.group is None, sample.name if sample.group is None else sample.group) for sample in samples]
    number_of: dict[tuple[bool, str], int] = {}
    numbers = np.array([number_of.setdefault(unit, len(number_of)) for unit in units], dtype=np.int64)
    joined = join_groups(numbers, np.asarray(copies)).tolist()
    members: dict[int, list[tuple[bool, str]]] = {}
    for unit, group in sorted(dict(zip(units, joined, strict=True)).items()):
        members.setdefault(group, []).append(unit)
    taken: set[str] = set()
    identifiers = {}
    # A patient alone comes first and keeps its name, when that of a joined group or a sample looks the same.
    for group in sorted(members, key=lambda group: (members[group][0][0], len(members[group]), members[group][0])):
        (_, name), further = members[group][0], len(members[group]) - 1
        identifiers[group] = _untaken(f"{name}+{further}" if further else name, taken)
    return column(identifiers[group] for group in joined)


def _untaken(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted} ({number})"
    taken.add(name)
    return name


def crossing_groups(split: Split) -> int:
    """How many groups are in more than one part: 0 unless given parts leak and that was accepted."""
    return len(groups_in_two_parts(split.groups, split.parts))


def crossing_test_samples(split: Split) -> int:
    """How many test samples are of a group that is also in the training or validation part."""
    crossing = groups_in_two_parts(split.groups, split.parts)
    return int(np.isin(split.groups[split.rows("test")], column(crossing)).sum()) if crossing else 0


def check_split(split: Split) -> None:
    """Refuse a split in which a group is in two parts, a sample occurs twice, or a part is empty (of one
    sample, for training).

    Groups may be in two parts only where the parts are given and ``leaks_accepted`` says so.

    Raises
    ------
    SourceError
    """
    unknown = set(split.parts) - set(PARTS)
    if unknown:
        raise SourceError(f"Parts must be {', '.join(PARTS)}, got {first_few(sorted(map(str, unknown)))}.")
    empty = [part for part in PARTS if part not in set(split.parts)]
    if empty:
        raise SourceError(f"Every part needs samples, but {' and '.join(empty)} got none.")
    if len(split.rows("train")) < 2:
        raise SourceError("The training part needs at least 2 samples, got 1: give it a larger share.")
    if len(set(split.names)) < len(split.names):
        raise SourceError("A sample occurs more than once in the split.")
    if split.given and split.leaks_accepted:
        return
    crossing = groups_in_two_parts(split.groups, split.parts)
    if crossing:
        leaking = split.names[np.isin(split.groups, column(crossing))].tolist()
        raise SourceError(
            f"Groups in more than one part: {len(crossing):,}, expected 0: {first_few(crossing)}, with the samples "
            f"{first_few(leaking)}. What is tested would have been seen in training; make the split anew."
        )


def check_division(split: Split, inputs: Inputs) -> None:
    """Refuse to train on a split that leaks, whoever made it: the door of training.

    Beyond `check_split`, patients, identical pixels and what belonged together before copies were left out are looked
    up in the inputs themselves, whatever the split calls its groups.

    Raises
    ------
    SourceError
    """
    check_split(split)
    names = [sample.name for sample in inputs.samples]
    if split.names.tolist() != names:
        raise SourceError("The split is not one of these samples, in this order: make it of the inputs themselves.")
    if split.given and split.leaks_accepted:
        return
    together = inputs.together
    for what, keys in (
        ("patient", [sample.group for sample in inputs.samples]),
        ("identical samples", inputs.facts["pixel_sha256"].tolist()),
        ("group (patients, copies, and what the recipe ties)", [] if together is None else together.tolist()),
    ):
        if not keys:
            continue
        known = np.array([key is not None for key in keys], dtype=bool)
        groups, parts = column(keys)[known], split.parts[known]
        crossing = groups_in_two_parts(groups, parts)
        if crossing:
            leaking = split.names[known][np.isin(groups, column(crossing[:1]))].tolist()
            raise SourceError(
                f"The split leaks: {len(crossing):,} times the same {what} in more than one part, the first with the "
                f"samples {first_few(leaking)}. What is tested would have been seen in training; make the split anew."
            )


def groups_in_two_parts(groups: np.ndarray, parts: np.ndarray) -> list[str]:
    """Groups that are in more than one part, sorted."""
    first_part: dict[str, str] = {}
    return sorted({g for g, part in zip(groups, parts, strict=True) if first_part.setdefault(g, part) != part})


def column(values: Iterable[object]) -> np.ndarray:
    """Object array of shape (values,), of Python's own objects."""
    return np.array(list(values), dtype=object)


def first_few(names: Sequence[str]) -> str:
    """First few names, quoted, for a message."""
    more = len(names) - _SHOWN
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
