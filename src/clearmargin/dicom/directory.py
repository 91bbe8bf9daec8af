"""A DICOMDIR: the list of files that a disc or a folder of DICOM files carries."""

from __future__ import annotations

from io import BytesIO

from clearmargin.dicom.elements import elements
from clearmargin.dicom.header import open_data_set

_RECORDS, _FILE = 0x00041220, 0x00041500
MOST_ELEMENTS = 5_000_000  # about a dozen for each file


def listed_files(content: bytes) -> list[str]:
    """Names of the files that a DICOMDIR lists, relative to it, with ``/`` between folders, as it spells them.

    They come from a file and may say anything: look for them among what is there.

    Raises
    ------
    ImageError
        When it is damaged.
    """
    file = open_data_set(BytesIO(content))
    found = elements(file.data, file.encoding, frozenset((_FILE,)), frozenset((_RECORDS,)), MOST_ELEMENTS)
    names = (
        [piece.strip(" \0") for piece in element.value.decode("latin-1").split("\\")]
        for element in found
        if len(element.path) == 1
    )
    return ["/".join(name) for name in names if any(name)]  # records of patients and studies have no file
