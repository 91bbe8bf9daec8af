"""Parts that somebody gave: complete, and free of leaks unless those are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clearmargin.audit.nouns import IMAGES, ROWS, Nouns
from clearmargin.errors import SourceError
from clearmargin.records import PARTS, Sample
from clearmargin.split.drawing import Grouped, new_parts
from clearmargin.split.groups import column, first_few, groups_in_two_parts


@dataclass(frozen=True)
class Giver:
    """Who gave the parts, for messages.

    Attributes
    ----------
    parts
        The parts, with an article.
    instead
        What to do to have the data split anew.
    """

    parts: str
    instead: str


SOURCE = Giver("The given parts", "set use_given = false to have the data split anew")


def file_giver(name: str) -> Giver:
    """A split file, by its name."""
    return Giver(f"The parts in {name}", "leave the file out to have the data split anew")


def given_parts(
    samples: Sequence[Sample], groups: np.ndarray, accept_leaks: bool, numeric: bool, giver: Giver = SOURCE
) -> np.ndarray:
    """The source's own parts, once it is sure that they are complete and do not leak.

    Raises
    ------
    SourceError
    """
    nouns = ROWS if numeric else IMAGES
    without = [sample.name for sample in samples if sample.part is None]
    if without:
        raise SourceError(
            f"use_given = true needs a part for every sample, but {len(without):,} of {len(samples):,} have none: "
            f"{first_few(without)}. {nouns.give_parts}, or set use_given = false."
        )
    parts = column([sample.part for sample in samples])
    for part in ("train", "test"):
        if part not in set(parts) and giver is not SOURCE:
            raise SourceError(f"{giver.parts} leave {part} empty: put samples into it, or {giver.instead}.")
        if part not in set(parts):
            raise SourceError(
                f"use_given = true needs a {part} part, but the data have only {first_few(sorted(set(parts)))}. "
                f"{nouns.give_part.format(part)}, or set use_given = false to have the data split anew."
            )
    if not accept_leaks:
        _require_apart(column([sample.name for sample in samples]), groups, parts, nouns, giver)
    return parts


def _require_apart(names: np.ndarray, groups: np.ndarray, parts: np.ndarray, nouns: Nouns, giver: Giver) -> None:
    crossing = groups_in_two_parts(groups, parts)
    if crossing:
        leaking = int(np.isin(groups, column(crossing)).sum())
        rows = np.flatnonzero(groups == crossing[0])
        told = ", ".join(f"{names[row]!r} in {parts[row]}" for row in _one_of_each_part(rows, parts))
        raise SourceError(
            f"{giver.parts} leak. Groups ({nouns.group}, or {nouns.alike}) in more than one part: "
            f"{len(crossing):,}, with {leaking:,} {nouns.sample}s: {first_few(crossing)}; of the first, {told}. "
            f"Mend the parts, {giver.instead}, or set accept_leaks = true to go on and have every figure called leaky."
        )


def _one_of_each_part(rows: np.ndarray, parts: np.ndarray) -> list[int]:
    return [int(rows[parts[rows] == part][0]) for part in PARTS if part in set(parts[rows])]


def cut_validation(
    samples: Grouped, parts: np.ndarray, asked: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """Cut a validation part from the train part, by groups."""
    rows = np.flatnonzero(parts == "train")
    validation = asked[1] / (asked[0] + asked[1])
    cut = parts.copy()
    cut[rows] = new_parts(samples.only(rows), (1 - validation, validation), ("train", "validation"), rng)
    return cut


def require_classes(parts: np.ndarray, labels: np.ndarray, classes: Sequence[str], giver: Giver = SOURCE) -> None:
    """Refuse given parts of which one lacks a class.

    Raises
    ------
    SourceError
    """
    lacking = [
        f"{name!r} has none in {part}" for part in PARTS for name in sorted(set(classes) - set(labels[parts == part]))
    ]
    if lacking:
        raise SourceError(
            f"Every class needs images in every given part, but {'; '.join(lacking)}. "
            f"Add images, remove the class, or {giver.instead}."
        )
