"""The size that a compressed frame gives itself, read before anything is decoded."""

from __future__ import annotations

import struct

from clearmargin.errors import ImageError

# ITU-T T.81, table B.1, and T.87: start of frame, of the kinds that DICOM has. Markers without a length.
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xF7))
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
_SCAN, _J2K_START, _J2K_SIZE = 0xDA, b"\xff\x4f\xff\x51", 38
_JP2_CODESTREAM = b"jp2c"
_RLE_SEGMENTS = 15
MOST_TILES = 65_535
_MOST_MARKERS = 10_000  # before the size is told; a picture with many profiles and previews has some hundred


def check_codestream(name: str, frame: bytes, width: int, height: int, samples: int) -> None:
    """Refuse a frame that is not of the size its file says: the decoder would allocate what the frame says.

    Parameters
    ----------
    name
        Of the coding, as `header.SYNTAXES` has it.
    """
    if name == "RLE":
        segments = struct.unpack_from("<L", frame)[0] if len(frame) >= 64 else 0
        found = (width, height, samples) if 1 <= segments <= _RLE_SEGMENTS else None
    elif name.startswith("JPEG 2000"):
        found = _j2k_size(frame)
    else:
        found = _jpeg_size(frame)
    if found is None:
        raise ImageError(f"damaged DICOM: a frame that is not {name}")
    if found != (width, height, samples):
        raise ImageError(
            f"damaged DICOM: its header says {width} x {height} pixels of {samples} samples, its {name} frame "
            f"{found[0]} x {found[1]} of {found[2]}"
        )


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG or JPEG-LS; None when it has no header."""
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    for _ in range(_MOST_MARKERS):
        if place + 9 >= len(frame) or frame[place] != 0xFF:
            return None
        marker = frame[place + 1]
        if marker == 0xFF or marker in _BARE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", frame, place + 5)
            return width, height, components
        if marker == _SCAN:
            return None
        place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None


def _j2k_size(frame: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG 2000, bare or in a JP2 file; None when it has no header (T.800, A.5.1)."""
    start = 0 if frame.startswith(_J2K_START) else frame.find(_J2K_START, frame.find(_JP2_CODESTREAM))
    if start < 0 or len(frame) < start + 4 + _J2K_SIZE:
        return None
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = struct.unpack_from(
        ">8LH", frame, start + 8
    )
    if not tile_width or not tile_height or right < left or bottom < top:
        return None
    across, down = -(-(right - tile_left) // tile_width), -(-(bottom - tile_top) // tile_height)
    return (right - left, bottom - top, components) if across * down <= MOST_TILES else None
