"""What a page leaves out so that it stays small: fewer pictures, fewer mistakes, fewer classes; and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clearmargin.language import tr
from clearmargin.report import insides, mistakes, results
from clearmargin.report.folder import RunFiles
from clearmargin.report.insides import Inside
from clearmargin.report.thumbnails import Thumbnail
from clearmargin.report.wording import bytes_size, count

LARGEST_REPORT = 15_000_000  # bytes


@dataclass(frozen=True)
class Measure:
    """How much a page may hold: a share of what all pictures may take and of the mistakes, and classes in a table."""

    share: float
    classes: int | None


# Tried in turn until the page is small enough.
MEASURES = (Measure(1.0, None), Measure(0.4, 300), Measure(0.15, 100), Measure(0.04, 30), Measure(0.0, 10))


@dataclass(frozen=True)
class Material:
    """What the galleries and the look inside are arranged from."""

    run: RunFiles
    thumbnails: Mapping[str, Thumbnail]
    seen: Mapping[str, Inside]
    per_class: Sequence[results.PerClass]


def arranged(material: Material, measure: Measure) -> dict[str, Any]:
    """The part of a page's facts that depends on how much it may hold."""
    run, seen = material.run, material.seen
    most = mistakes.most_shown(len(run.contenders))
    fitting = mistakes.within_budget(run, material.thumbnails, seen, measure.share * mistakes.PICTURE_BYTES)
    limit = max(1, min(fitting, int(measure.share * most)))
    by_cell = len(run.evaluation["classes"]) <= results.CLASSES_AS_TABLE
    nearest = [seen[contender.name].nearest if contender.name in seen else {} for contender in run.contenders]
    galleries = [
        mistakes.gallery(run, contender, limit, material.thumbnails, by_cell, near)
        for contender, near in zip(run.contenders, nearest, strict=True)
    ]
    tables = [_fewer_classes(table, measure.classes) for table in material.per_class]
    return {
        "galleries": galleries,
        "albums_shown": {album.identifier for gallery in galleries for album in gallery.albums},
        "insides": insides.within_budget(seen, measure.share * insides.INSIDE_BYTES),
        "per_class": tables,
        "pictures_missing": any(
            mistake.picture is None for gallery in galleries for album in gallery.albums for mistake in album.mistakes
        ),
        "shortened": _said(measure),
    }


def _fewer_classes(table: results.PerClass, most: int | None) -> results.PerClass:
    """The classes with the lowest recall, and a note that there are more."""
    if most is None or len(table.rows) <= most:
        return table
    places = sorted(range(len(table.rows)), key=lambda place: _recall(table.rows[place][0]))[:most]
    note = tr(
        "{shown} of {n} classes shown: those with the lowest recall; all are in {file}.",
        shown=count(most), n=count(len(table.rows)), file="evaluation.json",
    )  # fmt: skip
    return replace(table, rows=tuple(table.rows[place] for place in sorted(places)), note=note)


def _recall(row: Mapping[str, Any]) -> float:
    return 2.0 if row["recall"] is None else float(row["recall"])


def _said(measure: Measure) -> str:
    """A sentence on what is missing, empty for a page that holds everything it usually does."""
    if measure == MEASURES[0]:
        return ""
    return tr(
        "To keep this page below {size}, it shows fewer pictures, mistakes and classes than usual; everything is in "
        "the files of the run folder.",
        size=bytes_size(LARGEST_REPORT),
    )
