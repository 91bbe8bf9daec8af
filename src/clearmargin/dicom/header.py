"""What is read of a DICOM file: how its pixels are stored and shown, and whose they are."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, NamedTuple

from clearmargin.dicom.elements import IMPLICIT, PIXEL_DATA, Encoding, Forward, Inflating, bounded, elements
from clearmargin.errors import ImageError

_PIECE_BYTES = 1 << 20
PREAMBLE_BYTES, MAGIC = 128, b"DICM"
HEAD_BYTES = PREAMBLE_BYTES + len(MAGIC)
IMPLICIT_SYNTAX, EXPLICIT_SYNTAX = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED_SYNTAX, BIG_ENDIAN_SYNTAX = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
# PS3.6, table A-1. What is not here is refused by name: moving pictures, and codings that few programs write.
SYNTAXES: Mapping[str, tuple[str, bool]] = {  # its name, and whether it is compressed
    IMPLICIT_SYNTAX: ("implicit little endian", False),
    EXPLICIT_SYNTAX: ("explicit little endian", False),
    DEFLATED_SYNTAX: ("deflated", False),
    BIG_ENDIAN_SYNTAX: ("explicit big endian", False),
    "1.2.840.10008.1.2.4.50": ("JPEG baseline", True),
    "1.2.840.10008.1.2.4.51": ("JPEG extended", True),
    "1.2.840.10008.1.2.4.57": ("JPEG lossless", True),
    "1.2.840.10008.1.2.4.70": ("JPEG lossless", True),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS lossless", True),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS", True),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000 lossless", True),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", True),
    "1.2.840.10008.1.2.5": ("RLE", True),
}
MAX_FRAMES = 2_000

# PS3.6, chapter 6: all that is ever read, by its tag.
SYNTAX, STORAGE_CLASS = 0x00020010, 0x00020002
SOP_INSTANCE, PATIENT, STUDY, SERIES = 0x00080018, 0x00100020, 0x0020000D, 0x0020000E
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS, ALLOCATED, STORED = 0x00280010, 0x00280011, 0x00280100, 0x00280101
HIGH_BIT, SIGNED = 0x00280102, 0x00280103
PADDING, PADDING_LIMIT, BURNED_IN = 0x00280120, 0x00280121, 0x00280301
CENTER, WIDTH, INTERCEPT, SLOPE, FUNCTION = 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056
PALETTE_DESCRIPTORS, PALETTE_DATA = (0x00281101, 0x00281102, 0x00281103), (0x00281201, 0x00281202, 0x00281203)
SEGMENTED_PALETTE = 0x00281221
MODALITY_LUT, VOI_LUT, LUT_DESCRIPTOR, LUT_DATA = 0x00283000, 0x00283010, 0x00283002, 0x00283006
SHARED, PER_FRAME, FRAME_RESCALE, FRAME_WINDOW = 0x52009229, 0x52009230, 0x00289145, 0x00289132
OFFSETS = 0x7FE00001  # extended offset table

SHOWING = frozenset((CENTER, WIDTH, FUNCTION, INTERCEPT, SLOPE))
IDENTITY = frozenset((SOP_INSTANCE, PATIENT, STUDY, SERIES, BURNED_IN))
STORING = frozenset(
    (
        *(SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS, ALLOCATED, STORED, HIGH_BIT, SIGNED),
        *(PADDING, PADDING_LIMIT),
        *PALETTE_DESCRIPTORS,
        *PALETTE_DATA,
        SEGMENTED_PALETTE,
    )
)
_WANTED = SHOWING | IDENTITY | STORING | {LUT_DESCRIPTOR, LUT_DATA, OFFSETS}
_SEQUENCES = frozenset((MODALITY_LUT, VOI_LUT, SHARED, PER_FRAME, FRAME_RESCALE, FRAME_WINDOW))
_TABLE = frozenset((LUT_DESCRIPTOR, LUT_DATA))
# Each text matches in one way only: a pattern that could part the digits in many would try them all.
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST_NUMBER = 64  # characters; the standard has 16
_MOST_META = 1_000  # elements; the standard has about 20


class Raw(NamedTuple):
    """A value as it stands in the file; the VR is empty where the file does not say it."""

    vr: bytes
    value: bytes


class Pixels(NamedTuple):
    """VR, length (`elements.UNDEFINED` when compressed) and place, in the file or its inflated data set."""

    vr: bytes
    length: int
    place: int


Values = Mapping[int, Raw]


class Said(NamedTuple):
    """What is said of all frames, or of one.

    Attributes
    ----------
    values
        By tag.
    tables
        Descriptor and data of the first modality LUT and VOI LUT, by the tag of their sequence.
    """

    values: dict[int, Raw]
    tables: dict[int, dict[int, Raw]]


@dataclass(frozen=True)
class Header:
    """What is read of a DICOM file.

    Attributes
    ----------
    syntax
        Its transfer syntax: a key of `SYNTAXES`.
    values
        By tag, at the top of the file; of a frame, with what is said of that frame.
    tables
        Descriptor and data of the first modality LUT and VOI LUT, by the tag of their sequence.
    shared, per_frame
        Rescale, window and VOI LUT of all frames, and of each one (by its number from 0), where it has them apart.
    storage_class
        What kind of object it says it is, in its first lines.
    pixels
        None when it holds no image.
    """

    syntax: str
    encoding: Encoding
    values: Values
    tables: Mapping[int, Values]
    shared: Said
    per_frame: Mapping[int, Said]
    storage_class: str
    pixels: Pixels | None

    @property
    def compressed(self) -> bool:
        return SYNTAXES[self.syntax][1]

    @property
    def is_directory(self) -> bool:
        """Whether it lists other files and holds no image of its own."""
        return self.storage_class == DIRECTORY_CLASS

    def of_frame(self, number: int) -> Header:
        """The same with what is said of one frame, counted from 0."""
        own = self.per_frame.get(number, Said({}, {}))
        return replace(
            self,
            values={**self.values, **self.shared.values, **own.values},
            tables={**self.tables, **self.shared.tables, **own.tables},
        )

    @cached_property
    def frames(self) -> int:
        """How many images it holds, at least 1 when any.

        Raises
        ------
        ImageError
            When it says something else than a number, or too large a one.
        """
        if self.pixels is None:
            return 0
        said = self.text(FRAMES)
        if said and not re.fullmatch(r"\+?\d{1,9}", said):
            raise ImageError("damaged DICOM: its number of frames is no number")
        frames = max(1, int(said or 1))
        if frames > MAX_FRAMES:
            raise ImageError(f"it has {frames:,} frames; at most {MAX_FRAMES:,} are read from one file")
        return frames

    def text(self, tag: int) -> str:
        """A text without the blanks around it; empty when there is none."""
        return _text(self.values.get(tag, Raw(b"", b"")))

    def numbers(self, tag: int) -> list[float]:
        """Numbers that are written as text; none when there are none, or one of them is not finite."""
        pieces = [piece.strip(" \0") for piece in self.text(tag).split("\\")]
        if not all(len(piece) <= _LONGEST_NUMBER and _NUMBER.fullmatch(piece) for piece in pieces):
            return []
        numbers = [float(piece) for piece in pieces]
        return numbers if all(map(math.isfinite, numbers)) else []

    def integer(self, tag: int, default: int | None = None) -> int:
        """One whole number of 16 bits, not negative.

        Raises
        ------
        ImageError
            When it is not there and there is no default.
        """
        raw = self.values.get(tag)
        if raw is None or len(raw.value) < 2:
            if default is None:
                raise ImageError(f"damaged DICOM: it does not say its {_NAMES[tag]}")
            return default
        return int(struct.unpack_from(f"{self.encoding.order}H", raw.value)[0])

    @property
    def signed(self) -> bool:
        """Whether stored values can be negative."""
        return self.integer(SIGNED, 0) == 1


_NAMES = {SAMPLES: "samples per pixel", ROWS: "rows", COLUMNS: "columns", ALLOCATED: "bits allocated"}


def is_dicom(head: bytes, *, named: bool = False) -> bool:
    """Whether a file is DICOM, by its first bytes.

    Parameters
    ----------
    head
        At least its first `HEAD_BYTES`.
    named
        Whether it is called like one: then it may lack the mark, and only has to begin with an element of the first
        groups, as files of old programs do.
    """
    if head[PREAMBLE_BYTES:HEAD_BYTES] == MAGIC:
        return True
    return named and _bare(head) is not None


def _bare(head: bytes) -> Encoding | None:
    """How a file without the mark is written; None when it does not begin like one."""
    if len(head) < 8:
        return None
    for order, big in (("<", False), (">", True)):
        group, number = struct.unpack_from(f"{order}HH", head)
        if group in (0x0002, 0x0008) and number < 0x2000:
            if head[4:6].isalpha() and head[4:6].isupper():
                return Encoding(False, big)
            if not big and struct.unpack_from("<L", head, 4)[0] < 1024:
                return IMPLICIT
    return None


def read_header(stream: IO[bytes], head: bytes = b"") -> Header:
    """Read what is needed of a DICOM file up to its pixels, at which the stream then stands; it need not go back.

    Parameters
    ----------
    head
        Its first `HEAD_BYTES`, where they are read already.

    Raises
    ------
    ImageError
        When it is not DICOM, damaged, or coded in a way that is not read here.
    """
    file = open_data_set(stream, head)
    if file.storage_class == DIRECTORY_CLASS:  # the many elements of a large one say nothing of pixels
        return Header(file.syntax, file.encoding, {}, {}, Said({}, {}), {}, file.storage_class, None)
    return _gathered(file)


class DataSet(NamedTuple):
    """The data set of a file, and what its first lines say.

    Attributes
    ----------
    start
        Where it begins in the file; 0 when it is deflated.
    """

    syntax: str
    data: Forward
    storage_class: str
    start: int

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.syntax == IMPLICIT_SYNTAX, self.syntax == BIG_ENDIAN_SYNTAX)


def open_data_set(stream: IO[bytes], head: bytes = b"") -> DataSet:
    """Read the first lines of a file, up to its data set.

    Raises
    ------
    ImageError
        When it is not DICOM, or coded in a way that is not read here.
    """
    head = head or stream.read(HEAD_BYTES)
    marked = is_dicom(head)
    if not marked and _bare(head) is None:
        raise ImageError("it is not DICOM, or its first bytes are damaged")
    rest = _Rest(b"" if marked else head, stream)
    meta = _meta(rest)
    syntax = _text(meta[SYNTAX]) if SYNTAX in meta else _guessed(rest)
    if syntax not in SYNTAXES:
        known = re.fullmatch(r"1\.2\.840\.10008\.1\.2[\d.]{0,20}", syntax)
        raise ImageError(f"its DICOM coding is not read here{f' ({syntax})' if known else ''}")
    storage_class = _text(meta.get(STORAGE_CLASS, Raw(b"", b"")))
    if syntax == DEFLATED_SYNTAX:
        return DataSet(syntax, Inflating(rest), storage_class, 0)
    return DataSet(syntax, rest, storage_class, (HEAD_BYTES if marked else 0) + rest.taken)


def _text(raw: Raw) -> str:
    return raw.value.decode("latin-1").strip(" \0")


class _Rest:
    """A stream in front of which a few bytes are put back."""

    def __init__(self, front: bytes, stream: IO[bytes]) -> None:
        self._front, self._stream = front, stream
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        piece, self._front = self._front[:size], self._front[size:]
        if len(piece) < size:
            piece += self._stream.read(size - len(piece))
        self.taken += len(piece)
        return piece

    def peek(self, size: int) -> bytes:
        taken, piece = self.taken, self.read(size)
        self._front, self.taken = piece + self._front, taken
        return piece

    def seek(self, offset: int, _whence: int, /) -> int:
        """Pass over ``offset`` bytes by reading them: the stream of a tar can't do it in another way."""
        while offset > 0 and (passed := len(self.read(min(offset, _PIECE_BYTES)))):
            offset -= passed
        return self.taken


def _meta(rest: _Rest) -> dict[int, Raw]:
    """The first lines of a file (group 0002), which are always explicit little endian."""
    found: dict[int, Raw] = {}
    for _ in range(_MOST_META):
        head = rest.peek(12)
        if len(head) < 8 or head[:2] != b"\x02\0":
            return found
        if head[4:6] in (b"OB", b"UN", b"UT"):
            length, header = struct.unpack_from("<L", head, 8)[0] if len(head) == 12 else 0, 12
        else:
            length, header = struct.unpack_from("<H", head, 6)[0], 8
        rest.seek(header, 1)
        tag = 0x00020000 | struct.unpack_from("<H", head, 2)[0]
        if tag in (SYNTAX, STORAGE_CLASS) and length <= 64:
            found[tag] = Raw(head[4:6], rest.read(length))
        else:
            rest.seek(length, 1)
    raise ImageError(f"damaged DICOM: more than {_MOST_META:,} elements before its data set")


def _guessed(rest: _Rest) -> str:
    """The transfer syntax of a file that does not name it, from its first element."""
    encoding = _bare(rest.peek(8))
    if encoding is None:
        raise ImageError("damaged DICOM: it does not say how it is coded")
    if encoding.big_endian:
        return BIG_ENDIAN_SYNTAX
    return IMPLICIT_SYNTAX if encoding.implicit else EXPLICIT_SYNTAX


def _gathered(file: DataSet) -> Header:
    top, shared = Said({}, {}), Said({}, {})
    per_frame: dict[int, Said] = {}
    pixels = None
    for element in bounded(elements(file.data, file.encoding, _WANTED, _SEQUENCES)):
        raw, tag = Raw(element.vr, element.value), element.tag
        if not element.path:
            if tag == PIXEL_DATA:
                pixels = Pixels(element.vr, element.length, file.start + element.place)
            else:
                top.values[tag] = raw
            continue
        (outer, number), *inner = element.path
        if outer not in (SHARED, PER_FRAME):
            if not inner and outer in (MODALITY_LUT, VOI_LUT) and number == 0 and tag in _TABLE:
                top.tables.setdefault(outer, {})[tag] = raw
            continue
        said = shared if outer == SHARED else per_frame.setdefault(number, Said({}, {}))
        if len(inner) == 1 and inner[0][1] == 0 and tag in SHOWING:
            said.values[tag] = raw
        elif inner == [(FRAME_WINDOW, 0), (VOI_LUT, 0)] and tag in _TABLE:
            said.tables.setdefault(VOI_LUT, {})[tag] = raw
    return Header(file.syntax, file.encoding, top.values, top.tables, shared, per_frame, file.storage_class, pixels)
