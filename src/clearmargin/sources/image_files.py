"""Sources whose samples are image files: class folders (on disk, in a zip, in a tar) and manifests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from clearmargin.errors import ImageError
from clearmargin.records import Finding, Sample
from clearmargin.sources.container import Container, read_image
from clearmargin.sources.layout import read_layout


@dataclass(frozen=True)
class ImageFiles:
    """One image file for each sample; see `clearmargin.records.Source`.

    ``samples`` are in the order of the container: by name, in a tar in the order of the archive.
    """

    kind: str
    container: Container
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    simulated: bool = False

    def fingerprint(self) -> str:
        """SHA-256 (hex) over names and bytes of the images, or of the archive file; labels are not part of it."""
        return self.container.fingerprint(sample.name for sample in self.samples)

    def read(self) -> Iterator[bytes | ImageError]:
        """Encoded bytes of each image in the order of ``samples``, without keeping them.

        In place of an image that can't be read (gone, no permission, damaged in its archive, larger
        than 512 MiB) comes an `ImageError` that says why; it is yielded, not raised, so that one bad file
        does not end the study.
        """
        with closing(self.container.streams(sample.name for sample in self.samples)) as streams:
            for _, stream in streams:
                yield stream if isinstance(stream, ImageError) else read_image(stream)


def open_class_folders(container: Container) -> ImageFiles:
    """Source of a container of class folders.

    Raises
    ------
    SourceError
        No image or no class in it; see `read_layout`.
    """
    samples, findings = read_layout(container)
    return ImageFiles(container.kind, container, samples, container.findings + findings)
