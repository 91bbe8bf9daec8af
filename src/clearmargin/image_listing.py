"""The images that paths name, one after the other: of 100,000 only the names within one folder are held."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clearmargin.dicom import frame_file, open_dicom
from clearmargin.errors import SourceError
from clearmargin.sources.dicom_directory import listed_or_itself
from clearmargin.sources.dicom_files import count_frames, is_dicom_image
from clearmargin.sources.names import IMAGE_EXTENSIONS, extension
from clearmargin.trained import read_image_file


@dataclass(frozen=True)
class Listed:
    """One image: what it is called, and how to read its file."""

    name: str
    read: Callable[[], bytes]


def images(paths: Sequence[Path]) -> Iterator[Listed]:
    """All images of the files that `image_files` lists; the frames of a DICOM file one by one, as ``FILE#1``.

    Raises
    ------
    SourceError, MissingExtraError
        As `image_files`.
    """
    for path in image_files(paths):
        frames = count_frames(path) if extension(path.name) not in IMAGE_EXTENSIONS else 1
        if frames <= 1:
            yield Listed(str(path), partial(read_image_file, path))
            continue
        file = open_dicom(read_image_file(path))
        for number in range(frames):
            yield Listed(f"{path}#{number + 1}", partial(frame_file, file, number))


def image_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files among the paths, the images below the folders among them, each folder in the order of names.

    Of a DICOMDIR, the files that it lists.

    Raises
    ------
    SourceError
        While listing: when a path does not exist, or a folder can't be read.
    MissingExtraError
        When there are DICOM files, and the libraries to read them are not there.
    """
    for path in paths:
        yield from _below(path)


def count_images(paths: Sequence[Path]) -> int:
    """How many `images` lists.

    Raises
    ------
    SourceError
        As `image_files`, or when there is no image at all.
    """
    count = sum(1 for _ in images(paths))
    if not count:
        raise SourceError(
            f"There are no images in {', '.join(map(str, paths))}: expected DICOM files, or files that end in "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    return count


def _below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _inside(path)
    elif path.is_file():
        yield from listed_or_itself(path)
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
        elif not name.startswith(".") and _is_image(folder / name):
            yield folder / name


def _is_image(path: Path) -> bool:
    return path.is_file() and (extension(path.name) in IMAGE_EXTENSIONS or is_dicom_image(path))
