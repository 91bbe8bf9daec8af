"""Files with several frames: each as a file of its own, with what is said of it and nothing about anybody."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from clearmargin.dicom import decode_dicom, frame_file, open_dicom
from clearmargin.errors import ImageError

FRAMES = np.random.default_rng(0).integers(0, 4096, (3, 20, 22), dtype=np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
SECRETS = {"PatientName": "Canary^Name", "PatientID": "CANARY-ID", "PatientBirthDate": "19010203"}


def levels(content: bytes) -> np.ndarray:
    return decode_dicom(content, 10**7, "file").pixels


def each_alone(content: bytes) -> list[np.ndarray]:
    file = open_dicom(content)
    return [levels(frame_file(file, number)) for number in range(file.header.frames)]


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_frames_are_those_of_files_with_one(dicom, syntax) -> None:
    more = {**WINDOW, **({} if syntax is None else {"syntax": syntax})}
    cut = each_alone(dicom(FRAMES, NumberOfFrames=3, **more))
    assert len(cut) == 3
    for found, frame in zip(cut, FRAMES, strict=True):
        assert np.array_equal(found, levels(dicom(frame, **WINDOW)))


@pytest.mark.parametrize("bits", [8, 16])
def test_frames_of_big_endian_words(dataset, bits: int) -> None:
    pixels = FRAMES[:, :, :21] if bits == 16 else (FRAMES[:, :19, :21] >> 4).astype(np.uint8)  # odd frames of bytes
    made = dataset(pixels, NumberOfFrames=3, **WINDOW)
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    plain = pixels.astype(">u2").tobytes() if bits == 16 else pixels.tobytes() + b"\0"
    made.PixelData = plain if bits == 16 else np.frombuffer(plain, "<u2").astype(">u2").tobytes()
    made["PixelData"].VR = "OW"
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, implicit_vr=False, little_endian=False)
    for found, frame in zip(each_alone(file.getvalue()), pixels, strict=True):
        assert np.array_equal(found, levels_of_one(dataset, frame))


def levels_of_one(dataset, frame: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset(frame, **WINDOW), enforce_file_format=True)
    return levels(file.getvalue())


def test_frames_of_single_bits_that_begin_within_a_byte(dataset, written) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    made = dataset(bits, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
    for found, frame in zip(each_alone(written(made)), bits, strict=True):
        assert np.array_equal(found, frame * 255)


@pytest.mark.parametrize("table", ["basic", "none", "extended"])
@pytest.mark.parametrize("fragments", [1, 3])
def test_compressed_frames(dataset, written, table: str, fragments: int) -> None:
    frames = []
    for frame in FRAMES:
        single = dataset(frame, **WINDOW)
        single.compress(RLELossless, generate_instance_uid=False)
        frames.append(pydicom.encaps.get_frame(single.PixelData, 0, number_of_frames=1))
    made = dataset(FRAMES, NumberOfFrames=3, **WINDOW)
    made.file_meta.TransferSyntaxUID = RLELossless
    if table == "extended":
        made.PixelData, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        made.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table == "basic")
    made["PixelData"].VR = "OB"
    content = written(made)
    if table == "none" and fragments > 1:
        with pytest.raises(ImageError, match="can't be told apart"):
            each_alone(content)
        return
    for found, frame in zip(each_alone(content), FRAMES, strict=True):
        assert np.array_equal(found, levels_of_one(dataset, frame))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_frames_of_pictures(dataset, written, syntax) -> None:
    from PIL import Image

    frames, pictures = [], np.random.default_rng(2).integers(0, 256, (2, 24, 30), dtype=np.uint8)
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG" if syntax == JPEGBaseline8Bit else "JPEG2000", **(
            {"quality": 95} if syntax == JPEGBaseline8Bit else {"no_jp2": True}
        ))  # fmt: skip
        frames.append(file.getvalue())
    made = dataset(pictures, NumberOfFrames=2)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    expected = [np.asarray(Image.open(io.BytesIO(frame))) for frame in frames]
    assert np.array_equal(each_alone(written(made)), expected)


def test_each_frame_of_an_enhanced_image_has_its_own_rescale_and_window(dataset, written) -> None:
    made = dataset(FRAMES, NumberOfFrames=3)
    shared, window = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 500, 1000
    shared.FrameVOILUTSequence = [window]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for number in range(3):
        frame, rescale, content = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 0.25 * (number + 1), -10 * number, "US"
        content.FrameComments = "Canary^Comment"
        frame.PixelValueTransformationSequence, frame.FrameContentSequence = [rescale], [content]
        made.PerFrameFunctionalGroupsSequence.append(frame)
    for number, found in enumerate(each_alone(written(made))):
        values = FRAMES[number] * 0.25 * (number + 1) - 10 * number
        expected = np.clip((values - 499.5) / 999 + 0.5, 0, 1) * 255
        assert np.abs(found - expected).max() <= 0.5 + 1e-9
    assert np.array_equal(levels(written(made)), each_alone(written(made))[0])


def test_a_frame_alone_says_nothing_about_anybody(dataset, written) -> None:
    made = dataset(FRAMES, NumberOfFrames=3, **SECRETS, **WINDOW)
    made.private_block(0x11, "canary maker", create=True).add_new(1, "LO", "Canary private")
    content = written(made)
    assert b"CANARY-ID" in content
    for number in range(3):
        alone = frame_file(open_dicom(content), number)
        assert b"canary" not in alone.lower()
        assert b"19010203" not in alone
        read = pydicom.dcmread(io.BytesIO(alone))  # a file that others read too
        assert "PatientID" not in read
        assert np.array_equal(read.pixel_array, FRAMES[number])


def test_a_table_travels_with_a_frame(dataset, written) -> None:
    made = dataset(FRAMES, NumberOfFrames=3)
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 16])
    item.add_new(0x00283006, "OW", np.random.default_rng(3).integers(0, 65536, 4096).astype("<u2").tobytes())
    made.VOILUTSequence = [item]
    single = dataset(FRAMES[2])
    single.VOILUTSequence = [item]
    assert np.array_equal(each_alone(written(made))[2], levels(written(single)))


def test_missing_frames_are_an_error_of_their_own(dicom) -> None:
    content = dicom(FRAMES[:2], NumberOfFrames=3, **WINDOW)
    file = open_dicom(content)
    assert levels(frame_file(file, 1)).any()
    with pytest.raises(ImageError, match="fewer pixel data"):
        frame_file(file, 2)


def test_each_frame_of_an_enhanced_image_has_its_own_table(dataset, written) -> None:
    random = np.random.default_rng(4)
    made = dataset(FRAMES, NumberOfFrames=3)
    made.SharedFunctionalGroupsSequence = [Dataset()]
    made.PerFrameFunctionalGroupsSequence = []
    tables = []
    for _ in range(3):
        item, window, frame = Dataset(), Dataset(), Dataset()
        item.add_new(0x00283002, "US", [4096, 0, 16])
        item.add_new(0x00283006, "OW", random.integers(0, 65536, 4096).astype("<u2").tobytes())
        window.VOILUTSequence, frame.FrameVOILUTSequence = [item], [window]
        made.PerFrameFunctionalGroupsSequence.append(frame)
        tables.append(item)
    for number, found in enumerate(each_alone(written(made))):
        single = dataset(FRAMES[number])
        single.VOILUTSequence = [tables[number]]
        assert np.array_equal(found, levels(written(single)))
    assert np.array_equal(levels(written(made)), each_alone(written(made))[0])


@pytest.mark.parametrize("frames", [1, 3])
def test_colours_that_say_they_are_shared_and_are_not_are_refused(dicom, frames: int) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (frames, 6, 8, 3), dtype=np.uint8)
    more = {"NumberOfFrames": frames} if frames > 1 else {}
    shared = dicom(pixels if frames > 1 else pixels[0], PhotometricInterpretation="YBR_FULL_422", **more)
    with pytest.raises(ImageError, match="it says YBR_FULL_422, and has more pixel data than that takes"):
        levels(shared)
    with pytest.raises(ImageError, match="it says YBR_FULL_422"):
        frame_file(open_dicom(shared), 0)
    values = pixels.tobytes()[: pixels.size * 2 // 3]
    sound = dicom(
        pixels if frames > 1 else pixels[0], PhotometricInterpretation="YBR_FULL_422", PixelData=values, **more
    )
    assert len(each_alone(sound)) == frames
