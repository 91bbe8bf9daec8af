"""A DICOMDIR as a source: the files that it lists, in the folder it lies in."""

from __future__ import annotations

import os
from pathlib import Path

from clearmargin.dicom import HEAD_BYTES, is_dicom, listed_files, read_header
from clearmargin.errors import ImageError
from clearmargin.records import Finding
from clearmargin.sources.container import damaged, quoted, read_image
from clearmargin.sources.folder import Folder


def is_dicomdir(path: Path) -> bool:
    """Whether a file is a DICOMDIR, whatever its name."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            return is_dicom(head) and read_header(file, head).is_directory
    except (OSError, ImageError):
        return False


def list_dicomdir(path: Path) -> Folder:
    """The files that a DICOMDIR lists and that are there, sorted by name, with a finding about the others.

    Raises
    ------
    SourceError
        When it is damaged.
    """
    found, missing = files_of_dicomdir(path)
    if not missing:
        return Folder(path.parent, found)
    total = len(found) + len(missing)
    finding = Finding(
        "missing-files",
        "warning",
        f"Left out, listed in the DICOMDIR and not there: {len(missing):,} of {total:,} files ({quoted(missing)}).",
        "Copy the whole disc or folder, or go on without them.",
        missing,
    )
    return Folder(path.parent, found, (finding,))


def files_of_dicomdir(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the files that a DICOMDIR lists: those that are there, as they are spelled there, and those that aren't.

    Each folder on the way to a file is looked up in the one above it, in upper or lower case, and links are not
    followed: a DICOMDIR can't lead out of its folder. Both are sorted and relative to that folder.

    Raises
    ------
    SourceError
        When it is damaged.
    """
    try:
        with path.open("rb") as file:
            content = read_image(file)
        if isinstance(content, ImageError):
            raise content
        listed = set(listed_files(content))
    except (OSError, ImageError) as error:
        raise damaged(path, error) from error
    tree = _Tree(path.parent)
    places = {name: tree.find(name) for name in listed}
    found = {place for place in places.values() if place is not None}
    return tuple(sorted(found)), tuple(sorted(name for name, place in places.items() if place is None))


class _Tree:
    """What lies below a folder, looked at where it is asked for; each folder is read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, dict[str, os.DirEntry[str]]] = {}

    def find(self, name: str) -> str | None:
        """A file as it is spelled on the disk, relative to the root; None when it is not there."""
        *folders, last = name.split("/")
        place = ""
        for piece in folders:
            folder = self._entry(place, piece)
            if folder is None or not folder.is_dir(follow_symlinks=False):
                return None
            place += f"{folder.name}/"
        file = self._entry(place, last)
        return place + file.name if file is not None and file.is_file(follow_symlinks=False) else None

    def _entry(self, place: str, name: str) -> os.DirEntry[str] | None:
        if place not in self._known:
            self._known[place] = self._inside(place)
        inside = self._known[place]
        return inside.get(name) or inside.get(name.casefold())

    def _inside(self, place: str) -> dict[str, os.DirEntry[str]]:
        """What is in a folder, by name and by the name in lower case; nothing where it can't be read."""
        try:
            with os.scandir(self._root / place) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return {}
        return {entry.name.casefold(): entry for entry in listed} | {entry.name: entry for entry in listed}
