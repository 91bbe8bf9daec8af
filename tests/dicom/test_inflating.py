"""Deflated files: only what a frame needs is inflated and held."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from clearmargin.dicom import decode_dicom, elements, frame_file, open_dicom
from clearmargin.errors import ImageError

FRAMES = np.arange(7 * 9 * 5, dtype=np.uint8).reshape(7, 9, 5)


def inflated(content: bytes) -> tuple[bytes, bytes]:
    """What stands before the deflated data set, and that inflated."""
    begin = content.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    for start in range(begin, begin + 400):
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            found = unpack.decompress(content[start:])
        except zlib.error:
            continue
        if unpack.eof and found[:2] == b"\x08\0":
            return content[:start], found
    raise AssertionError


def deflated(front: bytes, *pieces: bytes) -> bytes:
    pack = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return front + b"".join(pack.compress(piece) for piece in pieces) + pack.flush()


def private(size: int) -> list[bytes]:
    """An element of so many MiB that nobody asks for."""
    head = struct.pack("<HH2sHL", 0x0029, 0x1001, b"OB", 0, size << 20)
    return [head, *[bytes(1 << 20)] * size]


@pytest.mark.parametrize("order", [range(7), reversed(range(7)), [3, 3, 0, 6, 5, 6]], ids=["on", "back", "about"])
def test_frames_are_the_same_in_any_order(dicom, order) -> None:
    plain = open_dicom(dicom(FRAMES, NumberOfFrames=7))
    packed = open_dicom(dicom(FRAMES, NumberOfFrames=7, syntax=DeflatedExplicitVRLittleEndian))
    for number in order:
        assert packed.frame(number) == plain.frame(number) == FRAMES[number].tobytes()


def test_frames_of_single_bits_share_their_bytes(dicom) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (6, 5, 7))
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes() + b"\0"
    values = {"NumberOfFrames": 6, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": packed}
    file = open_dicom(dicom(np.zeros((6, 5, 7), np.uint8), syntax=DeflatedExplicitVRLittleEndian, **values))
    for number in (0, 1, 2, 3, 4, 5, 2):
        found = np.unpackbits(np.frombuffer(file.frame(number), np.uint8), bitorder="little")[:35]
        assert np.array_equal(found, bits[number].reshape(-1))


def test_what_surrounds_the_pixels_is_not_held(dicom) -> None:
    front, content = inflated(dicom(FRAMES, NumberOfFrames=7, syntax=DeflatedExplicitVRLittleEndian))
    place = content.index(b"\xe0\x7f\x10\0")
    bomb = deflated(front, content[:place], *private(100), content[place:], *private(50))
    assert len(bomb) < 4 << 20
    tracemalloc.start()
    try:
        began = time.monotonic()
        file = open_dicom(bomb)
        for number in range(7):
            assert file.frame(number) == FRAMES[number].tobytes()
        assert np.array_equal(decode_dicom(frame_file(file, 2), 10**6, "file").pixels.shape, (9, 5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20
    assert time.monotonic() - began < 15


def test_pixel_data_that_are_cut_short_are_an_error(dicom) -> None:
    front, content = inflated(dicom(FRAMES, NumberOfFrames=7, syntax=DeflatedExplicitVRLittleEndian))
    file = open_dicom(deflated(front, content[:-100]))
    with pytest.raises(ImageError, match="fewer pixel data"):
        file.frame(6)
    assert file.frame(0) == FRAMES[0].tobytes()


def test_a_description_without_end_is_refused(dicom) -> None:
    front, content = inflated(dicom(FRAMES, NumberOfFrames=7, syntax=DeflatedExplicitVRLittleEndian))
    place = content.index(b"\xe0\x7f\x10\0")
    palette = struct.pack("<HH2sHL", 0x0028, 0x1201, b"OW", 0, elements.MAX_VALUE_BYTES)
    value = bytes(elements.MAX_VALUE_BYTES)
    bomb = deflated(front, content[:place], *[palette + value] * 400, content[place:])
    with pytest.raises(ImageError, match="larger than any image needs"):
        open_dicom(bomb)
