"""A DICOM file as a picture of 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from clearmargin.dicom.codestream import check_codestream
from clearmargin.dicom.decoding_process import decode_frame
from clearmargin.dicom.frames import DicomFile, first_frame, open_dicom
from clearmargin.dicom.grey import colours, grey_levels
from clearmargin.dicom.header import (
    ALLOCATED,
    COLUMNS,
    HIGH_BIT,
    PHOTOMETRIC,
    PLANAR,
    ROWS,
    SAMPLES,
    STORED,
    SYNTAXES,
    Header,
    read_header,
)
from clearmargin.errors import ImageError, ImageSizeError
from clearmargin.records import Window

# PS3.3 C.7.6.3.1.2, with the samples a pixel has. The others are retired, or of what is not read here.
_PHOTOMETRIC = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
_ALLOCATED = (1, 8, 16, 32)


@dataclass(frozen=True)
class Picture:
    """What is shown of a file.

    Attributes
    ----------
    pixels
        uint8 of shape (height, width) or (height, width, 3).
    mode
        How the file stores them: its photometric interpretation and bits.
    """

    pixels: np.ndarray
    mode: str


def decode_dicom(content: bytes, max_pixels: int, window: Window) -> Picture:
    """Decode the first frame of a DICOM file.

    Parameters
    ----------
    max_pixels
        Larger images are refused from their header.
    window
        As `records.Preprocessing` has it; it is for grey images.

    Raises
    ------
    ImageError
        When it can't be decoded; the message is the reason.
    MissingExtraError
        When the libraries are not there.
    """
    file = open_dicom(content)
    header = first_frame(file.header)
    kind = _checked(header, max_pixels)
    stored, shown_as = _stored(file, header, kind)
    mode = f"{kind}, {header.integer(STORED)} bits"
    if shown_as in ("MONOCHROME1", "MONOCHROME2"):
        return Picture(grey_levels(stored, header, window, inverted=shown_as == "MONOCHROME1"), mode)
    if shown_as == "PALETTE COLOR":
        return Picture(colours(stored, header), mode)
    if shown_as == "RGB" and stored.dtype.kind == "u":
        brightest = (1 << header.integer(STORED)) - 1
        shades = np.round(np.minimum(np.arange(1 << 8 * stored.dtype.itemsize) / brightest, 1) * 255).astype(np.uint8)
        return Picture(shades[stored], mode)
    raise ImageError("its DICOM colours are coded in a way that is not read here")


def dicom_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header.

    Raises
    ------
    ImageError
        When it can't be read.
    """
    header = read_header(BytesIO(content))
    return header.integer(COLUMNS), header.integer(ROWS)


def _checked(header: Header, max_pixels: int) -> str:
    """Photometric interpretation of a header that describes an image we read."""
    width, height = header.integer(COLUMNS), header.integer(ROWS)
    if width < 1 or height < 1:
        raise ImageError(f"it has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageSizeError(f"too large: {width} x {height} pixels, the limit is {max_pixels:,} pixels")
    kind, samples = header.text(PHOTOMETRIC), header.integer(SAMPLES, 1)
    if kind not in _PHOTOMETRIC:
        raise ImageError(f"its DICOM photometric interpretation is not read here; expected {', '.join(_PHOTOMETRIC)}")
    if samples != _PHOTOMETRIC[kind]:
        raise ImageError(f"damaged DICOM: {kind} with {samples} samples a pixel, expected {_PHOTOMETRIC[kind]}")
    allocated, bits = header.integer(ALLOCATED), header.integer(STORED, 0)
    if allocated not in _ALLOCATED or not 1 <= bits <= allocated or (samples == 3 and allocated not in (8, 16)):
        raise ImageError(f"damaged or unsupported DICOM: {bits} bits stored in {allocated}, of {samples} samples")
    if header.integer(HIGH_BIT, bits - 1) != bits - 1 and not _packs_bits(header):
        raise ImageError("unsupported DICOM: its values do not begin at the lowest bit")
    return kind


def _packs_bits(header: Header) -> bool:
    """Whether a coding holds the bits that are stored and no others."""
    return header.compressed and SYNTAXES[header.syntax][0] != "RLE"


def _stored(file: DicomFile, header: Header, kind: str) -> tuple[np.ndarray, str]:
    """Stored values of the first frame, and how they are to be shown."""
    width, height, samples = header.integer(COLUMNS), header.integer(ROWS), header.integer(SAMPLES, 1)
    frame = file.frame(0)
    if SYNTAXES[header.syntax][0] == "JPEG extended" and header.integer(STORED) > 8:
        raise ImageError("its DICOM coding is not read here (lossy JPEG of more than 8 bits)")
    if header.compressed:
        check_codestream(SYNTAXES[header.syntax][0], frame, width, height, samples)
    asked: dict[str, Any] = {
        "transfer_syntax": header.syntax,
        "compressed": header.compressed,
        "rows": height,
        "columns": width,
        "samples_per_pixel": samples,
        "bits_allocated": header.integer(ALLOCATED),
        "bits_stored": header.integer(STORED),
        "pixel_representation": int(header.signed),
        "photometric_interpretation": kind,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    if samples == 3:
        asked["planar_configuration"] = header.integer(PLANAR, 0)
    values, shown_as = decode_frame(asked, frame, width * height)
    if values.shape != ((height, width) if samples == 1 else (height, width, 3)) or values.dtype.kind not in "iu":
        raise ImageError("damaged DICOM: its decoded frame is not of the size its header says")
    return values, shown_as
