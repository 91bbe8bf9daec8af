"""The frames of a DICOM file: each as its bytes, or as a small DICOM file of its own."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import numpy as np

from clearmargin.dicom.elements import (
    ITEM,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    Forward,
)
from clearmargin.dicom.header import (
    ALLOCATED,
    COLUMNS,
    DEFLATED_SYNTAX,
    EXPLICIT_SYNTAX,
    FRAMES,
    MAGIC,
    OFFSETS,
    PHOTOMETRIC,
    PREAMBLE_BYTES,
    ROWS,
    SAMPLES,
    SHOWING,
    STORING,
    SYNTAX,
    Header,
    Raw,
    open_data_set,
    read_header,
)
from clearmargin.errors import ImageError

MAX_FRAGMENTS = 100_000
_TOO_FEW = "damaged DICOM: it has fewer pixel data than its rows and columns need"


@dataclass(frozen=True)
class DicomFile:
    """A whole file in memory, and what is read of it."""

    content: bytes
    header: Header

    @cached_property
    def _inflated(self) -> _Inflated:
        return _Inflated(self.content)

    @property
    def _swapped(self) -> bool:
        """Whether pixels of 8 bits stand in words of which the second byte comes first (PS3.5, 8.1.1 and A.3)."""
        header = self.header
        word = header.pixels is not None and header.pixels.vr == b"OW"
        return word and header.encoding.big_endian and header.integer(ALLOCATED) == 8

    def frame(self, number: int) -> bytes:
        """The bytes of one frame, counted from 0, as they are coded.

        Raises
        ------
        ImageError
            When they are not all there.
        """
        pixels = self.header.pixels
        if pixels is None:
            raise ImageError("a DICOM file without an image")
        if self.header.compressed:
            if pixels.length != UNDEFINED:
                raise ImageError("damaged DICOM: compressed pixel data that are not in fragments")
            pieces = self._fragments[number] if number < len(self._fragments) else ()
            return b"".join(self.content[start : start + length] for start, length in pieces)
        bits = frame_bits(self.header)
        first, end = number * bits // 8, -(-(number + 1) * bits // 8)
        deflated = self.header.syntax == DEFLATED_SYNTAX
        held = pixels.length if deflated else min(pixels.length, len(self.content) - pixels.place)
        if pixels.length == UNDEFINED or held < end:
            raise ImageError(_TOO_FEW)
        if self._swapped:
            words = self.content[pixels.place + first // 2 * 2 : pixels.place + -(-end // 2) * 2]
            return (
                np.frombuffer(words.ljust(-(-len(words) // 2) * 2, b"\0"), ">u2")
                .astype("<u2")
                .tobytes()[first % 2 : first % 2 + end - first]
            )
        place = slice(pixels.place + first, pixels.place + end)
        data = self._inflated.read(place.start, place.stop) if deflated else self.content[place]
        return _shifted(data, number * bits % 8, bits) if bits % 8 else data

    @property
    def pixel_vr(self) -> bytes:
        """The VR that `frame` has."""
        assert self.header.pixels is not None
        return b"OB" if self._swapped else self.header.pixels.vr or b"OW"

    @cached_property
    def _fragments(self) -> Sequence[Sequence[tuple[int, int]]]:
        """Where each frame lies: (place, bytes) of its fragments."""
        assert self.header.pixels is not None
        found = list(_items(self.content, self.header.pixels.place))
        if not found:
            raise ImageError("damaged DICOM: its compressed pixel data hold nothing")
        (table, table_bytes), *fragments = found
        frames = self.header.frames
        if frames == 1 or len(fragments) == frames:
            return [fragments] if frames == 1 else [[one] for one in fragments]
        offsets = _numbers(self.content[table : table + table_bytes], "<u4") or _numbers(
            self.header.values.get(OFFSETS, Raw(b"", b"")).value, "<u8"
        )
        if len(offsets) != frames or not fragments:
            raise ImageError("its DICOM frames can't be told apart: there is no table of where each begins")
        origin = fragments[0][0] - 8
        owner = np.searchsorted(offsets, [place - 8 - origin for place, _ in fragments], side="right") - 1
        listed: list[list[tuple[int, int]]] = [[] for _ in range(frames)]
        for fragment, number in zip(fragments, owner.tolist(), strict=True):
            listed[max(0, number)].append(fragment)
        return listed


class _Inflated:
    """An inflated data set, read from front to back: no more of it is held than was asked for.

    Who goes on where the last one ended does not begin anew: frames one after the other cost what one pass does.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._lock = content, threading.Lock()
        self._stream: Forward | None = None
        self._place, self._last = 0, b""

    def read(self, start: int, end: int) -> bytes:
        """Bytes from one place to another.

        Raises
        ------
        ImageError
            When they are not all there.
        """
        with self._lock:
            if self._stream is None or start < self._place - len(self._last):
                self._stream, self._place, self._last = open_data_set(BytesIO(self._content)).data, 0, b""
            again = self._last[start - self._place :] if start < self._place else b""  # a byte that two frames share
            self._stream.seek(max(0, start - self._place), 1)
            data = again + self._stream.read(end - start - len(again))
            if len(data) < end - start:
                self._stream = None
                raise ImageError(_TOO_FEW)
            self._place, self._last = end, data[-1:]
            return data


def open_dicom(content: bytes) -> DicomFile:
    """Read the header of a file in memory.

    Raises
    ------
    ImageError
        As `read_header` does.
    """
    return DicomFile(content, read_header(BytesIO(content)))


def frame_bits(header: Header) -> int:
    """Bits of one frame that is not compressed.

    Raises
    ------
    ImageError
        When it says that neighbours share their colour, and has as many bytes as if none did: some programs name the
        colours of the compressed file that they unpacked.
    """
    count, allocated = header.integer(ROWS) * header.integer(COLUMNS), header.integer(ALLOCATED)
    if header.text(PHOTOMETRIC) != "YBR_FULL_422":
        return count * header.integer(SAMPLES, 1) * allocated
    whole = header.frames * count * 3 * allocated // 8
    if header.pixels is not None and whole <= header.pixels.length < UNDEFINED:
        raise ImageError("damaged DICOM: it says YBR_FULL_422, and has more pixel data than that takes")
    return count * 2 * allocated  # of two neighbours, which share their colour


def frame_file(file: DicomFile, number: int) -> bytes:
    """One frame, counted from 0, as a DICOM file of its own that says how it is stored and shown, and nothing else.

    Raises
    ------
    ImageError
        When the frame is not all there.
    """
    header = file.header
    if not 0 <= number < header.frames:
        raise ImageError(f"the file has {header.frames:,} frames, and no frame {number + 1:,}")
    syntax = EXPLICIT_SYNTAX if header.syntax == DEFLATED_SYNTAX else header.syntax
    said = header.of_frame(number)
    listed = {
        tag: (raw.vr, raw.value) for tag, raw in said.values.items() if tag in STORING | SHOWING and tag != FRAMES
    }
    name = syntax.encode() + b"\0" * (len(syntax) % 2)
    pieces = [bytes(PREAMBLE_BYTES) + MAGIC, _element(Encoding(False), SYNTAX, b"UI", name)]
    for tag, table in said.tables.items():
        inside = b"".join(_element(header.encoding, inner, raw.vr, raw.value) for inner, raw in sorted(table.items()))
        listed[tag] = b"SQ", _tagged(header.encoding, ITEM, len(inside)) + inside
    pieces += [_element(header.encoding, tag, *vr_and_value) for tag, vr_and_value in sorted(listed.items())]
    frame = file.frame(number)
    if header.compressed:
        frame += b"\0" * (len(frame) % 2)
        inside = _tagged(header.encoding, ITEM, 0) + _tagged(header.encoding, ITEM, len(frame)) + frame
        pieces += [_element(header.encoding, PIXEL_DATA, b"OB", b"", UNDEFINED), inside]
        pieces.append(_tagged(header.encoding, SEQUENCE_END, 0))
    else:
        pieces.append(_element(header.encoding, PIXEL_DATA, file.pixel_vr, frame))
    return b"".join(pieces)


def first_frame(header: Header) -> Header:
    """The header of the first frame, with what is said of it alone.

    Raises
    ------
    ImageError
        When there are too many.
    """
    if header.frames < 1:
        raise ImageError("a DICOM file without an image")
    return header.of_frame(0)


def _items(data: bytes, place: int) -> list[tuple[int, int]]:
    """Place and length of each item of compressed pixel data; a file that ends early keeps what is there."""
    found: list[tuple[int, int]] = []
    while place + 8 <= len(data) and len(found) <= MAX_FRAGMENTS:
        group, number, length = struct.unpack_from("<HHL", data, place)
        if group << 16 | number != ITEM:
            break
        found.append((place + 8, length))
        place += 8 + length
    if len(found) > MAX_FRAGMENTS:
        raise ImageError(f"its DICOM pixel data are in more than {MAX_FRAGMENTS:,} pieces")
    return found


def _numbers(table: bytes, kind: str) -> list[int]:
    return [int(number) for number in np.frombuffer(table[: len(table) // int(kind[-1]) * int(kind[-1])], kind)]


def _shifted(data: bytes, skip: int, bits: int) -> bytes:
    """Pixels of one bit each, moved to the first bit of a byte."""
    flat = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return np.packbits(flat[skip : skip + bits], bitorder="little").tobytes()


def _tagged(encoding: Encoding, tag: int, length: int) -> bytes:
    return struct.pack(f"{encoding.order}HHL", tag >> 16, tag & 0xFFFF, length)


def _element(encoding: Encoding, tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    if encoding.implicit or not vr:
        return _tagged(encoding, tag, length) + value
    head = struct.pack(f"{encoding.order}HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in LONG_VRS:
        return head + b"\0\0" + struct.pack(f"{encoding.order}L", length) + value
    return head + struct.pack(f"{encoding.order}H", length) + value
