"""Sources whose samples are image files: class folders (on disk, in a zip, in a tar) and manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType

from clearmargin.dicom import frame_file, open_dicom
from clearmargin.errors import ImageError, SourceError
from clearmargin.records import Finding, Sample
from clearmargin.sources.container import Container, read_image
from clearmargin.sources.dicom_files import DicomEntry, expanded, readable_again, survey
from clearmargin.sources.layout import read_layout

_UNREAD = "its header could not be read when the files were listed: run again"


@dataclass(frozen=True)
class ImageFiles:
    """One image file for each sample; see `clearmargin.records.Source`.

    ``samples`` are in the order of the container: by name, in a tar in the order of the archive.

    Attributes
    ----------
    frames
        Of a sample that is one frame of a DICOM file with several: its file and the number of the frame, from 0.
    header_groups
        The groups that headers of DICOM files name; `with_header_groups` makes them those of the samples.
    unread
        DICOM files whose headers the system did not give. Nobody knows whose they are, nor how many frames they have:
        they are not read either.
    """

    kind: str
    container: Container
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    simulated: bool = False
    frames: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    header_groups: Mapping[str, str] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()

    def fingerprint(self) -> str:
        """SHA-256 (hex) over names and bytes of the images, or of the archive file; labels are not part of it.

        Raises
        ------
        SourceError
            When headers could not be read while the files were listed, and can be now: what was listed is not what is
            there.
        """
        there = readable_again(self.container, self.unread) if self.unread else []
        if there:
            raise SourceError(
                f"{len(there):,} of {len(self.samples):,} images could not be read for a moment, such as {there[0]!r}, "
                "so that it is not known whose they are: run again when their disk can be relied on."
            )
        return self.container.fingerprint(name for name, _ in self._files())

    def state(self) -> str:
        """Of the files of the images, or of the archive file; see `clearmargin.records.Source.state`."""
        return self.container.state(name for name, _ in self._files())

    def with_header_groups(self) -> ImageFiles:
        """The same with the groups that headers name, unless the data name groups in another way."""
        if not self.header_groups or any(sample.group is not None for sample in self.samples):
            return self
        return replace(
            self,
            samples=tuple(replace(sample, group=self.header_groups.get(sample.name)) for sample in self.samples),
        )

    def _files(self) -> Iterator[tuple[str, list[int | None]]]:
        """Each file once, with the numbers of the frames that are samples; None for the file itself."""
        places = (self.frames.get(sample.name, (sample.name, None)) for sample in self.samples)
        for name, together in groupby(places, key=lambda place: place[0]):
            yield name, [number for _, number in together]

    def read(self) -> Iterator[bytes | ImageError]:
        """Encoded bytes of each image in the order of ``samples``, without keeping them.

        In place of an image that can't be read (gone, no permission, damaged in its archive, larger
        than 512 MiB) comes an `ImageError` that says why; it is yielded, not raised, so that one bad file
        does not end the study.
        """
        files = list(self._files()) if self.frames else []
        names = (name for name, _ in files) if files else (sample.name for sample in self.samples)
        with closing(self.container.streams(names)) as streams:
            for place, (name, stream) in enumerate(streams):
                content = stream if isinstance(stream, ImageError) else read_image(stream)
                if name in self.unread and not isinstance(content, ImageError):
                    content = ImageError(_UNREAD, transient=True)
                numbers = files[place][1] if files else [None]
                yield from (content,) if numbers == [None] else _cut(content, numbers)


def open_class_folders(container: Container) -> ImageFiles:
    """Source of a container of class folders.

    Raises
    ------
    SourceError
        No image or no class in it; see `read_layout`.
    """
    dicom = survey(container, container.entries)
    samples, findings = read_layout(container, dicom)
    return image_files(container.kind, container, samples, container.findings + findings, dicom)


def image_files(
    kind: str,
    container: Container,
    samples: Sequence[Sample],
    findings: tuple[Finding, ...],
    dicom: Mapping[str, DicomEntry],
    single: Mapping[str, tuple[str, int]] = MappingProxyType({}),
) -> ImageFiles:
    """Source of one sample for each file, or for each frame of one; ``single`` as `expanded` takes it.

    Raises
    ------
    SourceError
        When a file is called like a frame of another, or a manifest names a file and one of its frames.
    """
    if not dicom and not single:
        return ImageFiles(kind, container, tuple(samples), findings)
    each = expanded(samples, dicom, single)
    names = Counter(sample.name for sample in each.samples)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise SourceError(
            f"{container.path} has {twice!r} twice: as a frame of a file, and as a file or a row of its own."
        )
    unread = frozenset(name for name, entry in dicom.items() if entry.unread)
    return ImageFiles(kind, container, each.samples, findings + each.findings, False, each.frames, each.groups, unread)


def _cut(content: bytes | ImageError, numbers: Sequence[int | None]) -> Iterator[bytes | ImageError]:
    """Each frame as a file of its own, or why it can't be had."""
    try:
        if isinstance(content, ImageError):
            raise content
        file = open_dicom(content)
    except ImageError as error:
        yield from [ImageError(str(error), transient=error.transient)] * len(numbers)
        return
    for number in numbers:
        try:
            yield frame_file(file, number or 0)
        except ImageError as error:
            yield ImageError(str(error), transient=error.transient)
