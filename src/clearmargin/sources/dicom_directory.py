"""A DICOMDIR as a source: the files that it lists, in the folder it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clearmargin.dicom import HEAD_BYTES, is_dicom, listed_files, read_header
from clearmargin.errors import ImageError
from clearmargin.records import Finding
from clearmargin.sources.container import damaged, quoted, read_image
from clearmargin.sources.folder import Folder, list_folder


def is_dicomdir(path: Path) -> bool:
    """Whether a file is a DICOMDIR, whatever its name."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            return is_dicom(head) and read_header(file, head).is_directory
    except (OSError, ImageError):
        return False


def list_dicomdir(path: Path) -> Folder:
    """The files that a DICOMDIR lists and that are there, sorted by name.

    Names are looked for among the files of its folder, whether they are written in upper or lower case: it can't lead
    anywhere else.

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
        listed = listed_files(content)
    except (OSError, ImageError) as error:
        raise damaged(path, error) from error
    folder = list_folder(path.absolute().parent)
    there = {name.casefold(): name for name in folder.entries}
    found = sorted({there[name.casefold()] for name in listed if name.casefold() in there})
    missing = tuple(sorted({name for name in listed if name.casefold() not in there}))
    findings = folder.findings
    if missing:
        message = f"Left out, listed in the DICOMDIR and not there: {len(missing):,} of {len(set(listed)):,} files"
        findings += (
            Finding(
                "missing-files",
                "warning",
                f"{message} ({quoted(missing)}).",
                "Copy the whole disc or folder, or go on without them.",
                missing,
            ),
        )
    return Folder(folder.path, tuple(found), findings)


def listed_or_itself(path: Path) -> Iterator[Path]:
    """The files that a DICOMDIR lists; of any other file the file itself.

    Raises
    ------
    SourceError
        As `list_dicomdir`.
    """
    if not is_dicomdir(path):
        yield path
        return
    folder = list_dicomdir(path)
    yield from (folder.path / name for name in folder.entries)
