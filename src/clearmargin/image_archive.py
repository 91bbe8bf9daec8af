"""The images in a zip or tar, whatever their folders are called: for predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clearmargin.errors import ImageError, SourceError
from clearmargin.records import Sample
from clearmargin.sources.container import Container
from clearmargin.sources.dicom_files import survey
from clearmargin.sources.image_files import ImageFiles, image_files
from clearmargin.sources.names import DICOM_EXTENSIONS, IMAGE_EXTENSIONS, extension
from clearmargin.sources.tar_archive import is_tar, list_tar
from clearmargin.sources.zip_archive import is_zip, list_zip


@dataclass(frozen=True)
class ImageArchive:
    """Images of an archive, of a zip by name and of a tar in its order, frames of DICOM files one by one.

    Attributes
    ----------
    without_image
        How many DICOM files hold none.
    """

    path: Path
    files: ImageFiles
    without_image: int

    def __len__(self) -> int:
        return len(self.files.samples)

    def names(self) -> Iterator[str]:
        """``ARCHIVE/NAME`` of each."""
        return (f"{self.path}/{sample.name}" for sample in self.files.samples)

    def read(self, first: int = 0) -> Iterator[bytes | ImageError]:
        """The bytes of each from one on, counted from 0, or why they can't be had; of one at a time."""
        return replace(self.files, samples=self.files.samples[first:]).read()


def open_archive(path: Path) -> ImageArchive | None:
    """The images in a file, when it is a zip or tar; None for all else.

    Raises
    ------
    SourceError
        When it is one, and can't be used; also when there are links in it, which are not followed.
    MissingExtraError
        When DICOM files are in it, and the libraries to read them are not there.
    """
    container = _container(path)
    if container is None:
        return None
    if container.findings:
        said = " ".join(finding.message for finding in container.findings)
        raise SourceError(f"{path} can't be predicted as it is. {said} Unpack it yourself and give the folder.")
    dicom = survey(container, container.entries)
    samples = [
        Sample(name, label="")
        for name in container.entries
        if (dicom[name].frames if name in dicom else extension(name) in IMAGE_EXTENSIONS)
    ]
    without = sum(not entry.frames and not entry.directory for entry in dicom.values())
    return ImageArchive(path, image_files(container.kind, container, samples, (), dicom), without)


def _container(path: Path) -> Container | None:
    try:
        if extension(path.name) in IMAGE_EXTENSIONS | DICOM_EXTENSIONS or not path.is_file():
            return None
    except OSError:
        return None  # whoever lists it says why
    if is_tar(path):
        return list_tar(path)
    return list_zip(path) if is_zip(path) else None
