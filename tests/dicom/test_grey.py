"""From stored values to grey levels: the formulas of PS3.3 written down once more, and pydicom's."""

from __future__ import annotations

import math
import struct

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from clearmargin.decoding import prepare
from clearmargin.dicom import decode_dicom
from clearmargin.errors import ImageError
from clearmargin.records import Preprocessing

CT = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def levels(content: bytes, window="file") -> np.ndarray:
    return decode_dicom(content, 10**7, window).pixels


def by_formula(x: float, center: float, width: float, function: str = "LINEAR") -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1, output range 0 to 255."""
    if function == "SIGMOID":
        return 255 / (1 + math.exp(min(700, -4 * (x - center) / width)))
    if function == "LINEAR_EXACT":
        if x <= center - width / 2:
            return 0
        return 255 if x > center + width / 2 else ((x - center) / width + 0.5) * 255
    if x <= center - 0.5 - (width - 1) / 2:
        return 0
    if x > center - 0.5 + (width - 1) / 2:
        return 255
    return ((x - (center - 0.5)) / (width - 1) + 0.5) * 255


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (0.5, 1), (2048.25, 3.5)])
def test_a_window_is_as_the_standard_has_it(dicom, function: str, center: float, width: float) -> None:
    made = dicom(CT, WindowCenter=center, WindowWidth=width, VOILUTFunction=function, BitsStored=12, HighBit=11)
    expected = [round(by_formula(x, center, width, function)) for x in CT.ravel() if -2048 <= x < 2048]
    found = levels(made).ravel()[: len(expected)]
    assert np.abs(found.astype(int) - expected).max() <= (1 if function == "SIGMOID" else 0)  # halves round either way


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, -1024), (2.25, 17.5), (-1, 100)])
def test_rescale_comes_before_the_window(dicom, syntax, slope: float, intercept: float) -> None:
    more = {} if syntax is None else {"syntax": syntax}
    made = dicom(RAMP, RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=50, WindowWidth=350, **more)
    expected = [by_formula(x * slope + intercept, 50, 350) for x in RAMP.ravel().astype(float)]
    assert np.abs(levels(made).ravel() - np.array(expected)).max() <= 0.5 + 1e-9


def test_the_first_of_several_windows_counts(dicom) -> None:
    both = dicom(CT, WindowCenter=[40, -600], WindowWidth=[400, 1500])
    assert np.array_equal(levels(both), levels(dicom(CT, WindowCenter=40, WindowWidth=400)))


def test_a_given_window_takes_the_place_of_the_files(dicom) -> None:
    made = dicom(CT, WindowCenter=40, WindowWidth=400)
    expected = [round(by_formula(x, -600, 1500)) for x in CT.ravel()]
    assert levels(made, (-600.0, 1500.0)).ravel().tolist() == expected


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": 40, "WindowWidth": 0}, {"WindowCenter": 40, "WindowWidth": -5}]
)
def test_without_a_window_the_percentiles_are_black_and_white(dicom, window) -> None:
    found = levels(dicom(RAMP, **window))
    low, high = np.quantile(RAMP.astype(float), [0.005, 0.995], method="inverted_cdf")
    assert np.array_equal(found, np.round(np.clip((RAMP.astype(float) - low) / (high - low), 0, 1) * 255))
    assert np.array_equal(found, levels(dicom(RAMP, WindowCenter=40, WindowWidth=400), "auto"))


def test_eight_bits_without_a_window_stay_as_they_are(dicom) -> None:
    pixels = np.random.default_rng(0).integers(30, 200, (20, 24), dtype=np.uint8)
    assert np.array_equal(levels(dicom(pixels)), pixels)
    assert levels(dicom(pixels), "auto").max() == 255


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_are_not_stored_do_not_count(dicom, bits: int, signed: bool) -> None:
    random = np.random.default_rng(bits)
    lowest = -(1 << bits - 1) if signed else 0
    values = random.integers(lowest, lowest + (1 << bits), (16, 18))
    garbage = random.integers(0, 1 << 16, values.shape) << bits  # overlays were once kept there
    stored = ((values & ((1 << bits) - 1)) | garbage) & 0xFFFF
    made = dicom(stored.astype(np.uint16), BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))
    expected = [by_formula(x, 10, 90) for x in values.ravel()]
    assert np.abs(levels(made, (10.0, 90.0)).ravel() - np.array(expected)).max() <= 0.5 + 1e-9


def test_monochrome1_is_turned_round_after_the_window(dicom) -> None:
    window = {"WindowCenter": 40, "WindowWidth": 400}
    straight, turned = dicom(CT, **window), dicom(CT, PhotometricInterpretation="MONOCHROME1", **window)
    assert np.abs(255 - levels(straight).astype(int) - levels(turned)).max() <= 1  # a half is rounded to even


def lut(entries: np.ndarray, first: int, bits: int, *, signed: bool = False) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new(0x00283006, "OW", entries.astype("u1" if bits == 8 else "<u2").tobytes())
    return item


def test_a_modality_lut_takes_the_place_of_rescale(dataset, written) -> None:
    random = np.random.default_rng(1)
    made = dataset(RAMP % 300, WindowCenter=30000, WindowWidth=40000)
    made.ModalityLUTSequence = [lut(random.integers(0, 65536, 200), 50, 16)]
    made.ModalityLUTSequence[0].ModalityLUTType = "US"
    expected = apply_voi_by_hand(apply_modality_lut(made.pixel_array, made), 30000, 40000)
    assert np.array_equal(levels(written(made)), expected)


def apply_voi_by_hand(values: np.ndarray, center: float, width: float) -> np.ndarray:
    return np.array([round(by_formula(float(x), center, width)) for x in values.ravel()]).reshape(values.shape)


@pytest.mark.parametrize(("first", "signed"), [(0, False), (100, False), (-300, True)])
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_a_voi_lut_goes_before_a_window(dataset, written, first: int, signed: bool, bits: int) -> None:
    random = np.random.default_rng(bits)
    pixels = (RAMP % 900 - 400).astype(np.int16) if signed else RAMP % 900
    made = dataset(pixels, WindowCenter=1, WindowWidth=2)
    entries = random.integers(0, 1 << bits, 500)
    made.VOILUTSequence = [lut(entries, first, bits, signed=signed)]
    expected = entries[np.clip(pixels.astype(int) - first, 0, 499)]
    if bits > 8:  # of 8 bits pydicom counts no more than 256
        assert np.array_equal(apply_voi(made.pixel_array, made), expected)
    assert np.array_equal(levels(written(made)), np.round(expected / ((1 << bits) - 1) * 255))


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_a_voi_lut_of_a_ct_begins_below_zero(dataset, written, syntax) -> None:
    """Stored values are not negative, rescaled ones are; an implicit VR does not say so of the table."""
    more = {} if syntax is None else {"syntax": syntax}
    made = dataset(RAMP % 900, RescaleSlope=1, RescaleIntercept=-1024, **more)
    entries = np.random.default_rng(6).integers(0, 65536, 500)
    made.VOILUTSequence = [lut(entries, -1000, 16, signed=True)]
    expected = entries[np.clip(RAMP.astype(int) % 900 - 1024 + 1000, 0, 499)]
    assert np.array_equal(levels(written(made)), np.round(expected / 65535 * 255))


def test_padding_is_black_and_is_not_counted(dicom) -> None:
    pixels = RAMP.astype(np.int16) + 1000
    pixels[:20] = -2000
    made = dicom(pixels, PixelPaddingValue=-2000)
    low, high = np.quantile(pixels[20:], [0.005, 0.995], method="inverted_cdf")
    found = levels(made)
    assert not found[:20].any()
    assert np.array_equal(found[20:], np.round(np.clip((pixels[20:] - low) / (high - low), 0, 1) * 255))
    turned = levels(dicom(pixels, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1"))
    assert not turned[:20].any()
    ranged = levels(dicom(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=3000))
    assert not ranged[pixels <= 3000].any()
    assert ranged[pixels > 3100].all()


def test_an_image_of_one_value_is_black_and_of_padding_alone_too(dicom) -> None:
    flat = np.full((16, 16), 700, np.uint16)
    assert not levels(dicom(flat)).any()
    assert not levels(dicom(flat, PixelPaddingValue=700)).any()


@pytest.mark.parametrize(("entry_bits", "shift"), [(8, 0), (16, 8), (16, 0)])  # some say 16 bits and write 8
def test_a_palette_is_looked_up(dataset, written, entry_bits: int, shift: int) -> None:
    random = np.random.default_rng(2)
    colours = random.integers(0, 256, (200, 3))
    made = dataset(np.arange(256, dtype=np.uint8).reshape(16, 16), PhotometricInterpretation="PALETTE COLOR")
    for place, name in enumerate(("Red", "Green", "Blue")):
        entries = colours[:, place].astype("<u2") << shift
        data = entries.tobytes() if entry_bits == 16 else entries.astype(np.uint8).tobytes()
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [200, 20, entry_bits])
        setattr(made, f"{name}PaletteColorLookupTableData", data)
    expected = colours[np.clip(np.arange(256) - 20, 0, 199)].reshape(16, 16, 3)
    assert np.array_equal(levels(written(made)), expected)


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_keep_every_value(dicom, planar: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    stored = pixels.transpose(2, 0, 1).copy() if planar else pixels
    made = dicom(pixels, PlanarConfiguration=planar, PixelData=stored.tobytes())
    assert np.array_equal(levels(made), pixels)
    assert np.array_equal(levels(made, (1.0, 2.0)), pixels)  # a window is for grey


def test_big_endian_words_are_read(dataset) -> None:
    import io

    made = dataset(CT, WindowCenter=40, WindowWidth=400)
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    made.PixelData = CT.astype(">i2").tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, implicit_vr=False, little_endian=False)
    assert levels(file.getvalue()).ravel().tolist() == [round(by_formula(x, 40, 400)) for x in CT.ravel()]


def test_the_prepared_picture_and_its_facts(dicom) -> None:
    made = dicom(CT, WindowCenter=40, WindowWidth=400)
    prepared = prepare(made, Preprocessing(64, color="gray"))
    assert np.array_equal(prepared.pixels[..., 0], levels(made))
    facts = prepared.facts
    assert (facts.format, facts.mode, facts.width_px, facts.bytes) == ("DICOM", "MONOCHROME2, 16 bits", 64, len(made))
    other = prepare(made, Preprocessing(64, color="gray", window=(-600.0, 1500.0)))
    assert np.array_equal(other.pixels[..., 0], levels(made, (-600.0, 1500.0)))


def test_the_key_of_decoded_pixels_is_what_it_was_before_there_was_a_window() -> None:
    assert "window" not in Preprocessing(64).as_json()
    assert Preprocessing(64, window="auto").as_json()["window"] == "auto"
    assert Preprocessing(64, window=(40.0, 80.0)).as_json()["window"] == [40.0, 80.0]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"RescaleSlope": "1e308", "RescaleIntercept": "1e308"}, "beyond all measure"),
        ({"PhotometricInterpretation": "CMYK"}, "photometric interpretation is not read"),
        ({"PhotometricInterpretation": "RGB"}, "RGB with 1 samples a pixel, expected 3"),
        ({"BitsStored": 12, "HighBit": 15}, "do not begin at the lowest bit"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "12 bits stored in 12"),
        ({"Rows": 0}, "it has no pixels: 64 x 0"),
        ({"NumberOfFrames": 5000}, "5,000 frames; at most 2,000"),
    ],
)
def test_a_header_that_fits_no_image_is_refused(dicom, values, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        levels(dicom(RAMP, **values))


@pytest.mark.parametrize("tag", [0x00281052, 0x00281053])
def test_a_rescale_that_is_no_number_is_refused_and_such_a_window_is_none(dataset, written, tag: int) -> None:
    made = dataset(RAMP)
    made.add_new(tag, "LO", "1,5")
    with pytest.raises(ImageError, match="rescale slope or intercept is no number"):
        levels(written(made))
    made = dataset(RAMP, WindowWidth=400)
    made.add_new(0x00281050, "LO", "brain")
    assert np.array_equal(levels(written(made)), levels(written(dataset(RAMP)), "auto"))


@pytest.mark.parametrize(
    ("descriptor", "data", "reason"),
    [
        (struct.pack("<HHH", 300, 0, 16), bytes(20), "fewer entries than it says"),
        (struct.pack("<HHH", 10, 0, 99), bytes(20), "lookup table of 99 bits"),
        (b"\1\0", bytes(20), "without a description"),
    ],
)
def test_a_damaged_table_is_refused(dataset, written, descriptor: bytes, data: bytes, reason: str) -> None:
    made = dataset(RAMP)
    item = Dataset()
    item.add_new(0x00283002, "OW", descriptor)
    item.add_new(0x00283006, "OW", data)
    made.VOILUTSequence = [item]
    with pytest.raises(ImageError, match=reason):
        levels(written(made))
