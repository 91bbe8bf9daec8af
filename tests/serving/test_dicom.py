"""DICOM in a request: shown as other images are, frame by frame, and nothing of whose it is in any answer."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serving.conftest import png, running

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid  # noqa: E402

from clearmargin.prediction import predict_files  # noqa: E402
from clearmargin.serving import service as serving_service  # noqa: E402
from clearmargin.serving.limits import Limits  # noqa: E402
from clearmargin.serving.model import ServedModel  # noqa: E402
from clearmargin.serving.pictures import may_be_dicom  # noqa: E402
from clearmargin.trained import TrainedContender  # noqa: E402

CANARY = "Doe^Jane"


def dicom(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **values: Any) -> bytes:
    """A file with grey pixels, uint8 (height, width) or (frames, height, width)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("made", Dataset(), file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientName, made.PatientID, made.PatientBirthDate = CANARY, CANARY, "19700101"
    made.InstitutionName = CANARY
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        made.NumberOfFrames = len(pixels)
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.PixelData = pixels.tobytes() + bytes(pixels.size % 2)
    for name, value in values.items():
        setattr(made, name, value)
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def drawn(count: int) -> np.ndarray:
    """So many different images, uint8 (count, 20, 24)."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 90, (count, 20, 24))
    for number in range(count):
        corner = 3 + 5 * (number % 3)
        pixels[number, corner : corner + 5, corner : corner + 5] += 100
    return pixels.astype(np.uint8)


def post(client: httpx.Client, *contents: bytes, path: str = "/v1/predict") -> httpx.Response:
    return client.post(path, files=[("files", (f"{CANARY}.dcm", content)) for content in contents])


def test_a_file_is_answered_as_predict_answers_it(
    client: httpx.Client, own_model: TrainedContender, tmp_path: Path
) -> None:
    (tmp_path / "one").write_bytes(dicom(drawn(1)[0]))
    expected = predict_files(own_model, [tmp_path / "one"]).table.iloc[0]
    content = (tmp_path / "one").read_bytes()
    for response in (
        post(client, content),
        client.post("/v1/predict", content=content, headers={"Content-Type": "application/dicom"}),
    ):
        (said,) = response.json()["predictions"]
        assert (said["image"], said["frame"], said["predicted"]) == (0, None, expected.iloc[1])
        np.testing.assert_allclose(list(said["probabilities"].values()), list(expected.iloc[2:5]), atol=1e-5)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_each_frame_is_answered_and_named(
    client: httpx.Client, own_model: TrainedContender, tmp_path: Path, syntax: str
) -> None:
    several, single = dicom(drawn(5), syntax), dicom(drawn(6)[5])
    (tmp_path / "several.dcm").write_bytes(several)
    expected = predict_files(own_model, [tmp_path / "several.dcm"]).table
    said = post(client, single, several, b"no image").json()["predictions"]
    assert [(one["image"], one["frame"]) for one in said] == [(0, None), *((1, n) for n in range(1, 6)), (2, None)]
    assert said[6]["problem"]["status"] == 415
    for one, (_, row) in zip(said[1:6], expected.iterrows(), strict=True):
        np.testing.assert_allclose(list(one["probabilities"].values()), list(row.iloc[2:5]), atol=1e-5)
    assert len({tuple(one["probabilities"].values()) for one in said[1:6]}) == 5
    page = post(client, several, path="/").text
    assert page.count("<article") == 5
    assert "Image 1, frame 5" in page
    assert 'data-frame="5"' in page


def test_too_many_frames_and_too_many_pixels(client: httpx.Client) -> None:
    many = post(client, dicom(np.zeros((Limits().request_images + 1, 4, 4), np.uint8)))
    assert (many.status_code, "65 images" in many.json()["detail"]) == (413, True)
    assert many.json()["type"].endswith(":too-many")
    for content in (
        dicom(np.zeros((4, 4), np.uint8), Rows=5001, Columns=5000),
        dicom(np.zeros((2, 4, 4), np.uint8), Rows=65535, Columns=65535),
    ):
        large = post(client, content)
        assert (large.status_code, large.json()["type"]) == (413, "urn:clearmargin:problem:too-large")


def test_frames_that_take_long_are_answered_as_far_as_there_is_time(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = served_model.prepare
    prepare(dicom(drawn(1)[0]), Limits())  # what it imports takes its time

    def slowly(content: bytes, limits: Limits) -> np.ndarray:
        if may_be_dicom(content):
            time.sleep(0.25)
        return prepare(content, limits)

    monkeypatch.setattr(served_model, "prepare", slowly)
    with (
        running(served_model, seconds=1.4) as (address, _, _),
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        said = post(client, dicom(drawn(12))).json()["predictions"]  # nobody knows yet how long they take
        answered = ["predicted" in one for one in said]
        assert 1 <= sum(answered) <= 5
        assert answered == sorted(answered, reverse=True)
        assert {one["problem"]["type"].rpartition(":")[2] for one in said if "problem" in one} == {"deadline"}
        refused = post(client, dicom(drawn(12)))  # one after the other, on however many processors
        assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (413, "too-many")
        assert re.search(r"about [1-4] images in time", refused.json()["detail"])
        assert post(client, *[png(np.zeros((8, 8)))] * 20).status_code == 200  # these take no time


def test_nothing_of_the_patient_is_said(client: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    whole, several = dicom(drawn(1)[0]), dicom(drawn(2))
    assert CANARY.encode() in whole
    odd = whole.replace(b"MONOCHROME2", b"DOE JANE 12")
    cut = whole[: whole.index(b"\xe0\x7f\x10\0") + 20]
    told = [post(client, content, path=path).text for path in ("/v1/predict", "/") for content in
            (whole, several, odd, cut, whole[:300], whole[128:], whole.replace(b"DICM", b"DIXM"))]  # fmt: skip
    told += [client.get("/metrics").text]
    captured = capfd.readouterr()
    for text in (*told, captured.out, captured.err):
        assert "Doe^" not in text
        assert "DOE JANE" not in text
        assert "19700101" not in text


def test_the_page_says_what_may_be_sent(client: httpx.Client) -> None:
    assert "PNM or DICOM, up to" in client.get("/").text
    assert " accept=" not in client.get("/").text  # files without an extension can be chosen
    assert "PNM or DICOM." in client.post("/", files={"files": b"no image"}).text
    assert "PNM 或 DICOM" in client.get("/?lang=zh").text


def test_without_the_libraries_it_says_what_to_install(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_service, "reads_dicom", lambda: False)
    with running(served_model) as (address, _, _), httpx.Client(base_url=address, trust_env=False) as client:
        response = post(client, dicom(drawn(1)[0]))
        assert (response.status_code, response.json()["type"]) == (415, "urn:clearmargin:problem:no-dicom")
        assert 'pip install "clearmargin[dicom]"' in response.json()["detail"]
        page = post(client, dicom(drawn(1)[0]), path="/").text
        assert "clearmargin[dicom]" in page
        assert "damaged" not in page
        assert "WebP or PNM, up to" in client.get("/").text
        assert " accept=" in client.get("/").text
