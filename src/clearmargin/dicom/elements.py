"""The elements of a DICOM file, walked from front to back: only those on a list are read, the rest is passed over.

A reader of its own, because a file may come from anywhere and is full of what nobody here may see. Nothing but the
listed elements is ever looked at or kept; nesting is followed in a loop, not by recursion; and the number of elements
is bounded, so that a file can neither fill the memory nor keep a processor busy. After PS3.5, chapter 7.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from clearmargin.errors import ImageError

PIXEL_DATA = 0x7FE00010
MAX_ELEMENTS = 300_000  # of an image
MAX_DEPTH = 64
MAX_VALUE_BYTES = 1 << 18  # a lookup table has at most 65,536 entries of 16 bits
MAX_KEPT_BYTES = 16 << 20  # of all that describes one image
MAX_INFLATED_BYTES = 512 << 20
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# PS3.5, table 7.1-1: VRs whose length takes four bytes, after two that are reserved.
LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_RAW_VRS = frozenset((b"OB", b"OW"))

Path = tuple[tuple[int, int], ...]


class Forward(Protocol):
    """A stream that need not go back."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a data set is written."""

    implicit: bool
    big_endian: bool = False

    @property
    def order(self) -> str:
        """The sign that `struct` has for it."""
        return ">" if self.big_endian else "<"


IMPLICIT = Encoding(implicit=True)


@dataclass(frozen=True, slots=True)
class Element:
    """One element that was asked for.

    Attributes
    ----------
    path
        Tag of each sequence around it and the number of the item; empty at the top.
    vr
        Two letters; empty where the file does not say.
    value
        Its bytes; of pixel data empty.
    length, place
        Bytes of the value, `UNDEFINED` for compressed pixel data; where it begins, from where the walk began.
    """

    path: Path
    tag: int
    vr: bytes
    value: bytes
    length: int
    place: int


class Inflating:
    """The content of a deflated data set, as a stream that only goes forward."""

    def __init__(self, stream: Forward) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._total = 0

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes.

        Raises
        ------
        ImageError
            When it is damaged, or there is more than `MAX_INFLATED_BYTES`.
        """
        pieces, missing = [], size
        try:
            while missing > 0 and not self._inflate.eof:
                packed = self._inflate.unconsumed_tail or self._stream.read(1 << 16)
                piece = self._inflate.decompress(packed, missing)
                if not packed and not piece:
                    break
                pieces.append(piece)
                missing -= len(piece)
        except zlib.error as error:
            raise ImageError("damaged DICOM: its deflated content can't be inflated") from error
        self._total += size - missing
        if self._total > MAX_INFLATED_BYTES:
            raise ImageError(f"too large: its content inflates to more than {MAX_INFLATED_BYTES >> 20} MiB")
        return b"".join(pieces)

    def seek(self, offset: int, _whence: int, /) -> int:
        """Pass over ``offset`` bytes."""
        while offset > 0 and (passed := len(self.read(min(offset, 1 << 20)))):
            offset -= passed
        return self._total


class _Level(NamedTuple):
    """A data set, a sequence, or compressed fragments that the walk is in; ``end`` is None where a mark ends it."""

    kind: str
    end: int | None
    encoding: Encoding
    path: Path
    listed: bool
    tag: int = 0
    item: int = 0


def elements(
    stream: Forward, encoding: Encoding, wanted: Set[int], sequences: Set[int], most: int = MAX_ELEMENTS
) -> Iterator[Element]:
    """Walk a data set up to its pixel data, which come last and unread: the stream then stands where they begin.

    Parameters
    ----------
    wanted
        Tags of elements to read.
    sequences
        Tags of the sequences in which to look for them; others are passed over.
    most
        How many elements there may be.

    Raises
    ------
    ImageError
        When it is damaged, has more elements, or a deeper nesting than any image.
    """
    return _Walk(stream, wanted, sequences).run(encoding, most)


def bounded(found: Iterator[Element]) -> Iterator[Element]:
    """Pass on what describes one image, which is to be kept.

    Raises
    ------
    ImageError
        When it is more than `MAX_KEPT_BYTES`, as a few deflated kilobytes can be.
    """
    kept = 0
    for element in found:
        kept += len(element.value)
        if kept > MAX_KEPT_BYTES:
            raise ImageError("damaged DICOM: what describes its image is larger than any image needs")
        yield element


class _Walk:
    def __init__(self, stream: Forward, wanted: Set[int], sequences: Set[int]) -> None:
        self._stream, self._wanted, self._sequences = stream, wanted, sequences
        self._place = 0
        self._levels: list[_Level] = []

    def run(self, encoding: Encoding, most: int) -> Iterator[Element]:
        self._levels = [_Level("data set", None, encoding, (), True)]
        for _ in range(most):
            while (end := self._levels[-1].end) is not None and self._place >= end:
                if self._place > end:
                    raise ImageError("damaged DICOM: an element reaches beyond the sequence it is in")
                self._levels.pop()
            level = self._levels[-1]
            if level.kind != "data set":
                self._enter_item(level)
                continue
            header = self._header(level.encoding)
            if header is None:
                if len(self._levels) > 1:
                    raise ImageError("damaged DICOM: it ends in the middle of a sequence")
                return
            tag, vr, length, inner = header
            if tag == ITEM_END and len(self._levels) > 1:
                self._levels.pop()
            elif tag == PIXEL_DATA and not level.path:
                yield Element((), tag, vr, b"", length, self._place)
                return
            elif kind := self._kind(tag, vr, length):
                listed = level.listed and tag in self._sequences
                if listed or length == UNDEFINED:
                    self._enter(_Level(kind, self._end(length), inner, level.path, listed, tag))
                else:
                    self._skip(length)
            elif level.listed and tag in self._wanted:
                yield Element(level.path, tag, vr, self._value(length), length, self._place - length)
            else:
                self._skip(length)
        raise ImageError(f"it has more than {most:,} DICOM elements, more than anything that is read here")

    def _header(self, encoding: Encoding) -> tuple[int, bytes, int, Encoding] | None:
        """Tag, VR, length of the next element, and how what is inside of it is written; None at the end."""
        head = self._stream.read(8)
        self._place += len(head)
        if len(head) < 8:
            return None
        order = encoding.order
        group, number = struct.unpack_from(f"{order}HH", head)
        tag, vr = group << 16 | number, head[4:6]
        if encoding.implicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            # Some programs go over to implicit VRs inside a sequence.
            return tag, b"", struct.unpack_from(f"{order}L", head, 4)[0], encoding
        if vr not in LONG_VRS:
            return tag, vr, struct.unpack_from(f"{order}H", head, 6)[0], encoding
        more = self._stream.read(4)
        self._place += len(more)
        if len(more) < 4:
            return None
        return tag, vr, struct.unpack(f"{order}L", more)[0], IMPLICIT if vr == b"UN" else encoding

    def _kind(self, tag: int, vr: bytes, length: int) -> str:
        """What is inside an element: a sequence, fragments, or nothing to be walked through."""
        if length == UNDEFINED:
            return "fragments" if vr in _RAW_VRS or (not vr and tag == PIXEL_DATA) else "sequence"
        return "sequence" if vr == b"SQ" or (vr in (b"", b"UN") and tag in self._sequences) else ""

    def _enter_item(self, level: _Level) -> None:
        head = self._stream.read(8)
        self._place += len(head)
        if len(head) < 8:
            raise ImageError("damaged DICOM: it ends in the middle of a sequence")
        group, number, length = struct.unpack(f"{level.encoding.order}HHL", head)
        tag = group << 16 | number
        if tag == SEQUENCE_END:
            self._levels.pop()
        elif tag != ITEM:
            raise ImageError("damaged DICOM: a sequence holds something that is no item")
        elif level.kind == "fragments":
            self._skip(length)
        else:
            self._levels[-1] = level._replace(item=level.item + 1)
            path = (*level.path, (level.tag, level.item))
            self._enter(_Level("data set", self._end(length), level.encoding, path, level.listed))

    def _enter(self, level: _Level) -> None:
        if len(self._levels) > 2 * MAX_DEPTH:
            raise ImageError(f"its DICOM elements are nested more than {MAX_DEPTH} deep: that is no image")
        self._levels.append(level)

    def _end(self, length: int) -> int | None:
        return None if length == UNDEFINED else self._place + length

    def _skip(self, length: int) -> None:
        if length == UNDEFINED:
            raise ImageError("damaged DICOM: an element without a length")
        self._stream.seek(length, 1)
        self._place += length

    def _value(self, length: int) -> bytes:
        if length > MAX_VALUE_BYTES:
            raise ImageError(f"damaged DICOM: an element of {length:,} bytes where a few are expected")
        value = self._stream.read(length)
        self._place += length
        if len(value) < length:
            raise ImageError("damaged DICOM: it ends in the middle of an element")
        return value
