"""Checks on what the data are made of: classes, sizes, ways of storing pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from clearmargin.audit.evidence import Evidence
from clearmargin.records import Finding

_UNEVEN = 1.5  # largest class over smallest
_VERY_UNEVEN = 5.0
_SHOWN = 5
# Pillow's modes in words; file formats keep their names.
MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "La": "grey with transparency",
    "P": "with a palette",
    "PA": "with a palette and transparency",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "RGBa": "colour with transparency",
    "RGBX": "colour with an unused channel",
    "CMYK": "in printing inks (CMYK)",
    "YCbCr": "colour as brightness and tint (YCbCr)",
    "LAB": "colour in CIELAB",
    "HSV": "colour as hue, saturation and value",
    "I": "grey of 32 bits",
    "F": "grey of decimal numbers",
    "I;16": "grey of 16 bits",
    "I;16L": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
    "I;16N": "grey of 16 bits",
}


def class_balance(evidence: Evidence) -> Iterator[Finding]:
    """How much larger the largest class is than the smallest."""
    counts = evidence.class_counts()
    if len(counts) == 1:
        yield Finding(
            "one-class",
            "serious",
            f"All images are of one class, {next(iter(counts))!r}: nothing can be trained, for there is nothing to "
            "tell apart.",
            "Add images of another class. If the folders are not the classes, name the classes in a table of paths and "
            "labels.",
        )
    if len(counts) < 2:
        return
    smallest = min(counts, key=lambda name: (counts[name], name))
    largest = max(counts, key=lambda name: (counts[name], name))
    ratio = counts[largest] / counts[smallest]
    if ratio >= _UNEVEN:
        yield Finding(
            "uneven-classes",
            "warning" if ratio >= _VERY_UNEVEN else "note",
            f"The largest class, {largest!r}, has {counts[largest]:,} images, {ratio:,.1f} times as many as the "
            f"smallest, {smallest!r}, with {counts[smallest]:,}.",
            "Read the balanced accuracy and the figures of each class rather than the accuracy, "
            "which the large classes dominate.",
        )


def mixed_sizes(evidence: Evidence) -> Iterator[Finding]:
    """How many sizes the images come in."""
    facts = evidence.facts
    sizes = Counter(zip(facts["width_px"].tolist(), facts["height_px"].tolist(), strict=True))
    if len(sizes) > 1:
        by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
        frequent = max(by_area, key=lambda size: sizes[size])
        yield Finding(
            "mixed-sizes",
            "note",
            f"The images come in {len(sizes):,} sizes, from {_times(by_area[0])} to {_times(by_area[-1])} pixels; "
            f"the most frequent is {_times(frequent)} ({sizes[frequent]:,} of {len(facts):,}).",
            "All are brought to one size. Make sure that the size does not depend on the class: "
            "a model could learn it.",
        )


def mixed_modes(evidence: Evidence) -> Iterator[Finding]:
    """Whether images are stored in different colour modes or file formats."""
    for column, kind, what in (("mode", "mixed-modes", "colour modes"), ("format", "mixed-formats", "file formats")):
        values = evidence.facts[column].to_numpy(dtype=object)
        counts = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
        if len(counts) > 1:
            told = ", ".join(f"{number:,} {MODES.get(name, name)}" for name, number in counts[:_SHOWN])
            yield Finding(
                kind,
                "note",
                f"The images are stored in {len(counts)} {what}: {told}{', …' if len(counts) > _SHOWN else ''}.",
                "All are brought to one form. Make sure that the classes do not differ in it: "
                "that often means they come from different hospitals or scanners.",
                tuple(evidence.names[values != counts[0][0]]),
            )


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
