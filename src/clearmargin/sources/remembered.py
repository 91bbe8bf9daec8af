"""What a large zip of class folders holds, listed once: read from then on while its own list of files is the same.

To list 60,000 images takes longer than to open all that is known of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clearmargin.cache import cache_folder, mark_used
from clearmargin.errors import DiskError
from clearmargin.files import write_bytes
from clearmargin.records import Finding, Sample
from clearmargin.sources.blocks import ImageBlocks
from clearmargin.sources.dicom_files import may_be_dicom
from clearmargin.sources.image_files import ImageFiles
from clearmargin.sources.zip_archive import Zip, directory_digest
from clearmargin.unfinished import sweep_left

_FORMAT = 1  # raise it when the rules of a listing change: names, class folders, findings
_LEAST_IMAGES = 2_000  # fewer are listed in no time
_LEAST_BYTES = 100  # of a zip for each file in it: two headers and two names
_DIGEST = 32  # bytes of SHA-256
_NO_LISTING = (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


def remembered_zip(path: Path, list_it: Callable[[], ImageFiles | ImageBlocks]) -> ImageFiles | ImageBlocks:
    """What ``list_it`` gives for a zip, from the cache when it was asked before and no name in the zip changed since.

    Only what follows from the names is kept, so nothing where DICOM files may be among them, whose headers count. A
    cache that can't be written is done without.
    """
    place = _place(path)
    if place is None:
        return list_it()
    mark_used(place)
    known = _stored(place, path)
    if known is not None:
        return known
    listed = list_it()
    if isinstance(listed, ImageFiles) and len(listed.samples) >= _LEAST_IMAGES:
        _store(place, path, listed)
    return listed


def _place(path: Path) -> Path | None:
    """Where a listing of the file lies; None for one that is too small to be worth it."""
    try:
        if path.stat().st_size < _LEAST_IMAGES * _LEAST_BYTES:
            return None
        whole = os.fsencode(path.resolve())
    except OSError:
        return None
    said = f"{_FORMAT} {sys.version_info[:2]} ".encode() + whole  # Python reads the names in a zip
    return cache_folder() / "listings" / f"{hashlib.blake2b(said, digest_size=16).hexdigest()}.json"


def _store(place: Path, path: Path, listed: ImageFiles) -> None:
    """Keep a listing, unless there is more to it than can be kept."""
    container, samples = listed.container, listed.samples
    if not isinstance(container, Zip) or not container.directory[1] or any(map(may_be_dicom, container.entries)):
        return
    labels = sorted({str(sample.label) for sample in samples})
    parts = sorted({str(sample.part) for sample in samples})
    label_number, part_number = ({name: number for number, name in enumerate(names)} for names in (labels, parts))
    try:
        page = {
            "directory": container.directory,
            "stored": {name: stored for name, stored in container.stored.items() if name != stored},
            "others": sorted({*container.entries} - {sample.name for sample in samples}),
            "labels": labels,
            "parts": parts,
            "names": [sample.name for sample in samples],
            "label": [label_number[str(sample.label)] for sample in samples],
            "part": [part_number[str(sample.part)] for sample in samples],
            "findings": [asdict(finding) for finding in listed.findings],
        }
        content = json.dumps(page).encode("ascii")
        if _read(json.loads(content), path) != listed:  # groups, frames, what JSON can't say
            return
    except _NO_LISTING:
        return
    with suppress(DiskError, OSError):
        sweep_left(place.parent)
        write_bytes(place, hashlib.sha256(content).digest() + content)


def _stored(place: Path, path: Path) -> ImageFiles | None:
    """What is there, whole and of this very zip, else None."""
    try:
        content = place.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None
        page = json.loads(content[_DIGEST:])
        begin, digest = page["directory"]
        with path.open("rb") as file:
            same = directory_digest(file, begin) == digest
        return _read(page, path) if same else None
    except _NO_LISTING:
        return None


def _read(page: dict[str, Any], path: Path) -> ImageFiles:
    names, labels = page["names"], page["labels"]
    parts = [None if part == "None" else part for part in page["parts"]]
    entries = tuple(sorted((*names, *page["others"]))) if page["others"] else tuple(names)
    stored = dict(zip(entries, entries, strict=True)) | page["stored"]
    return ImageFiles(
        Zip.kind,
        Zip(path, entries, stored, tuple(page["directory"])),
        tuple(
            Sample(name, labels[label], None, parts[part])
            for name, label, part in zip(names, page["label"], page["part"], strict=True)
        ),
        tuple(Finding(**one | {"samples": tuple(one["samples"])}) for one in page["findings"]),
    )
