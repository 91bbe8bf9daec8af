"""Every file that pydicom comes with: the right pixels, as two other readers find them, or a clear error."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from clearmargin.dicom import decode_dicom, is_dicom, read_header
from clearmargin.errors import ImageError

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
MAX_PIXELS = 10_000_000

ERRORS = {
    "holds no image": (
        "without an image",
        (
            *("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "UN_sequence.dcm", "empty_charset_LEI.dcm"),
            *("no_meta_group_length.dcm", "priv_SQ.dcm", "reportsi.dcm", "reportsi_with_empty_number_tags.dcm"),
            *("rtplan.dcm", "rtplan_truncated.dcm", "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm"),
            "dicomdirtests/DICOMDIR-empty.dcm",
        ),
    ),
    "12 bits": ("lossy JPEG of more than 8 bits", ("JPEG-lossy.dcm", "JPGExtended.dcm")),
    "no JPEG 2000": ("a frame that is not JPEG 2000", ("JPEG2000-embedded-sequence-delimiter.dcm",)),
    "cut off": ("fewer pixel data than its rows and columns need", ("MR_truncated.dcm",)),
    "32 bits": ("32 bits stored in 32, of 3 samples", ("SC_rgb_rle_32bit.dcm", "SC_rgb_rle_32bit_2frame.dcm")),
    "frames": ("number of frames is no number", ("badVR.dcm",)),
    "syntax": ("does not say how it is coded", ("meta_missing_tsyntax.dcm",)),
    "columns": ("does not say its columns", ("nested_priv_SQ.dcm",)),
    "begins with a blank": ("not DICOM", ("no_meta.dcm",)),
}
REASONS = {name: reason for reason, names in ERRORS.values() for name in names}
FILES = sorted(str(path.relative_to(BUNDLED)) for path in BUNDLED.rglob("*.dcm"))
READ = [name for name in FILES if name not in REASONS]
BY_PYDICOM = [  # where GDCM's own reader is no help
    *(name for name in READ if name.startswith("rtdose")),  # it dies of one of them
    *("liver_1frame.dcm", "liver_expb_1frame.dcm"),  # it keeps single bits packed
    *("SC_rgb_rle_16bit.dcm", "SC_rgb_rle_16bit_2frame.dcm"),  # it mixes up the bytes
    "J2K_pixelrep_mismatch.dcm",  # of which header and frame disagree about the sign: pydicom mends that
]
BY_GDCM = [name for name in READ if name not in BY_PYDICOM]
ROUNDED = 1  # two libraries round a JPEG and its colours in their own ways


@pytest.fixture(scope="module")
def found_by_gdcm(by_gdcm) -> dict[str, np.ndarray]:
    return dict(zip(BY_GDCM, by_gdcm(*(BUNDLED / name for name in BY_GDCM)), strict=True))


def header_of(name: str) -> pydicom.Dataset:
    """What pydicom reads; it warns of what is odd in its own files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(BUNDLED / name)
        header.decode()
    return header


def shown(stored: np.ndarray, name: str) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1 written down once more, pixel by pixel, after pydicom's reading of the header."""
    header = header_of(name)
    values = stored.astype(np.float64)
    values = values * float(header.get("RescaleSlope", 1)) + float(header.get("RescaleIntercept", 0))
    padding = header.get("PixelPaddingValue")
    if "WindowCenter" in header:
        first = lambda value: float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)  # noqa: E731
        center, width = first(header.WindowCenter), first(header.WindowWidth)
        levels = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
        levels[values <= center - 0.5 - (width - 1) / 2] = 0
        levels[values > center - 0.5 + (width - 1) / 2] = 255
    elif header.BitsStored <= 8:
        levels = values / (2**header.BitsStored - 1) * 255
    else:
        counted = values if padding is None else values[stored != padding]
        low, high = np.quantile(counted, [0.005, 0.995], method="inverted_cdf")
        levels = np.clip((values - low) / (high - low), 0, 1) * 255
    if header.PhotometricInterpretation == "MONOCHROME1":
        levels = 255 - levels
    if padding is not None:
        levels[stored == padding] = 0
    return np.round(levels).astype(np.uint8)


def coloured(stored: np.ndarray, name: str) -> np.ndarray:
    """RGB of 8 bits, from YCbCr where the file says so."""
    header = header_of(name)
    if stored.dtype == np.uint16:
        return np.round(stored / 65535 * 255).astype(np.uint8)
    if header.PhotometricInterpretation in ("YBR_FULL", "YBR_FULL_422"):
        return np.asarray(Image.fromarray(np.ascontiguousarray(stored), "YCbCr").convert("RGB"))
    return stored


def decoded(name: str) -> np.ndarray:
    return decode_dicom((BUNDLED / name).read_bytes(), MAX_PIXELS, "file").pixels


def test_there_are_files_of_every_kind() -> None:
    assert len(READ) > 50
    with_images = {header_of(name).file_meta.TransferSyntaxUID for name in READ}
    assert len(with_images) >= 11


@pytest.mark.parametrize("name", BY_GDCM)
def test_pixels_are_those_that_gdcm_finds(name: str, found_by_gdcm: dict[str, np.ndarray]) -> None:
    pixels, stored = decoded(name).astype(int), found_by_gdcm[name]
    expected = (shown if stored.ndim == 2 else coloured)(stored, name).astype(int)
    lossy = header_of(name).PhotometricInterpretation.startswith("YBR_FULL")
    assert np.abs(pixels - expected).max() <= (ROUNDED if lossy else 0)


@pytest.mark.parametrize("name", BY_PYDICOM)
def test_pixels_are_those_that_pydicom_finds(name: str) -> None:
    header = header_of(name)
    stored = header.pixel_array[0] if int(header.get("NumberOfFrames", 1)) > 1 else header.pixel_array
    assert np.array_equal(decoded(name), (shown if stored.ndim == 2 else coloured)(stored, name))


@pytest.mark.parametrize("name", sorted(REASONS))
def test_what_is_not_read_says_why(name: str) -> None:
    with pytest.raises(ImageError, match=REASONS[name]):
        decoded(name)


def test_what_is_no_dicom_is_not_taken_for_it() -> None:
    others = [path for path in BUNDLED.rglob("*") if path.suffix in (".dump", ".json", ".icc", ".gz", ".txt")]
    assert others
    for path in others:
        assert not is_dicom(path.read_bytes()[:132], named=True)


def test_the_small_images_of_a_disc_are_read() -> None:
    small = [path for path in (BUNDLED / "dicomdirtests").rglob("*") if path.is_file() and path.name.isdigit()]
    assert len(small) == 31
    for path in small:
        name = str(path.relative_to(BUNDLED))
        assert np.array_equal(decoded(name), shown(header_of(name).pixel_array, name))


def test_a_header_is_read_without_its_pixels() -> None:
    with (BUNDLED / "CT_small.dcm").open("rb") as file:
        header = read_header(file)
        assert header.pixels is not None
        assert file.tell() == header.pixels.place
