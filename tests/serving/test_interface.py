"""The interface for programs: the model's own answers, problems that say what is wrong, nothing personal."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.serving.conftest import HOSTILE, png, running

from clearmargin.runs import Run
from clearmargin.serving.limits import Limits
from clearmargin.serving.model import ServedModel
from clearmargin.serving.pictures import MOST_SCANS
from clearmargin.serving.problems import MEDIA_TYPE
from clearmargin.serving.uploads import images_of
from clearmargin.trained import TrainedContender

CANARY = "Jane-Doe-1970-01-01"


def post(client: httpx.Client, *contents: bytes, name: str = "a.png", field: str = "files") -> httpx.Response:
    return client.post("/v1/predict", files=[(field, (name, content, "image/png")) for content in contents])


def problem_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == MEDIA_TYPE
    said = response.json()
    assert set(said) == {"type", "title", "status", "detail"}
    assert said["status"] == response.status_code
    assert said["type"].startswith("urn:clearmargin:problem:")
    return said


def some_images(folder: Path, count: int) -> list[Path]:
    found = sorted(folder.rglob("*.png"))
    return found[:: max(1, len(found) // count)][:count]


def test_answers_are_those_of_the_model(client: httpx.Client, images_folder: Path, own_model: TrainedContender) -> None:
    images = some_images(images_folder, 20)
    response = post(client, *(image.read_bytes() for image in images))
    assert response.status_code == 200
    said = response.json()
    assert said["model"]["sha256"] == own_model.description["weights_sha256"]
    assert said["model"]["contender"] == "two layers"
    own = own_model.predict(images)
    for place, (one, row) in enumerate(zip(said["predictions"], own.itertuples(index=False, name=None), strict=True)):
        assert (one["image"], one["frame"]) == (place, None)
        assert one["predicted"] == row[1]
        np.testing.assert_allclose(list(one["probabilities"].values()), row[2:5], atol=1e-5)
        assert list(one["probabilities"]) == list(own_model.classes)
        assert tuple(one["set"]) == row[5]
        assert (one["abstain"], one["unlike"]) == (bool(row[6]), bool(row[7]))
        assert one["confidence"] == pytest.approx(0.9)


def test_one_image_may_be_the_whole_body(client: httpx.Client, images_folder: Path) -> None:
    image = some_images(images_folder, 1)[0].read_bytes()
    in_form = post(client, image).json()["predictions"]
    for kind in ("image/png", "application/octet-stream", "IMAGE/PNG; x=y"):
        alone = client.post("/v1/predict", content=image, headers={"Content-Type": kind})
        assert alone.json()["predictions"][0]["predicted"] == in_form[0]["predicted"]
    assert post(client, image, field="file").status_code == 200


def test_many_at_once_get_their_own_answers(client: httpx.Client, images_folder: Path) -> None:
    images = [image.read_bytes() for image in some_images(images_folder, 50)]
    alone = [post(client, image).json()["predictions"][0]["probabilities"] for image in images]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda image: post(client, image).json(), images * 4))
    for place, said in enumerate(found):
        expected = alone[place % len(images)]
        assert said["predictions"][0]["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_the_good_ones_of_several_are_answered(client: httpx.Client, images_folder: Path) -> None:
    good = some_images(images_folder, 2)
    response = post(client, good[0].read_bytes(), b"no image", good[1].read_bytes())
    assert response.status_code == 200
    first, second, third = response.json()["predictions"]
    assert "predicted" in first
    assert "predicted" in third
    assert second["image"] == 1
    assert second["problem"]["status"] == 415


def test_a_failure_of_ours_costs_one_image(
    served_model: ServedModel,
    images_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    images = [image.read_bytes() for image in some_images(images_folder, 6)]
    bad = served_model.prepare(images[2], Limits())
    answers = served_model.answers

    def fails(batch: list[np.ndarray]) -> Any:
        if any(np.array_equal(bad, one) for one in batch):
            raise ArithmeticError(CANARY)
        return answers(batch)

    with running(served_model) as (address, _, service), httpx.Client(base_url=address, trust_env=False) as client:
        monkeypatch.setattr(served_model, "answers", fails)
        response = post(client, *images)
        assert (service.accepted, service.held.bytes) == (0, 0)
    assert response.status_code == 200
    said = response.json()["predictions"]
    assert ["predicted" in one for one in said] == [True, True, False, True, True, True]
    assert said[2]["problem"]["status"] == 500
    assert CANARY not in response.text
    captured = capfd.readouterr()
    assert "An image failed: ArithmeticError in fails" in captured.err
    assert CANARY not in captured.err


def test_a_failure_of_the_decoder_is_not_the_fault_of_the_image(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(_content: bytes, _limits: Limits) -> np.ndarray:
        raise RecursionError(CANARY)

    with running(served_model) as (address, _, _), httpx.Client(base_url=address, trust_env=False) as client:
        monkeypatch.setattr(served_model, "prepare", fails)
        response = post(client, png(np.zeros((20, 20))))
    assert response.status_code == 500
    captured = capfd.readouterr()
    assert "An image failed: RecursionError in fails" in captured.err
    assert CANARY not in captured.err + response.text


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    )


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def many_scans(padding: bytes = b"") -> bytes:
    """A JPEG with more scans than any has, each behind what a decoder passes over."""
    content = jpeg(progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + (padding + scan) * (MOST_SCANS + 1) + content[-2:]


def test_a_film_behind_a_picture_is_no_scan(client: httpx.Client) -> None:
    film = b"\xff\xda" * 10 * MOST_SCANS
    for content in (jpeg(), jpeg(progressive=True), jpeg(restart_marker_blocks=1), jpeg(comment=film)):
        assert post(client, content + film).status_code == 200


@pytest.mark.parametrize(("content", "status", "kind"), [
    (b"", 415, "wrong-format"),
    (b"no image at all", 415, "wrong-format"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "wrong-format"),
    (b"%PDF-1.4", 415, "wrong-format"),
    (b"8BPS\x00\x01" + bytes(100), 415, "wrong-format"),
    (b"http://169.254.169.254/latest/meta-data", 415, "wrong-format"),
    (png(np.arange(4096).reshape(64, 64) % 251)[:-200], 422, "unusable-image"),
    (bomb(30_000, 30_000), 413, "too-large"),
    (bomb(5_001, 5_000), 413, "too-large"),
    (many_scans(), 422, "unusable-image"),
    (many_scans(b"\xff" * 1000), 422, "unusable-image"),
    (many_scans(b"\xff\x01\xff\xd0" + b"\0" * 1000), 422, "unusable-image"),
    (many_scans(b"\xff\xfe\0\x04\xff\xd9"), 422, "unusable-image"),
    (b"\xff\xd8" + b"\xff\xfe\0\x02" * 20_000 + jpeg()[2:], 422, "unusable-image"),
], ids=lambda value: value[:12].decode("latin-1") if isinstance(value, bytes) else None)  # fmt: skip
def test_what_is_no_sound_image_is_refused(client: httpx.Client, content: bytes, status: int, kind: str) -> None:
    for response in (
        post(client, content),
        client.post("/v1/predict", content=content, headers={"Content-Type": "image/png"}),
    ):
        said = problem_of(response)
        assert (response.status_code, said["type"]) == (status, f"urn:clearmargin:problem:{kind}")
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("suffix", ["PSD", "ICNS", "ICO", "TGA", "PCX", "SGI", "DDS", "EPS", "PDF", "MSP", "SPIDER"])
def test_other_formats_are_not_decoded_whatever_they_are_called(client: httpx.Client, suffix: str) -> None:
    buffer = io.BytesIO()
    try:
        Image.new({"MSP": "1", "SPIDER": "F"}.get(suffix, "RGB"), (64, 64)).save(buffer, suffix)
    except (KeyError, OSError):
        pytest.skip(f"Pillow can't write {suffix}")
    assert post(client, buffer.getvalue(), name="friendly.png").status_code == 415


@pytest.mark.parametrize(("headers", "body", "status"), [
    ({"Content-Type": "application/json"}, b"{}", 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, b"files=x", 415),
    ({"Content-Type": "text/plain"}, b"x", 415),
    ({}, b"x", 415),
    ({"Content-Type": "multipart/form-data"}, b"x", 400),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"not a form", 400),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 422),
    ({"Content-Type": "multipart/form-data; boundary=x"},
     b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\ncut short', 400),
    ({"Content-Type": "multipart/form-data; boundary=x"},
     b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://example.org/x.png\r\n--x--\r\n', 422),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\nno name\r\n--x--\r\n", 422),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n" + b"A: b\r\n" * 50 + b"\r\nx\r\n--x--\r\n", 400),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n--x--\r\n", 400),
    ({"Content-Type": "multipart/form-data; boundary=" + "x" * 5000}, b"x", 400),
    ({"Content-Type": "multipart/form-data; boundary*=none''%ff"}, b"--x", 400),
    ({"Content-Type": "multipart/form-data; boundary*0*=a; boundary*2=b; =;;="}, b"--x", 400),
    ({"Content-Type": 'multipart/form-data; y="; boundary=x"; boundary=z'}, b"--x--", 400),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"before\r\n--x--", 422),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"before--x--", 400),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x \t\r", 400),
    ({"Content-Type": 'multipart/form-data; boundary="x "'}, b"--x --", 400),
    ({"Content-Type": "multipart/form-data; boundary=x"},
     b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nab\r\n--xy\r\n--x--', 400),
    ({"Content-Type": "multipart/form-data; boundary=x"},
     b'--x\r\nContent-Disposition: form-data; filename="; name=files"\r\n\r\nab\r\n--x--', 422),
    ({"Content-Type": "multipart/form-data; boundary=x"},
     b"--x\r\nContent-Disposition: form-data; name*=none''%ff\r\n\r\nx\r\n--x--\r\n", 422),
])  # fmt: skip
def test_other_bodies_are_refused(client: httpx.Client, headers: dict[str, str], body: bytes, status: int) -> None:
    response = client.post("/v1/predict", content=body, headers=headers)
    assert response.status_code == status
    problem_of(response)


def test_a_form_is_split_where_it_says(client: httpx.Client, images_folder: Path) -> None:
    first, second = (image.read_bytes() for image in some_images(images_folder, 2))
    head = b'Content-Type: image/png\r\nCONTENT-disposition: form-data; filename="a\\"; name=b.png"; name=files\r\n\r\n'
    body = b"--a b\r\n" + head + first + b"\r\n--a b\r\n" + head + second + b"\r\n--a b--\r\nand what follows"
    plain = body.replace(b"a b", b"a_b")
    for boundary, sent in (("a_b", plain), ('"a_b"', plain), ('"a b"', body), ('"a\\ b"', body)):
        kind = f"multipart/form-data; charset=utf-8 ;Boundary={boundary}"
        response = client.post("/v1/predict", content=sent, headers={"Content-Type": kind})
        assert response.status_code == 200
        alone = [post(client, image).json()["predictions"][0]["probabilities"] for image in (first, second)]
        found = [one["probabilities"] for one in response.json()["predictions"]]
        for one, expected in zip(found, alone, strict=True):
            assert one == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("before", [b"", b"\r\n", b"This is a form.\r\n"])
@pytest.mark.parametrize("padding", [b"", b" \t"])
@pytest.mark.parametrize("head", [
    b'Content-Disposition: form-data; name="files"; filename="a.png"',
    b'Content-Disposition: form-data;\r\n\tname="files";\r\n filename="a.png"\r\nContent-Type:\r\n image/png',
    b'Content-Disposition: form-data; name="files"; filename="C:\\scans\\"',
    b'Content-Disposition: form-data; filename="C:\\scans\\"; name="files"',
    b'Content-Disposition: form-data; filename="scans\\"; name=files',
    b'Content-Disposition: form-data; filename="a\\"b\\\\"; name="files"',
])  # fmt: skip
def test_a_form_may_be_written_in_other_ways(before: bytes, padding: bytes, head: bytes) -> None:
    first = b"--x" + padding + b"\r\n" + head + b"\r\n\r\n"
    parts = [first + content + b"\r\n" for content in (b"one", b"", b"\r\n")]
    body = before + b"".join(parts) + b"--x--" + padding
    assert images_of("multipart/form-data; boundary=x", body, Limits()) == [b"one", b"", b"\r\n"]


@pytest.mark.parametrize("boundary", ["x", "-" * 70, "a" * 35 + "-" * 35])
def test_a_form_made_to_be_searched_for_long_is_not(client: httpx.Client, boundary: str) -> None:
    near = (b"\r\n--" + boundary.encode())[:-1] if len(boundary) > 1 else b"\r\n-"
    head = b'--%b\r\nContent-Disposition: form-data; name="files"\r\n\r\n' % boundary.encode()
    body = head + near * (30_000_000 // len(near)) + b"\r\n--%b--" % boundary.encode()
    began = time.monotonic()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert client.post("/v1/predict", content=body, headers=kind).status_code == 415
    assert time.monotonic() - began < 5


def test_too_many_and_too_large(client: httpx.Client) -> None:
    limits = Limits()
    response = post(client, *[b"x"] * (limits.request_images + 1))
    assert (response.status_code, "64 images" in problem_of(response)["detail"]) == (413, True)
    assert response.json()["type"].endswith(":too-many")
    response = post(client, bytes(limits.image_bytes + 1))
    assert (response.status_code, "32 MB" in problem_of(response)["detail"]) == (413, True)


def test_nothing_personal_in_answers_or_words(
    client: httpx.Client, images_folder: Path, finished_run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x010E] = exif[0x9286] = CANARY
    exif.get_ifd(0x8825)[1] = "N"
    pixels = np.asarray(Image.open(some_images(images_folder, 1)[0]))
    image = png(pixels, exif=exif.tobytes())
    assert CANARY.encode() in image
    told = [post(client, image, name=f"{CANARY}.png").text]
    told += [post(client, image[:-40], name=f"{CANARY}.png").text, post(client, b"x" + image, name=CANARY).text]
    told += [client.get(f"/{CANARY}").text, client.get(f"/?lang={CANARY}").text]
    told += [client.post("/", files={"files": (f"{CANARY}.png", image)}).text]
    told += [client.get(path).text for path in ("/metrics", "/v1/model", "/openapi.json", "/model", "/report")]
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    told += [client.post("/v1/predict", content=f"--x\r\n{CANARY}".encode(), headers=broken).text]
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    for text in told:
        assert CANARY not in text
        assert str(finished_run.folder.parent) not in text
        assert str(Path.home()) not in text or str(Path.home()) == "/"


def test_nothing_is_written_and_nothing_is_fetched(
    client: httpx.Client, images_folder: Path, watched_events: list[tuple[str, str]]
) -> None:
    images = [image.read_bytes() for image in some_images(images_folder, 5)]
    big = png(np.random.default_rng(0).integers(0, 256, (1500, 1500)))  # more than a form is usually kept of in memory
    assert client.get("/health").status_code == 200  # the connection is open
    watched_events.clear()
    assert post(client, *images, big).status_code == 200
    assert client.post("/", files=[("files", ("a.png", image)) for image in (*images, big)]).status_code == 200
    for path in ("/report.html", "/model", "/metrics"):
        assert client.get(path).status_code == 200
    assert watched_events == []


def test_the_watch_sees_what_is_written(tmp_path: Path, watched_events: list[tuple[str, str]]) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    (tmp_path / "b").mkdir()
    with socket.socket() as out, contextlib.suppress(OSError):
        out.connect(("127.0.0.1", 9))
    assert {"open", "os.mkdir", "socket.connect"} <= {event for event, _ in watched_events}
    assert len(watched_events) >= 4


def test_the_model_says_what_it_is(client: httpx.Client, own_model: TrainedContender) -> None:
    said = client.get("/v1/model").json()
    assert said["classes"] == list(own_model.classes)
    assert HOSTILE in said["classes"]
    assert said["preprocessing"]["size_px"] == 16
    assert said["figures"]["accuracy"]["value"] >= 0
    assert (said["gate"], said["explains"], said["leaky"]) == (True, True, False)
    assert said["training_images"]["of"] > 50


def test_health_and_metrics(client: httpx.Client, images_folder: Path) -> None:
    def counted(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    assert client.get("/health").json() == {"status": "running"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    before = counted("clearmargin_images_total")
    post(client, *(image.read_bytes() for image in some_images(images_folder, 3)))
    assert counted("clearmargin_images_total") == before + 3
    assert counted("clearmargin_waiting_images") == 0
    assert counted("clearmargin_held_bytes") == 0
    assert counted('clearmargin_requests_total{route="/health",method="GET",status="200"}') >= 1
    client.get("/some/path/with/a/name")
    assert "some/path" not in client.get("/metrics").text


def test_a_failure_of_ours_is_a_problem_without_its_words(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(_images: object) -> None:
        raise ArithmeticError(CANARY)

    with running(served_model) as (address, _, _), httpx.Client(base_url=address, trust_env=False) as client:
        monkeypatch.setattr(served_model, "answers", fails)
        response = post(client, png(np.zeros((20, 20))))
        assert response.status_code == 500
        assert CANARY not in problem_of(response)["detail"]
        assert client.get("/health").status_code == 200
    captured = capfd.readouterr()
    assert CANARY not in captured.err + captured.out
    assert "ArithmeticError in fails" in captured.err


def test_the_document_describes_what_there_is(client: httpx.Client) -> None:
    said = client.get("/openapi.json").json()
    assert sorted(said["paths"]) == ["/health", "/metrics", "/ready", "/v1/model", "/v1/predict"]
    refusals = said["paths"]["/v1/predict"]["post"]["responses"]
    assert {"200", "400", "401", "403", "408", "413", "415", "421", "422", "429", "503"} <= set(refusals)
    assert all(MEDIA_TYPE in refusals[status]["content"] for status in refusals if status != "200")
    assert "http" not in json.dumps(said).replace("http.", "")
