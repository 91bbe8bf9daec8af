"""Files as they come in a request: how many images each holds, and those decoded, whatever they were made to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clearmargin.decoding import longest_side, prepared_pixels
from clearmargin.dicom import HEAD_BYTES, frame_file, is_dicom, open_dicom, require_dicom
from clearmargin.dicom.frames import DicomFile, frame_bits
from clearmargin.errors import ImageError, ImageSizeError, MissingExtraError
from clearmargin.records import Preprocessing
from clearmargin.serving.limits import Limits

MOST_SCANS = 100  # of a JPEG; progressive ones have about ten
MOST_MARKERS = 10_000
SOON_DECODED_PX = 2_000  # a side; a file of few bytes is looked at no closer, it has few images' worth of work in it
SOON_DECODED_BYTES = 50_000
_BITS_A_PIXEL = 48  # three colours of 16 bits
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # but those that may stand within the data of a scan
_END, _SCAN = 0xD9, 0xDA


@dataclass(frozen=True)
class Opened:
    """A file of a request.

    Attributes
    ----------
    dicom
        A DICOM file with several frames; None for any other file, which is one image.
    frames
        How many images it is.
    slow
        Whether decoding it may take long.
    """

    content: bytes
    dicom: DicomFile | None
    frames: int
    slow: bool


def may_be_dicom(content: bytes) -> bool:
    """Whether it is decoded as DICOM, by its first bytes."""
    return is_dicom(content[:HEAD_BYTES], named=True)


def reads_dicom() -> bool:
    """Whether the libraries are there."""
    try:
        require_dicom()
    except MissingExtraError:
        return False
    return True


def open_file(content: bytes, limits: Limits) -> Opened:
    """See what is in a file; what is wrong with it is said when it is decoded.

    Raises
    ------
    ImageSizeError
        When the frames of a DICOM file have too many pixels.
    """
    if not may_be_dicom(content):
        large = len(content) > SOON_DECODED_BYTES and longest_side(content) > SOON_DECODED_PX
        return Opened(content, None, 1, large)
    try:
        file = open_dicom(content)
        frames, pixels = file.header.frames, frame_bits(file.header) // _BITS_A_PIXEL
    except ImageError:
        return Opened(content, None, 1, slow=True)
    if frames <= 1:
        return Opened(content, None, 1, slow=True)
    if pixels > limits.image_pixels:
        raise ImageSizeError(f"too large: its frames have more pixels than the limit of {limits.image_pixels:,}")
    return Opened(content, file, frames, slow=True)


def contents(opened: Opened) -> Iterator[bytes | ImageError]:
    """The images of a file, each as a file of its own, or why it can't be had."""
    if opened.dicom is None:
        yield opened.content
        return
    for number in range(opened.frames):
        try:
            yield frame_file(opened.dicom, number)
        except ImageError as error:
            yield error


def prepared(content: bytes, preprocessing: Preprocessing, limits: Limits) -> np.ndarray:
    """Decode one image, uint8 (size_px, size_px, channels).

    Raises
    ------
    ImageError
        When it can't be decoded; the message is the reason.
    """
    refuse_endless_scans(content)
    return prepared_pixels(content, preprocessing, limits.image_pixels)


def refuse_endless_scans(content: bytes) -> None:
    """Refuse a JPEG in so many scans that decoding it takes minutes, each over all of its pixels.

    Counted as libjpeg finds them (ITU-T T.81, B.1.1), and no further than the end of the picture: behind it, phones
    put films.

    Raises
    ------
    ImageError
        When it is one.
    """
    if not content.startswith(b"\xff\xd8"):
        return
    place, scans = 2, 0
    for _ in range(MOST_MARKERS):
        found = _MARKER.search(content, place)
        if found is None or found[1][0] == _END:
            return
        scans += found[1][0] == _SCAN
        if scans > MOST_SCANS:
            raise ImageError(f"unsupported JPEG with more than {MOST_SCANS} scans")
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    raise ImageError(f"unsupported JPEG with more than {MOST_MARKERS:,} markers")
