"""From the names of files to labelled samples: the rules of class folders.

A layout is decided from the folders that hold images, never from the files in them:

1. a single folder around everything is looked through (``brain/Training/…``);
2. if all top folders are named like parts, they are the parts and the next folders the classes;
3. otherwise the top folders are the classes, and if below every class all images lie in folders named
   like parts, those are the parts.

Deeper folders change nothing.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from clearmargin.errors import SourceError
from clearmargin.records import Finding, Part, Sample
from clearmargin.sources.container import Container, quoted
from clearmargin.sources.dicom_files import DicomEntry, without_image
from clearmargin.sources.layout_findings import (
    EXPECTED,
    class_named_like_part,
    ignored_files,
    uneven_classes,
    unlabelled_images,
    why_no_classes,
    why_no_images,
)
from clearmargin.sources.names import IMAGE_EXTENSIONS, PART_NAMES, extension

Folders = tuple[str, ...]


class Place(NamedTuple):
    """What a folder says about the images in it; ``label`` is None where no class folder is above them."""

    label: str | None
    part: Part | None = None


def read_layout(
    container: Container, dicom: Mapping[str, DicomEntry] = MappingProxyType({})
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Samples of a container of class folders in its order, and what was noticed.

    Parameters
    ----------
    dicom
        What is known of its DICOM files.

    Raises
    ------
    SourceError
        No image; no class folder; parts mixed with other folders; one class spelled in two ways.
    """
    images, others = _sorted_out(container.entries, dicom)
    if not images:
        raise SourceError(why_no_images(container, others))
    holding = {name.rpartition("/")[0] for name in images}
    folders = {folder: tuple(folder.split("/")) if folder else () for folder in holding}
    places = _places(set(folders.values()), container.path)
    samples, unlabelled = [], []
    for name in images:
        place = places[folders[name.rpartition("/")[0]]]
        if place.label is None:
            unlabelled.append(name)
        else:
            samples.append(Sample(name, place.label, part=place.part))
    if not samples:
        raise SourceError(why_no_classes(container, images, others))
    refuse_spelling_twins({str(sample.label) for sample in samples}, container.path)
    findings = (
        *ignored_files(others),
        *without_image(dicom),
        *unlabelled_images(unlabelled),
        *class_named_like_part({str(sample.label) for sample in samples}),
        *uneven_classes(samples),
    )
    return tuple(samples), findings


def _sorted_out(names: Iterable[str], dicom: Mapping[str, DicomEntry]) -> tuple[list[str], list[str]]:
    images: list[str] = []
    others: list[str] = []
    for name in names:
        if name not in dicom:
            (images if extension(name) in IMAGE_EXTENSIONS else others).append(name)
        elif dicom[name].frames:
            images.append(name)
    return images, others


def _places(folders: set[Folders], path: Path) -> dict[Folders, Place]:
    depth = _depth_below_wrappers(folders)
    tops = _names_at(folders, depth)
    if tops and all(map(_is_part, tops)):
        return _parts_first(folders, depth)
    if _has_parts_among(tops, folders, depth):
        strangers = sorted(top for top in tops if not _is_part(top))
        raise SourceError(
            f"{path} has folders named like parts beside others ({quoted(strangers)}), so that it is not clear "
            f"which are the classes. Move the others elsewhere.\n{EXPECTED}"
        )
    return _classes_first(folders, depth)


def _has_parts_among(tops: set[str], folders: set[Folders], depth: int) -> bool:
    """Whether several parts, or one with class folders in it, stand among the top folders.

    A class may be called ``train``: then its images lie in it, not in several folders.
    """
    like_parts = {top for top in tops if _is_part(top)}
    if len({PART_NAMES[top.casefold()] for top in like_parts}) > 1:
        return True
    below = (
        _names_at((folder for folder in folders if folder[depth : depth + 1] == (top,)), depth + 1)
        for top in like_parts
    )
    return any(len(names) > 1 for names in below)


def _is_part(name: str) -> bool:
    return name.casefold() in PART_NAMES


def _names_at(folders: Iterable[Folders], depth: int) -> set[str]:
    return {folder[depth] for folder in folders if len(folder) > depth}


def _depth_below_wrappers(folders: Collection[Folders]) -> int:
    """Depth at which folders begin to differ: below single folders that hold all the others.

    A single folder named like a part is a wrapper only if the folders in it are parts again.
    """
    around: list[str] = []
    while len(names := _names_at(folders, len(around))) == 1 and _names_at(folders, len(around) + 1):
        around += names
    depth = len(around)
    for level, name in reversed(list(enumerate(around))):
        if _is_part(name) and not all(map(_is_part, _names_at(folders, depth))):
            depth = level
    return depth


def _parts_first(folders: set[Folders], depth: int) -> dict[Folders, Place]:
    by_top = defaultdict(set)
    for folder in folders:
        if len(folder) > depth:
            by_top[folder[depth]].add(folder)
    several = [names for group in by_top.values() if len(names := _names_at(group, depth + 1)) > 1]
    classes = {name.casefold() for names in several for name in names}
    places = {folder: Place(None) for folder in folders}
    for top, group in by_top.items():
        part = PART_NAMES[top.casefold()]
        level = _depth_below_part_wrappers(group, depth + 1, classes)
        for folder in group:
            places[folder] = Place(_label(folder[level]) if len(folder) > level else None, part)
    return places


def _depth_below_part_wrappers(group: set[Folders], depth: int, classes: set[str]) -> int:
    """Depth of the class folders in one part; a single folder that is a class in another part is no wrapper."""
    names = _names_at(group, depth)
    while len(names) == 1 and not {name.casefold() for name in names} & classes and _names_at(group, depth + 1):
        depth += 1
        names = _names_at(group, depth)
    return depth


def _classes_first(folders: set[Folders], depth: int) -> dict[Folders, Place]:
    labelled = [folder for folder in folders if len(folder) > depth]
    with_parts = all(len(folder) > depth + 1 and _is_part(folder[depth + 1]) for folder in labelled)
    places = {folder: Place(None) for folder in folders}
    for folder in labelled:
        part = PART_NAMES[folder[depth + 1].casefold()] if with_parts else None
        places[folder] = Place(_label(folder[depth]), part)
    return places


def _label(folder: str) -> str:
    """Class name of a folder: macOS writes accents apart, other systems in one piece; they are the same class."""
    return unicodedata.normalize("NFC", folder)


def refuse_spelling_twins(labels: Iterable[str], path: Path) -> None:
    """Refuse class names that differ in upper and lower case or outer spaces only.

    Raises
    ------
    SourceError
        Listing the spellings.
    """
    spellings = defaultdict(list)
    for label in sorted(labels):
        spellings[label.strip().casefold()].append(label)
    twins = [repr(label) for same in spellings.values() if len(same) > 1 for label in same]
    if twins:
        raise SourceError(
            f"Class names in {path} differ only in upper and lower case or spaces: {', '.join(twins)}. "
            "If they mean the same class, give them one spelling; if not, names that differ more."
        )
