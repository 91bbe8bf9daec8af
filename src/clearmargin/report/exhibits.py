"""What the audit's findings rest on, arranged to be looked at: pairs, suspects, properties, strips of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

from clearmargin.language import tr
from clearmargin.report.thumbnails import Thumbnail
from clearmargin.report.wording import is_number, listed, probability_value

PAIRS_SHOWN = 12
SUSPECTS_SHOWN = 24
STRIP_SHOWN = 12
LISTED = 200  # beyond these, audit.json
PICTURE_BYTES = 2_500_000  # of all pictures of findings
# Findings about single images that a glance can confirm, without a number for each.
PICTURED = {"blank-images", "coloured-images", "gray-images", "mixed-depths", "mixed-modes"}


@dataclass(frozen=True)
class Side:
    """One image of a pair: its name, class, given part (empty where there is none) and picture."""

    name: str
    label: str
    part: str
    picture: Thumbnail | None


@dataclass(frozen=True)
class Pair:
    """Two images that are copies of each other."""

    first: Side
    second: Side
    similarity: float | None
    how: str


@dataclass(frozen=True)
class PairGroup:
    """Pairs of one class, or of the same two classes."""

    title: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class ClassCopies:
    """Of one class: images tested, those with a copy in another part, and those whose copy is identical."""

    name: str
    tested: int
    with_copy: int
    identical: int | None

    @property
    def share(self) -> float:
        return min(1.0, self.with_copy / self.tested) if self.tested > 0 else 0.0


@dataclass(frozen=True)
class Suspect:
    """An image whose label is doubted; probabilities are those of a model that never saw it."""

    name: str
    given: str
    suggested: str
    p_given: float | None
    p_suggested: float | None
    picture: Thumbnail | None


@dataclass(frozen=True)
class Property:
    """How well the class can be told from one property of the file; ``at`` and ``chance_at`` are percent of a bar."""

    name: str
    accuracy: float | None
    chance: float | None
    p: str
    p_holm: str
    flagged: bool
    by_class: str

    @property
    def at(self) -> float:
        return _percent(self.accuracy)

    @property
    def chance_at(self) -> float:
        return _percent(self.chance)


@dataclass(frozen=True)
class Print:
    """One picture of a strip, with the number that decided, where there is one."""

    name: str
    value: float | None
    picture: Thumbnail | None


@dataclass(frozen=True)
class Exhibit:
    """Everything shown under one finding; what does not apply is empty."""

    groups: tuple[PairGroup, ...] = ()
    further_pairs: tuple[Pair, ...] = ()
    unlisted_pairs: int = 0
    by_class: tuple[ClassCopies, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    further_suspects: tuple[Suspect, ...] = ()
    unlisted_suspects: int = 0
    features: str = ""
    out_of_fold_accuracy: float | None = None
    properties: tuple[Property, ...] = ()
    strip: tuple[Print, ...] = ()
    strip_of: int = 0
    values: tuple[tuple[str, float], ...] = ()

    @property
    def pairs_shown(self) -> int:
        return sum(len(group.pairs) for group in self.groups)


def pictured_names(finding: Mapping[str, Any]) -> list[str]:
    """Names of the images that are shown with a picture under a finding, in the order they are shown."""
    evidence = finding.get("evidence") or {}
    names = [pair[side] for pair in _first_pairs(evidence) for side in ("first", "second")]
    names += [suspect["name"] for suspect in (evidence.get("suspects") or [])[:SUSPECTS_SHOWN]]
    return list(dict.fromkeys([*names, *_strip_names(finding)]))


def affordable(findings: Iterable[Mapping[str, Any]], pictures: Mapping[str, Thumbnail]) -> list[dict[str, Thumbnail]]:
    """For each finding the pictures it may show, so that all of them together stay within `PICTURE_BYTES`."""
    left, given = PICTURE_BYTES, []
    for finding in findings:
        own: dict[str, Thumbnail] = {}
        for name, times in _occurrences(finding).items():
            size = times * len(pictures[name].uri) if name in pictures else 0
            if size and size <= left:
                own[name] = pictures[name]
                left -= size
        given.append(own)
    return given


def _occurrences(finding: Mapping[str, Any]) -> dict[str, int]:
    evidence = finding.get("evidence") or {}
    told = [pair[side] for pair in _first_pairs(evidence) for side in ("first", "second")]
    return {name: max(1, told.count(name)) for name in pictured_names(finding)}


def exhibit(finding: Mapping[str, Any], pictures: Mapping[str, Thumbnail] | None) -> Exhibit:
    """Arrange the evidence of one finding; None for ``pictures``: rows of a table, which have none."""
    evidence = finding.get("evidence") or {}
    pairs = evidence.get("pairs") or []
    shown = _first_pairs(evidence) if pictures is not None else []
    names = _strip_names(finding) if pictures is not None else []
    values, pictures = evidence.get("values") or {}, pictures or {}
    told = {id(pair) for pair in shown}
    further = [pair for pair in pairs if id(pair) not in told]
    suspects = [_suspect(one, pictures) for one in evidence.get("suspects") or []]
    return Exhibit(
        groups=_grouped([_pair(pair, pictures) for pair in shown]),
        further_pairs=tuple(_pair(pair, {}) for pair in further[:LISTED]),
        unlisted_pairs=max(0, len(further) - LISTED),
        by_class=_by_class(evidence) if pairs or finding["kind"] == "copies-across-parts" else (),
        suspects=tuple(suspects[:SUSPECTS_SHOWN]),
        further_suspects=tuple(suspects[SUSPECTS_SHOWN : SUSPECTS_SHOWN + LISTED]),
        unlisted_suspects=max(0, len(suspects) - SUSPECTS_SHOWN - LISTED),
        features=evidence.get("features") or "",
        out_of_fold_accuracy=evidence.get("out_of_fold_accuracy"),
        properties=_properties(evidence),
        strip=tuple(Print(name, values.get(name), pictures.get(name)) for name in names),
        strip_of=len(finding.get("samples", ())),
        values=() if names else tuple((name, value) for name, value in values.items() if is_number(value))[:LISTED],
    )


def _first_pairs(evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs shown with pictures: of every class (or two classes) in turn, so that none hides the others."""
    by_title: dict[str, list[dict[str, Any]]] = {}
    for pair in evidence.get("pairs") or []:
        by_title.setdefault(_title(pair.get("first_label"), pair.get("second_label")), []).append(pair)
    in_turn = chain.from_iterable(zip_longest(*by_title.values()))
    return list(islice((pair for pair in in_turn if pair is not None), PAIRS_SHOWN))


def _title(first: object, second: object) -> str:
    names = [str(label) for label in dict.fromkeys((first, second)) if label is not None]
    return listed(names)


def _grouped(pairs: Sequence[Pair]) -> tuple[PairGroup, ...]:
    by_title: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_title.setdefault(_title(pair.first.label or None, pair.second.label or None), []).append(pair)
    return tuple(PairGroup(title, tuple(found)) for title, found in by_title.items())


def _pair(pair: Mapping[str, Any], pictures: Mapping[str, Thumbnail]) -> Pair:
    sides = [
        Side(
            pair[side],
            "" if pair.get(f"{side}_label") is None else str(pair[f"{side}_label"]),
            str(pair.get(f"{side}_part") or ""),
            pictures.get(pair[side]),
        )
        for side in ("first", "second")
    ]
    return Pair(sides[0], sides[1], pair.get("similarity"), pair.get("how") or "")


def _by_class(evidence: Mapping[str, Any]) -> tuple[ClassCopies, ...]:
    return tuple(
        ClassCopies(name, row["tested"], row["with_copy"], row.get("identical"))
        for name, row in (evidence.get("by_class") or {}).items()
    )


def _suspect(one: Mapping[str, Any], pictures: Mapping[str, Thumbnail]) -> Suspect:
    name = one["name"]
    return Suspect(name, one["given"], one["suggested"], one.get("p_given"), one.get("p_suggested"), pictures.get(name))


def _properties(evidence: Mapping[str, Any]) -> tuple[Property, ...]:
    told = sorted(evidence.get("properties") or [], key=lambda one: (not one.get("flagged"), -_percent(_accuracy(one))))
    rows = [_property(str(one["property"]), one) for one in told]
    together = evidence.get("together")
    return (*rows, *([_property(tr("all together"), together)] if rows and together else []))


def _accuracy(one: Mapping[str, Any]) -> float | None:
    return one.get("balanced_accuracy")


def _property(name: str, one: Mapping[str, Any]) -> Property:
    return Property(
        name,
        _accuracy(one),
        one.get("chance"),
        probability_value(one.get("p_value")),
        probability_value(one.get("p_holm")),
        bool(one.get("flagged")),
        str(one.get("by_class") or ""),
    )


def _percent(share: float | None) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 1) if share is not None and is_number(share) else 0.0


def _strip_names(finding: Mapping[str, Any]) -> list[str]:
    """Images of a finding about single images: the most telling first where numbers say which, else as listed."""
    evidence = finding.get("evidence") or {}
    if evidence.get("pairs") or evidence.get("suspects"):
        return []
    samples = list(finding.get("samples", ()))
    known = set(samples)
    told = [name for name in evidence.get("values") or {} if name in known]
    if not told and finding["kind"] not in PICTURED:
        return []
    return list(dict.fromkeys([*told, *samples]))[:STRIP_SHOWN]
