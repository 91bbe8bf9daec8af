"""DICOM written element by element, where pydicom would not write what is wanted."""

from __future__ import annotations

import struct

from clearmargin.dicom.elements import LONG_VRS


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element in explicit little endian; the length it states may be a lie."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (b"\0\0" + struct.pack("<L", size) if vr in LONG_VRS else struct.pack("<H", size)) + value


def dicomdir(*names: str, further: bytes = b"") -> bytes:
    """A DICOMDIR that lists files under these names, with further elements in the record of each."""
    meta = explicit(0x00020002, b"UI", b"1.2.840.10008.1.3.10") + explicit(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    records = []
    for name in names:
        inside = further + explicit(0x00041500, b"CS", name.encode("latin-1") + b" " * (len(name) % 2))
        records.append(struct.pack("<HHL", 0xFFFE, 0xE000, len(inside)) + inside)
    return bytes(128) + b"DICM" + meta + explicit(0x00041220, b"SQ", b"".join(records))
