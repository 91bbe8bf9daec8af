"""The audit's findings as cards, the serious ones first, with what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmargin.language import tr
from clearmargin.report.exhibits import Exhibit, affordable, exhibit, pictured_names
from clearmargin.report.thumbnails import Pictures, Thumbnail, keep_only, load_thumbnails, save_thumbnails
from clearmargin.report.wording import plural, short

SAMPLES_LISTED = 60
FIRST_SCREEN = 5
PICTURE_SIDE_PX = 128
_SEVERITIES = ("serious", "warning", "note")


@dataclass(frozen=True)
class FindingCard:
    """One finding as the page shows it; ``identifier`` is where a link to it leads."""

    identifier: str
    severity: str
    kind: str
    message: str
    remedy: str
    samples: tuple[str, ...]
    hidden: int
    exhibit: Exhibit


def findings(
    audit: Mapping[str, Any], folder: Path | None = None, pictures: Pictures | None = None
) -> list[FindingCard]:
    """The findings of ``audit.json``, the serious ones first, their lists of samples capped.

    Parameters
    ----------
    audit
        The content of ``audit.json``.
    folder
        The folder it lies in, under which ``figures/audit`` keeps the thumbnails; None for the rows of a table, which
        have no pictures.
    pictures
        Gives images by name; without it the thumbnails kept there are used.
    """
    found = sorted(audit["findings"], key=lambda finding: _SEVERITIES.index(finding["severity"]))
    if folder is None:
        return [_card(place, finding, None) for place, finding in enumerate(found, start=1)]
    shown = affordable(found, _thumbnails(found, folder, pictures))
    return [_card(place, finding, own) for place, (finding, own) in enumerate(zip(found, shown, strict=True), start=1)]


def _thumbnails(found: Sequence[Mapping[str, Any]], folder: Path, pictures: Pictures | None) -> dict[str, Thumbnail]:
    place = folder / "figures" / "audit"
    names = list(dict.fromkeys(name for finding in found for name in pictured_names(finding)))
    if pictures is not None:
        saved = save_thumbnails(place, names, pictures, PICTURE_SIDE_PX)
        keep_only(place, saved)
    return load_thumbnails(place, names)


def _card(place: int, finding: Mapping[str, Any], pictures: Mapping[str, Thumbnail] | None) -> FindingCard:
    samples = tuple(finding.get("samples", ()))
    return FindingCard(
        f"finding-{place}",
        finding["severity"],
        finding["kind"].replace("-", " "),
        finding["message"],
        finding.get("remedy", ""),
        samples[:SAMPLES_LISTED],
        max(0, len(samples) - SAMPLES_LISTED),
        exhibit(finding, pictures),
    )


def findings_summary(cards: Iterable[FindingCard]) -> str:
    """Count findings by severity: ``1 serious finding, 2 warnings.``"""
    found = [card.severity for card in cards]
    told = [
        plural(found.count("serious"), "serious finding") if "serious" in found else "",
        plural(found.count("warning"), "warning") if "warning" in found else "",
        plural(found.count("note"), "note") if "note" in found else "",
    ]
    said = tr(", ").join(filter(None, told))
    return tr("{findings}.", findings=said) if said else tr("Nothing was found.")


def serious(cards: Iterable[FindingCard]) -> tuple[list[tuple[str, str, str]], int]:
    """The serious findings for the first screen, as (identifier, kind, its first words), and how many more."""
    found = [(card.identifier, card.kind, _first_words(card.message)) for card in cards if card.severity == "serious"]
    return found[:FIRST_SCREEN], max(0, len(found) - FIRST_SCREEN)


def _first_words(message: str) -> str:
    """A message up to its first colon or full stop that ends a thought, not longer than two lines."""
    ends = [place for mark in (": ", ". ") if (place := message.find(mark)) > 0]
    return short(message[: min(ends)] if ends else message.removesuffix("."), 170)


def findings_facts(
    audit: Mapping[str, Any], folder: Path | None = None, pictures: Pictures | None = None
) -> dict[str, Any]:
    """What a page shows of the audit; arguments as `findings` takes them."""
    cards = findings(audit, folder, pictures)
    told, more = serious(cards)
    return {
        "findings": cards,
        "findings_summary": findings_summary(cards),
        "serious": told,
        "serious_more": more,
    }
