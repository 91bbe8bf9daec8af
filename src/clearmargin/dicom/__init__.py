"""DICOM files as pictures: recognised by content, read with a bound on everything, shown as a viewer shows them.

Nothing but what decides about pixels is read of a file, and whose it is while data are listed: names, dates and
private elements are passed over and kept nowhere. What may crash, the decoders of frames, runs in a process of its own.
"""

from clearmargin.dicom.decoding_process import require_dicom
from clearmargin.dicom.directory import listed_files
from clearmargin.dicom.frames import DicomFile, frame_file, open_dicom
from clearmargin.dicom.header import HEAD_BYTES, Header, is_dicom, read_header
from clearmargin.dicom.picture import Picture, decode_dicom, dicom_size

__all__ = [
    "HEAD_BYTES",
    "DicomFile",
    "Header",
    "Picture",
    "decode_dicom",
    "dicom_size",
    "frame_file",
    "is_dicom",
    "listed_files",
    "open_dicom",
    "read_header",
    "require_dicom",
]
