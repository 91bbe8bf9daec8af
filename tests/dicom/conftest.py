"""DICOM files made with pydicom, which is not what reads them, and those that pydicom comes with."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
# In a process of its own: it ends the whole process on some files, one of those that pydicom comes with among them.
BY_GDCM = """
import sys, numpy, gdcm
for path, out in zip(sys.argv[1::2], sys.argv[2::2]):
    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    assert reader.Read(), path
    image = reader.GetImage()
    if image.GetPhotometricInterpretation().GetString().startswith("PALETTE"):
        table = gdcm.ImageApplyLookupTable()
        table.SetInput(image)
        assert table.Apply()
        image = table.GetOutput()
    planes = gdcm.ImageChangePlanarConfiguration()
    planes.SetInput(image)
    planes.SetPlanarConfiguration(0)
    planes.Change()
    image = planes.GetOutput()
    form = image.GetPixelFormat()
    kind = {"UINT8": "u1", "INT8": "i1", "UINT16": "<u2", "INT16": "<i2", "UINT32": "<u4"}[form.GetScalarTypeAsString()]
    values = numpy.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), kind)
    width, height = image.GetDimension(0), image.GetDimension(1)
    shape = (-1, height, width) if form.GetSamplesPerPixel() == 1 else (-1, height, width, 3)
    numpy.save(out, values.reshape(shape)[0])
"""


def _dataset(pixels: np.ndarray, **values: object) -> FileDataset:
    """A data set around pixels of shape (height, width[, 3]), or (frames, height, width) with ``NumberOfFrames``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = values.pop("syntax", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("made", Dataset(), file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    colour = pixels.shape[-1] == 3 and pixels.ndim >= 3
    bits = 8 * pixels.dtype.itemsize
    made.SamplesPerPixel, made.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    for name, value in values.items():
        setattr(made, name, value)
    if len(made.PixelData) % 2:
        made.PixelData += b"\0"
    return made


def _written(made: FileDataset) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture(scope="session")
def dataset() -> Callable[..., FileDataset]:
    """The function that makes a data set: (pixels, Keyword=value …) -> pydicom's."""
    return _dataset


@pytest.fixture(scope="session")
def written() -> Callable[[FileDataset], bytes]:
    """The function that writes a data set as a file."""
    return _written


@pytest.fixture(scope="session")
def dicom() -> Callable[..., bytes]:
    """The function that makes a file: (pixels, Keyword=value …) -> bytes."""
    return lambda pixels, **values: _written(_dataset(pixels, **values))


@pytest.fixture(scope="session")
def by_gdcm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[np.ndarray]]:
    """GDCM's own reader: paths to the stored values of the first frame of each, without this program or pydicom."""

    def read(*paths: Path) -> list[np.ndarray]:
        folder = tmp_path_factory.mktemp("gdcm")
        outs = [folder / f"{number}.npy" for number in range(len(paths))]
        words = [str(word) for pair in zip(paths, outs, strict=True) for word in pair]
        subprocess.run([sys.executable, "-c", BY_GDCM, *words], check=True, capture_output=True)
        return [np.load(out) for out in outs]

    return read
