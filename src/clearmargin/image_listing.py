"""The image files that paths name, one after the other: of 100,000 only the names within one folder are held."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from clearmargin.errors import SourceError
from clearmargin.sources.names import IMAGE_EXTENSIONS, extension


def image_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files among the paths and the images below the folders among them, each folder in the order of names.

    Raises
    ------
    SourceError
        While listing: when a path does not exist, or a folder can't be read.
    """
    for path in paths:
        yield from _below(path)


def count_images(paths: Sequence[Path]) -> int:
    """How many `image_files` lists.

    Raises
    ------
    SourceError
        As `image_files`, or when there is no image at all.
    """
    count = sum(1 for _ in image_files(paths))
    if not count:
        raise SourceError(
            f"There are no images in {', '.join(map(str, paths))}: expected files that end in "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    return count


def _below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _inside(path)
    elif path.is_file():
        yield path
    elif path.exists():
        raise SourceError(f"{path} is neither a file nor a folder.")
    else:
        raise SourceError(f"There is no file or folder {path}.")


def _inside(folder: Path) -> Iterator[Path]:
    """Files and what is in the folders between them by name; links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise SourceError(f"The folder {folder} can't be read: {error.strerror or error}.") from error
    for name, is_folder in found:
        if is_folder:
            yield from _inside(folder / name)
        elif not name.startswith(".") and extension(name) in IMAGE_EXTENSIONS and (folder / name).is_file():
            yield folder / name
