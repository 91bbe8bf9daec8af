"""Images that are blank, too dark, blurred, of odd shape, written on … and classes too small for an honest test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clearmargin.audit.evidence import Evidence
from clearmargin.audit.properties import COLOURED
from clearmargin.records import Finding

_BLANK = 2.0  # standard deviation in grey levels: nothing can be seen
_ALL_DARK, _ALL_BRIGHT = 0.99, 0.9  # share of nearly black, nearly white pixels
_FAINT = 8.0  # standard deviation in grey levels
_BLURRED = 0.04  # sharpness, see appearance.Appearance
_OUTLYING = 5.0  # robust standard deviations from the median of the data set, and at the same time …
_FAR = 4.0  # … this many times less or more than it
_FAR_SHARPNESS = 3.0
_ODD = 2.0  # times wider or taller than usual
_SMALL_PX = 64
_MINORITY = 0.2
_GREY = 1.0  # colourfulness below which an image among coloured ones is grey
_LETTERS = 5  # four marks in a row also occur in anatomy
_FEW_GROUPS = 35  # below, intervals from resampling groups are too narrow
_TESTED_SHARE = 0.1
_HALF_WIDTH_5 = 139  # tested samples for ±5 points at 90 % accuracy
_SHOWN = 3


def image_quality(evidence: Evidence) -> Iterator[Finding]:
    """Images without content, too dark, too bright, faint or blurred: one finding for each kind."""
    facts = evidence.facts
    if "brightness" not in facts or facts.empty:
        return
    brightness, contrast = facts["brightness"].to_numpy(np.float64), facts["contrast"].to_numpy(np.float64)
    sharpness = facts["sharpness"].to_numpy(np.float64)
    dark_share, bright_share = facts["dark_share"].to_numpy(np.float64), facts["bright_share"].to_numpy(np.float64)
    blank = contrast < _BLANK
    seen = ~blank
    yield from _listed(
        evidence,
        "blank-images",
        blank,
        contrast,
        f"without visible content (blank): their grey levels spread by less than {_BLANK:g}",
        "Take them out of the data, or export them again.",
    )
    yield from _listed(
        evidence,
        "dark-images",
        seen & ((dark_share > _ALL_DARK) | _outlying(brightness, -1, seen)),
        brightness,
        f"extremely dark: over {_ALL_DARK:.0%} nearly black, or {_FAR:g} times darker than usual "
        f"(mean grey level {_median(brightness)})",
        "Look at them; the wrong window or a failed export often is the cause.",
    )
    yield from _listed(
        evidence,
        "bright-images",
        seen & ((bright_share > _ALL_BRIGHT) | _outlying(brightness, 1, seen)),
        brightness,
        f"extremely bright: over {_ALL_BRIGHT:.0%} nearly white, or {_FAR:g} times brighter than usual "
        f"(mean grey level {_median(brightness)})",
        "Look at them; the wrong window, inverted grey levels or a photographed screen often are the cause.",
    )
    yield from _listed(
        evidence,
        "low-contrast-images",
        seen & ((contrast < _FAINT) | _outlying(contrast, -1, seen)),
        contrast,
        f"of low contrast: their grey levels spread by less than {_FAINT:g}, or {_FAR:g} times less than usual "
        f"({_median(contrast)})",
        "Look at them; the wrong window often is the cause.",
    )
    blurred, soft = sharpness < _BLURRED, _outlying(sharpness, -1, seen, _FAR_SHARPNESS)
    words = "blurred or much softer" if (seen & blurred).any() else "much softer"
    yield from _listed(
        evidence,
        "blurred-images",
        seen & (blurred | soft),
        sharpness,
        f"{words} than usual: sharpness below {_BLURRED:g}, or {_FAR_SHARPNESS:g} times lower than usual "
        f"({_median(sharpness)})",
        "Look at them: enlarged thumbnails, smoothed images and moved patients look so. "
        "What matters may still be seen.",
    )


def image_shape(evidence: Evidence) -> Iterator[Finding]:
    """Images far wider or taller than the others, and far smaller."""
    width, height = (evidence.facts[name].to_numpy(np.float64) for name in ("width_px", "height_px"))
    usual = float(np.median(width / height)) if len(width) else 1.0
    proportions = width / height
    yield from _listed(
        evidence,
        "odd-proportions",
        np.abs(np.log(proportions / usual)) > np.log(_ODD),
        proportions,
        f"over {_ODD:g} times wider or taller than usual (width over height {usual:.2f})",
        "They may be several views in one picture, a screenshot or a strip: cut out what matters, or take them out.",
    )
    shortest = np.minimum(width, height)
    yield from _listed(
        evidence,
        "tiny-images",
        (shortest < _SMALL_PX) & (shortest < np.median(shortest) / 2 if len(shortest) else False),
        shortest,
        f"tiny: below {_SMALL_PX} pixels and less than half of what is usual ({_median(shortest)} pixels)",
        "They are enlarged and look blurred: take the originals, or leave them out.",
    )


def odd_modes(evidence: Evidence) -> Iterator[Finding]:
    """Coloured images among grey ones or the reverse, and more than 8 bits among 8-bit images."""
    facts = evidence.facts
    deep = facts["mode"].astype(str).str.startswith(("I", "F")).to_numpy(dtype=bool)
    if 0 < deep.sum() < len(deep):
        odd = deep if deep.mean() <= 0.5 else ~deep
        yield from _listed(
            evidence,
            "mixed-depths",
            odd,
            None,
            f"stored with {'more than 8 bits' if odd is deep else '8 bits'} a pixel, unlike the others",
            "Their grey levels are mapped in another way: export all images with the same window.",
        )
    if "colourfulness" not in facts or facts.empty:
        return
    colourfulness = facts["colourfulness"].to_numpy(np.float64)
    coloured = colourfulness > COLOURED
    if 0 < coloured.mean() <= _MINORITY:
        yield from _listed(
            evidence,
            "coloured-images",
            coloured,
            colourfulness,
            f"coloured, unlike the others (mean difference between colours over {COLOURED:g} grey levels)",
            'Colour maps and screenshots look so. color = "gray" in [data] treats all alike.',
        )
    grey = colourfulness < _GREY
    if coloured.mean() >= 1 - _MINORITY and grey.any():
        yield from _listed(
            evidence,
            "gray-images",
            grey,
            colourfulness,
            "without colour, unlike the others",
            "Make sure that they are of the same kind as the others.",
            "note",
        )


def text_suspects(evidence: Evidence) -> Iterator[Finding]:
    """Images that seem to have letters burnt in."""
    if "text_marks" not in evidence.facts:
        return
    marks = evidence.facts["text_marks"].to_numpy(np.float64)
    yield from _listed(
        evidence,
        "text-suspects",
        marks >= _LETTERS,
        marks,
        f"suspected of having letters or numbers burnt in ({_LETTERS} or more marks in a line)",
        "Make sure that they name no patient and do not differ between the classes; cut or paint them out.",
    )


def few_groups(evidence: Evidence) -> Iterator[Finding]:
    """Classes with too few patients, or images that are not copies, for an honest test."""
    counts = evidence.class_counts()
    if not counts:
        return
    independent = {name: len(np.unique(evidence.units[evidence.labels == name])) for name in counts}
    few = {name: number for name, number in independent.items() if number < _FEW_GROUPS}
    what = evidence.units_called
    tested = round(_TESTED_SHARE * sum(independent.values()))
    if few:
        shown = ", ".join(f"{name!r} {number:,}" for name, number in list(few.items())[:10])
        yield Finding(
            "few-groups",
            "warning",
            f"Too few {what} for an honest test, fewer than {_FEW_GROUPS} in a class: {shown}"
            f"{', …' if len(few) > 10 else ''}.",
            f"Intervals will be wide, and those that rest on resampling so few {what} too narrow. Collect more, join "
            "small classes, or use cross-validation.",
            evidence={"values": few},
        )
    elif tested < _HALF_WIDTH_5:
        yield Finding(
            "small-test",
            "note",
            f"A test part of {_TESTED_SHARE:.0%} holds about {tested:,} {what}; {_HALF_WIDTH_5} are needed to know an "
            "accuracy near 90 % to within ±5 points.",
            "Use cross-validation, a larger test part, or read the intervals.",
            evidence={"values": independent},
        )


def _outlying(values: np.ndarray, side: int, seen: np.ndarray, far: float = _FAR) -> np.ndarray:
    """Far below (-1) or above (1) what is usual in the data set, on a logarithmic scale."""
    logarithms = np.log(np.maximum(values, 1e-6))
    if seen.sum() < 8:
        return np.zeros(len(values), bool)
    middle = np.median(logarithms[seen])
    spread = 1.4826 * np.median(np.abs(logarithms[seen] - middle))
    return side * (logarithms - middle) > max(_OUTLYING * float(spread), np.log(far))


def _median(values: np.ndarray) -> str:
    return f"{np.median(values):.3g}" if len(values) else "0"


def _listed(
    evidence: Evidence,
    kind: str,
    concerned: np.ndarray,
    values: np.ndarray | None,
    what: str,
    remedy: str,
    severity: str = "warning",
) -> Iterator[Finding]:
    rows = np.flatnonzero(concerned)
    if not len(rows):
        return
    names = evidence.names[rows]
    shown = ", ".join(
        str(name) if values is None else f"{name} ({values[row]:.3g})"
        for name, row in zip(names[:_SHOWN], rows, strict=False)
    )
    more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
    yield Finding(
        kind,
        "note" if severity == "note" else "warning",
        f"{len(rows):,} of {len(evidence.names):,} images {'is' if len(rows) == 1 else 'are'} {what}: {shown}{more}.",
        remedy,
        tuple(names),
        {"values": {} if values is None else {str(evidence.names[row]): float(values[row]) for row in rows}},
    )
