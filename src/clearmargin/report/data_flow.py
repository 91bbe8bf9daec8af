"""Where the samples went: found, excluded, split; and what the audit noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearmargin.records import PARTS
from clearmargin.report.folder import StudyFiles
from clearmargin.report.wording import plural

PART_NAMES = {"train": "Training", "validation": "Validation", "test": "Test"}
SAMPLES_LISTED = 60
_SEVERITIES = ("serious", "warning", "note")


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
            PART_NAMES[part],
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
        ("could not be read", counts["found"] - counts["decoded"]),
        (f"repeats of another {noun}" if dropped else "in no part of the split", counts["decoded"] - used),
    )
    return tuple((reason, number) for reason, number in left_out if number)


@dataclass(frozen=True)
class FindingCard:
    """One finding as the page shows it."""

    severity: str
    kind: str
    message: str
    remedy: str
    samples: tuple[str, ...]
    hidden: int


def findings(run: StudyFiles) -> list[FindingCard]:
    """The audit's findings, the serious ones first, their lists of samples capped."""
    found = sorted(run.audit["findings"], key=lambda finding: _SEVERITIES.index(finding["severity"]))
    return [_card(finding) for finding in found]


def _card(finding: Mapping[str, Any]) -> FindingCard:
    samples = tuple(finding.get("samples", ()))
    return FindingCard(
        finding["severity"],
        finding["kind"].replace("-", " "),
        finding["message"],
        finding.get("remedy", ""),
        samples[:SAMPLES_LISTED],
        max(0, len(samples) - SAMPLES_LISTED),
    )


def findings_summary(cards: list[FindingCard]) -> str:
    """Count findings by severity: ``1 serious finding, 2 warnings``."""
    words = {"serious": ("serious finding", None), "warning": ("warning", None), "note": ("note", None)}
    told = []
    for severity in _SEVERITIES:
        number = sum(card.severity == severity for card in cards)
        if number:
            told.append(plural(number, *words[severity]))
    return ", ".join(told) or "Nothing was found"
