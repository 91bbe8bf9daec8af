"""What a large zip of class folders holds, listed once: read from then on while the file system says it is the same.

To list 60,000 images takes longer than to open all that is known of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
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
from clearmargin.sources.container import files_state
from clearmargin.sources.image_files import ImageFiles
from clearmargin.sources.zip_archive import Zip
from clearmargin.unfinished import sweep_left

_FORMAT = 1  # raise it when the rules of a listing change: names, class folders, findings
_LEAST_IMAGES = 2_000  # fewer are listed in no time
_SETTLED_SECONDS = 2.0  # what was written to more recently may be so again without another time to show for it
_DIGEST = 32  # bytes of SHA-256


def remembered_zip(path: Path, list_it: Callable[[], ImageFiles | ImageBlocks]) -> ImageFiles | ImageBlocks:
    """What ``list_it`` gives for a zip, from the cache when it was asked before and nobody touched the file since.

    Touched is what has another size, inode or time of writing, or was moved. Without a cache it is listed each time.
    """
    place = _place(path)
    if place is None:
        return list_it()
    mark_used(place)
    known = _stored(place, path)
    if known is not None:
        return known
    listed = list_it()
    if isinstance(listed, ImageFiles) and len(listed.samples) >= _LEAST_IMAGES and _place(path) == place:
        _store(place, path, listed)
    return listed


def _place(path: Path) -> Path | None:
    """Where a listing of the file lies; None while it may still be written to."""
    try:
        found, whole = path.stat(), path.resolve()
    except OSError:
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < _SETTLED_SECONDS:
        return None
    said = f"{_FORMAT} {found.st_dev} {files_state([path])} ".encode() + os.fsencode(whole)
    return cache_folder() / "listings" / f"{hashlib.blake2b(said, digest_size=16).hexdigest()}.json"


def _store(place: Path, path: Path, listed: ImageFiles) -> None:
    """Keep a listing, unless there is more to it than can be kept."""
    container = listed.container
    if not isinstance(container, Zip):
        return
    labels, parts = (sorted({str(one) for one in every}) for every in zip(*_labels_and_parts(listed), strict=True))
    code, part_code = ({name: number for number, name in enumerate(names)} for names in (labels, parts))
    page = {
        "stored": {name: stored for name, stored in container.stored.items() if name != stored},
        "others": sorted({*container.entries} - {sample.name for sample in listed.samples}),
        "labels": labels,
        "parts": parts,
        "names": [sample.name for sample in listed.samples],
        "label": [code[str(sample.label)] for sample in listed.samples],
        "part": [part_code[str(sample.part)] for sample in listed.samples],
        "findings": [asdict(finding) for finding in listed.findings],
    }
    try:
        content = json.dumps(page).encode("ascii")
    except (TypeError, ValueError):
        return
    if _read(content, path) != listed:  # groups, frames, what JSON can't say
        return
    with suppress(DiskError, OSError):
        sweep_left(place.parent)
        write_bytes(place, hashlib.sha256(content).digest() + content)


def _labels_and_parts(listed: ImageFiles) -> list[tuple[str | float, str | None]]:
    return [(sample.label, sample.part) for sample in listed.samples]


def _stored(place: Path, path: Path) -> ImageFiles | None:
    """What is there and whole, else None."""
    try:
        content = place.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            return None
        return _read(content[_DIGEST:], path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _read(content: bytes, path: Path) -> ImageFiles:
    page: dict[str, Any] = json.loads(content)
    names, labels = page["names"], page["labels"]
    parts = [None if part == "None" else part for part in page["parts"]]
    entries = tuple(sorted((*names, *page["others"]))) if page["others"] else tuple(names)
    return ImageFiles(
        Zip.kind,
        Zip(path, entries, dict(zip(entries, entries, strict=True)) | page["stored"]),
        tuple(
            Sample(name, labels[label], None, parts[part])
            for name, label, part in zip(names, page["label"], page["part"], strict=True)
        ),
        tuple(Finding(**one | {"samples": tuple(one["samples"])}) for one in page["findings"]),
    )
