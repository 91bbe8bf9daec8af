"""The images that paths name, one after the other: of 100,000 only the names within one folder are held.

To list and count them, no more than headers of DICOM files is read, and a tar to its end; of an archive all names are
held.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

from clearmargin.dicom import DicomFile, frame_file, open_dicom
from clearmargin.errors import ImageError, SourceError
from clearmargin.image_archive import ImageArchive, open_archive
from clearmargin.sources.dicom_directory import files_of_dicomdir, is_dicomdir
from clearmargin.sources.dicom_files import DicomEntry, dicom_entry, may_be_dicom
from clearmargin.sources.names import IMAGE_EXTENSIONS, extension
from clearmargin.trained import read_image_file


@dataclass(frozen=True)
class Listed:
    """One image: what it is called, and how to read its file.

    Attributes
    ----------
    held_bytes
        Size of what has been read of it.
    """

    name: str
    read: Callable[[], bytes]
    held_bytes: int = 0


class Counted(NamedTuple):
    """How many images there are, and how many DICOM files without one were passed over."""

    images: int
    without_image: int


class _File(NamedTuple):
    """A file among those given: images in it (0: DICOM without one), and why it can't be read where that is known."""

    name: str
    frames: int = 1
    failure: str = ""


def opened(paths: Sequence[Path]) -> list[Path | ImageArchive]:
    """The same paths, with the archives among them listed, so that this is done once; raises what `images` does."""
    return [path if archive is None else archive for path, archive in map(_listed, paths)]


def images(paths: Sequence[Path | ImageArchive], first: int = 0) -> Iterator[Listed]:
    """The files among the paths, the images in the folders and archives among them, folders in the order of names.

    Of a DICOMDIR, the files that it lists, also those that are not there: to read one says so. The frames of a DICOM
    file one by one, as ``FILE#1``; DICOM without an image is passed over, unless it is named itself. The images of an
    archive, of a zip by name and of a tar in its order, are called ``ARCHIVE/NAME``, and have been read.

    Parameters
    ----------
    first
        The number of the image to begin with, counted from 0.

    Raises
    ------
    SourceError
        While listing: when a path does not exist, or a folder or archive can't be read.
    MissingExtraError
        When there are DICOM files, and the libraries to read them are not there.
    """
    last = _LastFile()
    for place in paths:
        path, archive = _listed(place)
        if archive is None:
            passed = 0
            for listed in _outside_archives(path, last):
                passed += 1
                if passed > first:
                    yield listed
            first -= min(first, passed)
        else:
            passed = min(first, len(archive))
            first -= passed
            for name, content in zip(islice(archive.names(), passed, None), archive.read(passed), strict=True):
                yield Listed(name, partial(_given, content), 0 if isinstance(content, ImageError) else len(content))


def image_names(paths: Sequence[Path | ImageArchive]) -> Iterator[str]:
    """What the images are called that `images` lists; raises what that does."""
    for place in paths:
        path, archive = _listed(place)
        if archive is None:
            yield from (listed.name for listed in _outside_archives(path, _LastFile()))
        else:
            yield from archive.names()


def _outside_archives(path: Path, last: _LastFile) -> Iterator[Listed]:
    for file in _below(path):
        place = Path(file.name)
        if file.failure:
            yield Listed(file.name, partial(_refuse, file.failure))
        elif file.frames == 1:
            yield Listed(file.name, partial(read_image_file, place))
        else:
            for number in range(file.frames):
                yield Listed(f"{file.name}#{number + 1}", partial(last.frame, place, number))


def _listed(place: Path | ImageArchive) -> tuple[Path, ImageArchive | None]:
    return (place.path, place) if isinstance(place, ImageArchive) else (place, open_archive(place))


def count_images(paths: Sequence[Path | ImageArchive]) -> Counted:
    """How many `images` lists, and passes over.

    Raises
    ------
    SourceError, MissingExtraError
        As `images`, or when there is no image at all.
    """
    there, without = 0, 0
    listed = [_listed(place) for place in paths]
    for path, archive in listed:
        if archive is not None:
            there += len(archive)
            without += archive.without_image
            continue
        for file in _below(path):
            there += file.frames
            without += file.frames == 0
    if not there:
        besides = f" ({without:,} DICOM files hold none)" if without else ""
        raise SourceError(
            f"There are no images in {', '.join(str(path) for path, _ in listed)}{besides}: expected DICOM files, or "
            f"files that end in {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    return Counted(there, without)


class _LastFile:
    """The file of several frames that was read last: only one is held, and one after the other is read once for all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._file: DicomFile | str = ""

    def frame(self, path: Path, number: int) -> bytes:
        """One frame of a file, counted from 0, as a DICOM file of its own.

        Raises
        ------
        ImageError
            When the file can't be read (said of each frame, without reading it again), or has not this frame.
        """
        with self._lock:
            if path != self._path:
                self._path, self._file = None, ""  # gone before the next is read
                self._file = _opened(path)
                self._path = path
            if isinstance(self._file, str):
                raise ImageError(self._file)
            return frame_file(self._file, number)


def _opened(path: Path) -> DicomFile | str:
    """A DICOM file, or why it can't be read."""
    try:
        return open_dicom(read_image_file(path))
    except ImageError as error:
        return str(error)


def _given(content: bytes | ImageError) -> bytes:
    if isinstance(content, ImageError):  # raised itself, it would hold on to this frame, and that to it
        raise ImageError(str(content), transient=content.transient)
    return content


def _refuse(reason: str) -> NoReturn:
    raise ImageError(reason)


def _below(path: Path) -> Iterator[_File]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SourceError(f"There is no file or folder {path}.") from None
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}.") from error
    if stat.S_ISDIR(mode):
        yield from _inside(path)
    elif not stat.S_ISREG(mode):
        raise SourceError(f"{path} is neither a file nor a folder.")
    elif is_dicomdir(path):
        yield from _of_dicomdir(path)
    else:
        entry = None if extension(path.name) in IMAGE_EXTENSIONS else dicom_entry(path)
        yield _found(path, entry) if entry and entry.unread else _File(str(path), max(1, entry.frames) if entry else 1)


def _of_dicomdir(path: Path) -> Iterator[_File]:
    found, missing = files_of_dicomdir(path)
    there = frozenset(found)
    for name in sorted((*found, *missing)):
        place = path.parent / name.lstrip("/")
        if name not in there:
            yield _File(str(place), failure="it is not there, and the DICOMDIR lists it")
            continue
        yield _found(place, dicom_entry(place))


def _inside(folder: Path) -> Iterator[_File]:
    """Files and what is in the folders between them by name; links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise SourceError(f"The folder {folder} can't be read: {error.strerror or error}.") from error
    for name, is_folder in found:
        if is_folder:
            yield from _inside(folder / name)
        elif not name.startswith(".") and _is_ordinary(folder / name):
            yield from _recognised(folder / name)


def _is_ordinary(path: Path) -> bool:
    """Whether it is a file and no pipe; also a link that leads nowhere or can't be followed: its row says so."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _recognised(path: Path) -> Iterator[_File]:
    """A file in a folder, when it is called like an image or is DICOM."""
    if extension(path.name) in IMAGE_EXTENSIONS:
        yield _File(str(path))
    elif may_be_dicom(path.name):
        entry = dicom_entry(path)
        if entry is not None and not entry.directory:
            yield _found(path, entry)


def _found(path: Path, entry: DicomEntry | None) -> _File:
    if entry is None:
        return _File(str(path))
    return _File(str(path), entry.frames, "its header can't be read at the moment" if entry.unread else "")
