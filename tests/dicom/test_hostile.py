"""Files that are damaged or made to do harm: an error that says why, soon, and no word of theirs anywhere."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian
from tests.dicom.by_hand import dicomdir, explicit

from clearmargin.decoding import longest_side, prepare
from clearmargin.dicom import (
    decode_dicom,
    decoding_process,
    dicom_size,
    directory,
    elements,
    is_dicom,
    listed_files,
    open_dicom,
)
from clearmargin.dicom.codestream import check_codestream
from clearmargin.dicom.decoder import READY
from clearmargin.dicom.decoding_process import decode_frame
from clearmargin.errors import ImageError, WorkError
from clearmargin.records import Preprocessing
from clearmargin.sources.dicom_directory import is_dicomdir

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
RAMP = np.arange(1024, dtype=np.uint16).reshape(32, 32)
SOON = 15.0  # seconds, on a machine that is busy
SAMPLES = [
    (BUNDLED / name).read_bytes()
    for name in (
        *(
            "MR_small.dcm",
            "MR_small_implicit.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_RLE.dcm",
            "SC_rgb_jpeg_gdcm.dcm",
        ),
        *("MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_small_odd_jpeg.dcm", "rtdose_rle.dcm"),
        *("image_dfl.dcm", "SC_rgb_rle_2frame.dcm"),
    )
]


def levels(content: bytes) -> np.ndarray:
    return decode_dicom(content, 10**7, "file").pixels


def outcome(content: bytes) -> np.ndarray | str:
    """The picture, or the reason why there is none."""
    try:
        return levels(content)
    except ImageError as error:
        return str(error)


def refused_soon(content: bytes, reason: str) -> None:
    start = time.monotonic()
    with pytest.raises(ImageError, match=reason):
        levels(content)
    assert time.monotonic() - start < SOON


def with_front(dicom, extra: bytes) -> bytes:
    """A sound file with more elements in front of its own."""
    content = dicom(RAMP)
    place = content.index(b"\x08\0\x16\0UI")
    return content[:place] + extra + content[place:]


def items(depth: int) -> bytes:
    """Sequences in sequences, without an end."""
    level = explicit(0x00081140, b"SQ", b"", elements.UNDEFINED) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, elements.UNDEFINED
    )
    return level * depth


def test_sequences_nested_without_end_are_refused(dicom) -> None:
    refused_soon(with_front(dicom, items(100_000)), "nested more than 64 deep")


def test_more_elements_than_an_image_has_are_refused(dicom) -> None:
    refused_soon(with_front(dicom, explicit(0x00090010, b"LO", b"") * 10**6), "more than 300,000")
    sequence = explicit(0x00081140, b"SQ", b"", elements.UNDEFINED)
    endless = io.BytesIO(sequence + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 50_000)
    with pytest.raises(ImageError, match="more than 20,000"):
        list(elements.elements(endless, elements.Encoding(False), frozenset(), frozenset(), 20_000))


def test_a_sound_nested_sequence_is_passed_over(dicom) -> None:
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    assert np.array_equal(levels(with_front(dicom, items(60) + ends * 60)), levels(dicom(RAMP)))


def test_an_element_that_reaches_beyond_its_sequence_is_refused(dicom) -> None:
    inside = explicit(0x00081150, b"UI", b"", 40)
    sequence = explicit(0x00089999, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 8) + inside, elements.UNDEFINED)
    refused_soon(with_front(dicom, sequence + bytes(60)), "reaches beyond the sequence")


@pytest.mark.parametrize("place", [0x00280010, 0x00281050, 0x00280008])
def test_a_huge_value_where_a_few_bytes_are_expected_is_not_read(dicom, place: int) -> None:
    refused_soon(with_front(dicom, explicit(place, b"UN", b"", 0x7FFFFFF0)), "where a few are expected")


@pytest.mark.parametrize("tag", [0x00281050, 0x00281051, 0x00281052, 0x00281053])
@pytest.mark.parametrize("text", ["1" * 262_143 + "x", "1." + "1" * 262_141 + "x", "1\\" * 131_072])
def test_numbers_of_a_quarter_of_a_megabyte_are_read_at_once(dicom, tag: int, text: str) -> None:
    header = open_dicom(with_front(dicom, explicit(tag, b"UN", text.encode()))).header
    start = time.monotonic()
    assert header.numbers(tag) == []
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [1.0]),
        ("-1.5e3\\ .5 \\+7.", [-1500.0, 0.5, 7.0]),
        *((text, []) for text in ("", ".", "1e", "1.5.2", "1,5", "--1", "nan", "inf", "1_0", "1e999", "1" * 65, "1\\")),
    ],
)
def test_what_counts_as_a_number(dicom, text: str, expected: list[float]) -> None:
    header = open_dicom(with_front(dicom, explicit(0x00281050, b"DS", text.encode()))).header
    assert header.numbers(0x00281050) == expected


def test_first_lines_without_end_are_refused(dicom) -> None:
    content = dicom(RAMP)
    place = content.index(b"\x08\0\x16\0UI")
    refused_soon(
        content[:place] + explicit(0x00020016, b"AE", b"") * 10**6 + content[place:], "more than 1,000 elements"
    )


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xd0", b"\xff\xfe\0\2"])
def test_a_picture_that_only_begins_is_refused_soon(filling: bytes) -> None:
    frame = b"\xff\xd8" + filling * ((32 << 20) // len(filling))
    start = time.monotonic()
    with pytest.raises(ImageError, match="a frame that is not JPEG baseline"):
        check_codestream("JPEG baseline", frame, 10, 10, 1)
    assert time.monotonic() - start < 1


def test_a_list_is_known_by_its_first_lines_and_may_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"IMAGES\\{number:08d}" for number in range(1000)]
    content = dicomdir(*names, further=explicit(0x00041410, b"US", b"\0\0"))
    (tmp_path / "DICOMDIR").write_bytes(content)
    monkeypatch.setattr("clearmargin.dicom.header.elements", lambda *_: pytest.fail("walked"))
    assert is_dicomdir(tmp_path / "DICOMDIR")
    assert listed_files(content) == [name.replace("\\", "/") for name in names]
    assert directory.MOST_ELEMENTS > 10 * elements.MAX_ELEMENTS  # a dozen for each file


def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MOST_ELEMENTS", 100)
    with pytest.raises(ImageError, match="more than 100 DICOM elements"):
        listed_files(dicomdir(*["A"] * 100))


def test_what_inflates_without_end_is_refused(dicom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MAX_INFLATED_BYTES", 32 << 20)
    content = dicom(RAMP, syntax=DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = explicit(0x00091001, b"OB", b"", 100 << 20)
    bomb = packer.compress(element) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    begin = content.index(b"1.2.840.10008.1.2.1.99")
    meta_end = begin + 22
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(bomb) < 1 << 20
    refused_soon(content[:meta_end] + bomb, "inflates to more than 32 MiB")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_too_many_pixels_are_refused_from_the_header(dicom) -> None:
    refused_soon(dicom(RAMP, Rows=65535, Columns=65535), "too large: 65535 x 65535")
    with pytest.raises(ImageError, match="too large: 32 x 32 pixels, the limit is 1,000"):
        decode_dicom(dicom(RAMP), 1000, "file")


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_jpeg_gdcm.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_small_odd_jpeg.dcm"],
)
def test_a_frame_larger_than_its_header_is_refused_before_it_is_decoded(name: str, monkeypatch) -> None:
    content = bytearray((BUNDLED / name).read_bytes())
    place = content.index(b"\x28\0\x10\0US") + 8
    content[place : place + 2] = struct.pack("<H", 2)  # rows
    monkeypatch.setattr("clearmargin.dicom.picture.decode_frame", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"its header says \d+ x 2 pixels"):
        levels(bytes(content))


def test_a_frame_that_kills_the_decoder_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray((BUNDLED / "SC_rgb_jpeg_gdcm.dcm").read_bytes())
    frame = content.index(b"\xff\xd8\xff")
    content[frame + 22] ^= 0xFF  # GDCM ends the process on it
    refused_soon(bytes(content), "a frame on which the decoder breaks down")
    assert levels((BUNDLED / "SC_rgb_jpeg_gdcm.dcm").read_bytes()).any()  # the next one is decoded all the same
    assert capfd.readouterr() == ("", "")


def asked(**more: object) -> dict[str, object]:
    return {"transfer_syntax": "1.2.840.10008.1.2.1", "compressed": False, **more}


SAY_READY = f"sys.stdout.buffer.write(b'a greeting\\n' + {READY!r})\nsys.stdout.buffer.flush()\n"


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(f"import sys, time\n{SAY_READY}time.sleep(60)\n", encoding="utf-8")
    decoding_process.end_processes()
    monkeypatch.setattr(decoding_process, "_PROGRAM", slow)
    monkeypatch.setattr(decoding_process, "_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(ImageError, match="not decoded in") as raised:
        decode_frame(asked(), b"", 1)
    assert raised.value.transient
    assert time.monotonic() - start < 5
    assert decoding_process._idle == []


def test_a_decoder_that_does_not_start_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("import time\ntime.sleep(60)\n", "print('other words')\n", "raise SystemExit\n"):
        (tmp_path / "slow.py").write_text(program)
        decoding_process.end_processes()
        monkeypatch.setattr(decoding_process, "_PROGRAM", tmp_path / "slow.py")
        monkeypatch.setattr(decoding_process, "_START_SECONDS", 0.3)
        with pytest.raises(WorkError, match="did not get ready") as raised:  # no fault of the image
            decode_frame(asked(), b"", 1)
        assert not isinstance(raised.value, ImageError)
        assert decoding_process._idle == []


def test_a_decoder_that_is_ended_at_its_start_is_started_once_more(tmp_path: Path, monkeypatch) -> None:
    program = decoding_process._PROGRAM.read_text(encoding="utf-8")
    once = (
        f"    if not os.path.exists({str(tmp_path / 'tried')!r}): open({str(tmp_path / 'tried')!r}, 'w'); os._exit(9)\n"
    )
    (tmp_path / "once.py").write_text(program.replace("    _limit()\n", once + "    _limit()\n"), encoding="utf-8")
    decoding_process.end_processes()
    monkeypatch.setattr(decoding_process, "_PROGRAM", tmp_path / "once.py")
    assert levels((BUNDLED / "MR_small_jpeg_ls_lossless.dcm").read_bytes()).any()
    assert (tmp_path / "tried").exists()
    decoding_process.end_processes()


def test_less_memory_than_it_may_have_at_most_is_enough() -> None:
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({3 * 10**9}, {3 * 10**9}))\n"
        "from clearmargin.dicom import decode_dicom\n"
        "print(decode_dicom(open(sys.argv[1], 'rb').read(), 10**7, 'file').pixels.max())"
    )
    coded, few = str(BUNDLED / "MR_small_jpeg_ls_lossless.dcm"), {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, coded], capture_output=True, text=True, env=few)
    assert done.stdout.strip() == "255", done.stderr


def test_the_start_of_a_decoder_is_not_part_of_the_time_of_a_frame(tmp_path, monkeypatch) -> None:
    program = decoding_process._PROGRAM.read_text(encoding="utf-8")
    assert program.count("    _limit()\n") == 1
    (tmp_path / "slow.py").write_text(
        program.replace("    _limit()\n", "    _limit()\n    import time; time.sleep(3)\n")
    )
    decoding_process.end_processes()
    monkeypatch.setattr(decoding_process, "_PROGRAM", tmp_path / "slow.py")
    monkeypatch.setattr(decoding_process, "_SECONDS", 2.0)
    coded = (BUNDLED / "MR_small_jpeg_ls_lossless.dcm").read_bytes()
    assert levels(coded).any()
    decoding_process.end_processes()


ANSWERING = """
import json, struct, sys
{ready}about, size = struct.unpack("<LQ", sys.stdin.buffer.read(12))
sys.stdin.buffer.read(about + size)
text = json.dumps({said}).encode()
sys.stdout.buffer.write(struct.pack("<LQ", len(text), {size}) + text + bytes({sent}))
"""
SAID = {"kind": "|u1", "shape": [4, 4], "photometric": "RGB"}


@pytest.mark.parametrize(
    ("said", "size"),
    [
        (SAID, 1 << 40),
        (SAID, (1 << 64) - 1),
        (SAID, 15),
        ({**SAID, "shape": [-4, -4]}, 16),
        ({**SAID, "shape": [4, 4.0]}, 16),
        ({**SAID, "shape": 16}, 16),
        ({**SAID, "kind": "object"}, 16),
        ({**SAID, "kind": ["|u1"]}, 16),
        ({"kind": "|u1", "shape": [4, 4]}, 16),
        ([1, 2], 0),
    ],
)
def test_a_damaged_decoder_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said, size: int) -> None:
    program = ANSWERING.format(ready=SAY_READY, said=repr(said), size=size, sent=min(size, 16))
    (tmp_path / "damaged.py").write_text(program, encoding="ascii")
    decoding_process.end_processes()
    monkeypatch.setattr(decoding_process, "_PROGRAM", tmp_path / "damaged.py")
    monkeypatch.setattr(decoding_process, "_TRIES", 1)
    with pytest.raises(ImageError, match="the decoder breaks down") as raised:
        decode_frame(asked(), b"", 16)
    assert raised.value.transient
    assert decoding_process._idle == []


def test_a_decoder_that_can_not_be_started_is_no_fault_of_the_image(dicom, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    decoding_process.end_processes()
    monkeypatch.setattr(decoding_process.subprocess, "Popen", refused)
    with pytest.raises(WorkError, match=r"can't be started: Cannot allocate memory") as raised:
        levels(dicom(RAMP))
    assert not isinstance(raised.value, ImageError)


def test_after_an_interruption_no_answer_goes_to_another_frame(dicom, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = dicom(np.full((16, 16), 7, np.uint8)), dicom(np.full((16, 16), 9, np.uint8))
    assert levels(one)[0, 0] == 7
    with monkeypatch.context() as patched:

        def interrupted(text: str) -> None:
            raise KeyboardInterrupt

        patched.setattr(decoding_process.json, "loads", interrupted)  # asked, and its answer half read
        with pytest.raises(KeyboardInterrupt):
            levels(one)
    assert levels(other)[0, 0] == 9


def test_a_decoder_that_nobody_asks_ends_itself(dicom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = decoding_process._PROGRAM.read_text(encoding="utf-8")
    (tmp_path / "soon.py").write_text(program.replace("4 << 30, 30.0", "4 << 30, 0.2"), encoding="utf-8")
    decoding_process.end_processes()
    monkeypatch.setattr(decoding_process, "_PROGRAM", tmp_path / "soon.py")
    content = dicom(RAMP)
    expected = levels(content)
    (process,) = decoding_process._idle
    assert process._running.wait(timeout=10) == 0
    assert np.array_equal(levels(content), expected)
    assert decoding_process._idle != [process]
    decoding_process.end_processes()


def test_a_decoder_that_was_ended_from_outside_is_asked_again(dicom) -> None:
    content = dicom(RAMP)
    expected = levels(content)
    for process in decoding_process._idle:
        process._running.kill()
        process._running.wait()
    assert np.array_equal(levels(content), expected)


def test_many_threads_get_each_its_own_answer(dicom) -> None:
    contents = [dicom(np.full((16, 16), value, np.uint8)) for value in range(40)]
    found: dict[int, int] = {}

    def decode(number: int) -> None:
        for place in range(number, 40, 4):
            found[place] = int(levels(contents[place])[0, 0])

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {value: value for value in range(40)}


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_a_file_cut_off_anywhere_is_an_error_or_whole(number: int) -> None:
    content = SAMPLES[number]
    whole = levels(content)
    for place in np.linspace(0, len(content) - 1, 25).astype(int).tolist():
        found = outcome(content[:place])
        assert found.isprintable() if isinstance(found, str) else found.shape == whole.shape


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(range(len(SAMPLES))), st.data())
def test_a_damaged_file_is_an_error_or_a_picture(number: int, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[number])
    header = 128 + data.draw(st.integers(0, min(3000, len(content) - 129)))
    for place in data.draw(st.lists(st.sampled_from([header, header + 1, len(content) // 2]), min_size=1, max_size=3)):
        content[min(place, len(content) - 1)] = data.draw(st.integers(0, 255))
    found = outcome(bytes(content))
    assert found.isprintable() and len(found) < 400 if isinstance(found, str) else found.dtype == np.uint8


def test_values_of_a_file_are_in_no_message(dataset, written, capfd: pytest.CaptureFixture[str]) -> None:
    canary = "CANARY"
    for name in (
        "PhotometricInterpretation",
        "NumberOfFrames",
        "WindowCenter",
        "RescaleSlope",
        "PatientID",
        "VOILUTFunction",
    ):
        made = dataset(RAMP, PatientName="CANARY^NAME", StudyDescription="CANARY study")
        made.add_new(pydicom.datadict.tag_for_keyword(name), "LO", canary)
        assert canary not in str(outcome(written(made)))
    content = written(dataset(RAMP)).replace(b"1.2.840.10008.1.2.1\0", b"CANARY.CANARY.123.4\0")
    with pytest.raises(ImageError) as refused:
        levels(content)
    assert canary not in str(refused.value)
    assert canary not in "".join(capfd.readouterr())


def test_without_the_libraries_the_reason_says_what_to_install(dicom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_process, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r'pip install "clearmargin\[dicom\]"'):
        prepare(dicom(RAMP), Preprocessing(16))


def test_a_size_is_told_without_decoding(dicom) -> None:
    content = dicom(RAMP[:20])
    assert dicom_size(content) == (32, 20)
    assert longest_side(content) == 32
    assert longest_side(content[:200]) == 0


@pytest.mark.parametrize("content", [b"", b"\x08\0", bytes(132), b"\x89PNG\r\n\x1a\n" + bytes(200), b"\xff\xd8" * 80])
def test_what_is_no_dicom_is_not_taken_for_it(content: bytes) -> None:
    assert not is_dicom(content, named=True)
    with pytest.raises(ImageError):
        open_dicom(content)


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="limits are looked up where Linux has them")
def test_the_decoder_leaves_no_core_dump_and_takes_no_more_memory_than_an_image() -> None:
    levels((BUNDLED / "MR_small.dcm").read_bytes())
    limits = Path(f"/proc/{decoding_process._idle[-1]._running.pid}/limits").read_text(encoding="ascii")
    rows = {row[:26].strip(): row[26:47].strip() for row in limits.splitlines()}
    assert rows["Max core file size"] == "0"
    assert rows["Max address space"] == str(4 << 30)
