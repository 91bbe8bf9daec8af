"""Slow clients, endless bodies, floods: they are cut or refused, and the server answers others meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serving.conftest import png, running

from clearmargin.serving.limits import Limits
from clearmargin.serving.model import ServedModel

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the other side ends."""
    pieces = []
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


def test_a_head_that_does_not_come_is_not_waited_for(served_model: ServedModel) -> None:
    with running(served_model, head_seconds=0.4) as (address, _, _), connect(address) as connection:
        began = time.monotonic()
        with suppress(ConnectionError):
            for letter in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 100:
                connection.sendall(bytes([letter]))
                time.sleep(0.02)
        assert read_all(connection) == b""
        assert time.monotonic() - began < 5


def test_the_next_head_of_a_connection_is_not_waited_for_either(served_model: ServedModel) -> None:
    with running(served_model, head_seconds=0.4) as (address, _, _), connect(address) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while not said.endswith(b"}"):
            said += connection.recv(65536)
        assert status_of(said) == 200
        with suppress(ConnectionError):
            for letter in b"GET /health HTTP/1.1\r\n" * 5:
                connection.sendall(bytes([letter]))
                time.sleep(0.02)
        assert read_all(connection) == b""


def test_an_answer_is_not_held_back_to_fill_a_packet(served_model: ServedModel) -> None:
    with running(served_model) as (address, server, _), connect(address) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(connection.recv(65536)) == 200
        (one,) = server.server_state.connections
        accepted = one.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_body_in_crumbs_is_cut_and_holds_up_nobody(served_model: ServedModel) -> None:
    crumbs = b"1\r\nx\r\n" * 200_000
    with running(served_model) as (address, _, service), connect(address) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sending = threading.Thread(target=lambda: suppressed(connection, crumbs))
        began = time.monotonic()
        sending.start()
        assert httpx.get(f"{address}/health", trust_env=False).status_code == 200
        assert time.monotonic() - began < 0.5
        answer = read_all(connection)
        sending.join()
        assert answer == b"" or status_of(answer) == 400
        deadline = time.monotonic() + 5
        while service.reading and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (service.reading, service.held.bytes) == (0, 0)


def test_a_body_in_crumbs_is_told_so(served_model: ServedModel) -> None:
    with running(served_model) as (address, _, _), connect(address) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 300)
        answer = read_all(connection)
    assert status_of(answer) == 400
    assert "tiny pieces" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]


def suppressed(connection: socket.socket, content: bytes) -> None:
    with suppress(OSError):
        connection.sendall(content)


def test_chunks_of_a_sensible_size_are_taken(served_model: ServedModel, images_folder: Path) -> None:
    image = sorted(images_folder.rglob("*.png"))[0].read_bytes()
    pieces = [image[start : start + 8] for start in range(0, len(image), 8)]
    with running(served_model) as (address, _, _):
        response = httpx.post(
            f"{address}/v1/predict", content=iter(pieces), headers={"Content-Type": "image/png"}, trust_env=False
        )
    assert response.status_code == 200


@pytest.mark.parametrize("limits", [{"silence_seconds": 0.3}, {"body_seconds": 0.5}], ids=["silence", "in all"])
def test_a_body_that_dribbles_is_refused(served_model: ServedModel, limits: dict[str, float]) -> None:
    pause = 0.5 if "silence_seconds" in limits else 0.05
    with running(served_model, **limits) as (address, _, service), connect(address) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(30):
                connection.sendall(b"x")
                time.sleep(pause)
                connection.settimeout(0.01)
                with suppress(TimeoutError):
                    if said := connection.recv(65536):
                        break
        assert status_of(said) == 408
        assert json.loads(said.partition(b"\r\n\r\n")[2])["type"].endswith("too-slow")
        connection.settimeout(5)
        assert read_all(connection) == b""
        assert (service.reading, service.held.bytes) == (0, 0)


@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_too_long_a_body_is_refused_before_it_is_read(served_model: ServedModel, length: str) -> None:
    limits = {"request_bytes": 100_000, "linger_seconds": 0.5}
    with running(served_model, **limits) as (address, _, service), connect(address) as connection:
        declared = b"Content-Length: 100001\r\n\r\n" if length == "declared" else b"Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(HEAD + declared)
        sent = 0
        connection.settimeout(0.005)
        said = b""
        while not said and sent < 50_000_000:
            if length == "chunked":
                connection.sendall(b"2000\r\n" + bytes(0x2000) + b"\r\n")
                sent += 0x2000
            with suppress(TimeoutError):
                said = connection.recv(65536)
        assert status_of(said) == 413
        assert sent < 5_000_000
        began, cut = time.monotonic(), False
        while not cut and time.monotonic() - began < 10:  # an endless rest is not listened to for ever
            try:
                connection.sendall(b"2000\r\n" + bytes(0x2000) + b"\r\n")
            except TimeoutError:
                pass
            except ConnectionError:
                cut = True
        assert cut
        assert service.held.bytes == 0


def test_a_client_that_takes_nothing_is_cut(served_model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(served_model, send_seconds=0.3) as (address, server, _), connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(200):
            with suppress(ConnectionError, TimeoutError):
                connection.settimeout(0.2)
                connection.sendall(b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + 10
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server_state.connections


@pytest.mark.parametrize("said", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n", b"HELO\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
    b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
])  # fmt: skip
def test_what_is_no_http_is_said_to_be_none(served_model: ServedModel, said: bytes) -> None:
    with running(served_model, head_seconds=1.0) as (address, _, _), connect(address) as connection:
        with suppress(ConnectionError):
            connection.sendall(said)
        answer = read_all(connection)
        assert answer == b"" or 400 <= status_of(answer) < 500
        assert httpx.get(f"{address}/health", trust_env=False).status_code == 200


def test_when_there_are_too_many_the_one_that_waits_longest_goes(served_model: ServedModel) -> None:
    with running(served_model, connections=20) as (address, _, _):
        silent = [connect(address) for _ in range(40)]
        assert httpx.get(f"{address}/health", trust_env=False).status_code == 200
        assert read_all(silent[0]) == b""
        for connection in silent:
            connection.close()


def test_health_answers_while_two_hundred_dribble(served_model: ServedModel) -> None:
    with running(served_model) as (address, _, _):
        dribbling = [connect(address) for _ in range(200)]
        for number, connection in enumerate(dribbling):
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\nx" if number % 2 else b"GET /health HT")
        ending = threading.Event()

        def dribble() -> None:
            while not ending.wait(0.05):
                for connection in dribbling:
                    with suppress(OSError):
                        connection.sendall(b"x")

        thread = threading.Thread(target=dribble)
        thread.start()
        seconds = []
        image = png(np.zeros((20, 20)))
        with httpx.Client(base_url=address, trust_env=False) as client:
            for _ in range(100):
                began = time.monotonic()
                assert client.get("/health").status_code == 200
                seconds.append(time.monotonic() - began)
            files = {"files": ("a.png", image)}
            assert client.post("/v1/predict", files=files).status_code == 200
        ending.set()
        thread.join()
        for connection in dribbling:
            connection.close()
    assert sorted(seconds)[90] < 0.5  # the benchmark asks for the 99th percentile, on a machine that is idle


def many(address: str) -> dict[str, Any]:
    """For a client that asks from several threads."""
    return {"base_url": address, "trust_env": False, "timeout": 30, "limits": httpx.Limits(max_connections=None)}


def slow_answers(model: ServedModel, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    answers = model.answers

    def slowly(images: Any) -> Any:
        time.sleep(seconds)
        return answers(images)

    monkeypatch.setattr(model, "answers", slowly)


def test_overload_is_said_and_no_accepted_request_is_lost(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_answers(served_model, monkeypatch, 0.05)
    files = {"files": ("a.png", png(np.zeros((20, 20))))}
    with running(served_model, waiting=8, batch=4) as (address, _, service), httpx.Client(**many(address)) as client:
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda _: client.post("/v1/predict", files=files), range(160)))
        assert service.accepted == 0
    statuses = [response.status_code for response in found]
    assert set(statuses) == {200, 429}
    assert all(int(one.headers["retry-after"]) >= 1 for one in found if one.status_code == 429)
    accepted = next(line for line in service.metrics.text().splitlines() if line.startswith("clearmargin_images_total"))
    assert float(accepted.split()[1]) == statuses.count(200)


def test_what_could_not_be_answered_in_time_is_refused_at_once(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_answers(served_model, monkeypatch, 0.05)
    files = {"files": ("a.png", png(np.zeros((20, 20))))}
    limits = {"seconds": 1.5, "batch": 1}
    with running(served_model, **limits) as (address, _, service), httpx.Client(**many(address)) as client:
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda _: client.post("/v1/predict", files=files), range(80)))
        several = client.post("/v1/predict", files=[("files", files["files"])] * 60)
        assert service.accepted == 0
    statuses = [response.status_code for response in found]
    assert set(statuses) == {200, 429}
    waits = {int(response.headers["retry-after"]) for response in found if response.status_code == 429}
    assert waits <= {1, 2}
    assert several.status_code == 413
    assert "send fewer at once" in several.json()["detail"]


def test_after_one_slow_batch_several_images_are_taken_again(served_model: ServedModel) -> None:
    files = [("files", png(np.zeros((20, 20))))] * 5
    with running(served_model) as (address, _, service), httpx.Client(**many(address)) as client:
        service.worker.pace.add(1000.0)  # the machine slept
        slow = service.worker.pace.seconds
        service.accepted += 1  # somebody else's
        busy = client.post("/v1/predict", files=files)
        service.accepted -= 1
        assert (busy.status_code, int(busy.headers["retry-after"]) >= 1) == (429, True)
        assert client.post("/v1/predict", files=files).status_code == 200
        assert service.worker.pace.seconds < slow


def test_what_takes_long_to_decode_does_not_hold_up_the_rest(
    served_model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = png(np.random.default_rng(0).integers(0, 256, (2100, 300)))
    prepare, going_on = served_model.prepare, threading.Event()

    def slowly(content: bytes, limits: Limits) -> np.ndarray:
        if len(content) == len(large):
            going_on.wait(20)
        return prepare(content, limits)

    monkeypatch.setattr(served_model, "prepare", slowly)
    with (
        running(served_model) as (address, _, service),
        httpx.Client(**many(address)) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        held_up = [pool.submit(client.post, "/v1/predict", files={"files": large}) for _ in range(4)]
        deadline = time.monotonic() + 5
        while service.accepted < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.post("/v1/predict", files={"files": png(np.zeros((20, 20)))}).status_code == 200
        going_on.set()
        assert [one.result().status_code for one in held_up] == [200] * 4


def test_once_it_is_to_end_nothing_more_is_accepted(served_model: ServedModel) -> None:
    image = png(np.zeros((20, 20)))
    with running(served_model) as (address, _, service), connect(address) as connection:
        connection.sendall(HEAD + f"Content-Length: {len(image)}\r\n\r\n".encode() + image[:10])
        deadline = time.monotonic() + 5
        while not service.reading and time.monotonic() < deadline:
            time.sleep(0.01)
        service.ending = True
        connection.sendall(image[10:])
        assert status_of(connection.recv(65536)) == 503
        response = httpx.post(f"{address}/v1/predict", files={"files": image}, trust_env=False)
        assert (response.status_code, response.json()["type"]) == (503, "urn:clearmargin:problem:not-ready")


def test_memory_for_bodies_is_bounded(served_model: ServedModel) -> None:
    with running(served_model, held_bytes=300_000) as (address, _, service):
        first = connect(address)
        first.sendall(HEAD + b"Content-Length: 250000\r\n\r\n" + bytes(200_000))
        deadline = time.monotonic() + 5
        while service.held.bytes < 200_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        response = httpx.post(f"{address}/v1/predict", content=bytes(150_000), headers={"Content-Type": "image/png"})
        assert response.status_code == 429
        first.close()
        while service.held.bytes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert service.held.bytes == 0


def test_a_request_that_takes_too_long_is_told(served_model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_answers(served_model, monkeypatch, 0.3)
    with running(served_model, seconds=0.1) as (address, _, service):
        files = {"files": ("a.png", png(np.zeros((20, 20))))}
        response = httpx.post(f"{address}/v1/predict", files=files, trust_env=False, timeout=30)
        assert (response.status_code, response.json()["type"]) == (503, "urn:clearmargin:problem:deadline")
        assert service.accepted == 0


def test_the_end_answers_what_was_accepted(served_model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_answers(served_model, monkeypatch, 0.2)
    files = {"files": ("a.png", png(np.zeros((20, 20))))}
    with (
        running(served_model, batch=2) as (address, server, service),
        httpx.Client(**many(address)) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = [pool.submit(client.post, "/v1/predict", files=files) for _ in range(8)]
        deadline = time.monotonic() + 5
        while service.accepted < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.should_exit = True
        assert [one.result().status_code for one in asked] == [200] * 8
        with pytest.raises(httpx.TransportError):
            client.get("/health")
