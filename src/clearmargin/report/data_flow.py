"""Where the samples went: found, excluded, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clearmargin.language import tr
from clearmargin.records import PARTS
from clearmargin.report.folder import StudyFiles
from clearmargin.report.wording import part_title


@dataclass(frozen=True)
class PartFlow:
    """One part: how many images and groups, the share asked for and the share it got."""

    part: str
    name: str
    images: int
    groups: int
    asked: float | None
    achieved: float


@dataclass(frozen=True)
class ClassFlow:
    """One class: how many images in all and in each part, in the order of ``PARTS``."""

    name: str
    images: int
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Flow:
    """The whole way from the source to the parts."""

    found: int
    excluded: int
    used: int
    reasons: tuple[tuple[str, int], ...]
    parts: tuple[PartFlow, ...]
    classes: tuple[ClassFlow, ...]


def data_flow(run: StudyFiles, classes: Sequence[str] = (), noun: str = "image") -> Flow:
    """Count images, or rows of a table, from the source to the parts; ``classes`` are those of a classification."""
    counts, split = run.audit["counts"], run.split
    by_part = {part: split["counts"].get(part, {}) for part in PARTS}
    asked = dict.fromkeys(PARTS) if split.get("given") else dict(zip(PARTS, split["asked"], strict=True))
    parts = tuple(
        PartFlow(
            part,
            part_title(part),
            sum(by_part[part].values()),
            split["groups"].get(part, 0),
            asked[part],
            split["achieved"].get(part, 0.0),
        )
        for part in PARTS
    )
    of_classes = tuple(
        ClassFlow(name, sum(row), row)
        for name in classes
        for row in (tuple(int(by_part[part].get(name, 0)) for part in PARTS),)
    )
    used = sum(part.images for part in parts)
    return Flow(counts["found"], counts["found"] - used, used, _reasons(run, used, noun), parts, of_classes)


def _reasons(run: StudyFiles, used: int, noun: str) -> tuple[tuple[str, int], ...]:
    counts = run.audit["counts"]
    dropped = run.recipe.get("split", {}).get("near_duplicates") == "drop"
    left_out = (
        (tr("could not be read"), counts["found"] - counts["decoded"]),
        (_repeats(noun) if dropped else tr("in no part of the split"), counts["decoded"] - used),
    )
    return tuple((reason, number) for reason, number in left_out if number)


def _repeats(noun: str) -> str:
    return tr("repeats of another image") if noun == "image" else tr("repeats of another row")
