"""The command: what it refuses before it listens, and a whole life from start to SIGTERM."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from tests.serving.conftest import TOKEN

from clearmargin import serve_command
from clearmargin.cores import SPINS
from clearmargin.errors import UsageError, WeightsError
from clearmargin.records import Columns
from clearmargin.runs import Run, open_run
from clearmargin.serving import listening, server
from clearmargin.serving.model import ServedModel
from clearmargin.serving.service import Service

BOUND = listening.bound_socket
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_copy(finished_run: Run, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return shutil.copytree(finished_run.folder, tmp_path / "run")


def test_beyond_this_machine_it_does_not_start_without_a_token(
    clearmargin: Command, finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLEARMARGIN_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        status, said, error = clearmargin("serve", finished_run.folder, "--host", host, "--port", 0)
        assert (status, said) == (2, "")
        assert "--token-file" in error
    (tmp_path / "token").write_text("short")
    words = ("serve", finished_run.folder, "--host", "0.0.0.0", "--token-file", tmp_path / "token")
    status, _, error = clearmargin(*words)
    assert (status, "16 to 1,024" in error) == (2, True)


def test_without_the_extra_it_says_what_to_install(
    clearmargin: Command, finished_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_command, "find_spec", lambda name: None)
    status, _, error = clearmargin("serve", finished_run.folder)
    assert (status, 'pip install "clearmargin[serve]"' in error) == (2, True)


@pytest.mark.parametrize("words", [["serve"], ["predict"]])
def test_threads_that_wait_give_their_core_away(
    clearmargin: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    for policy, expected in ((None, SPINS), ("active", None)):
        monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is as it was afterwards
        monkeypatch.delenv("GOMP_SPINCOUNT")
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if policy is not None:
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        assert clearmargin(*words, tmp_path, *(["image.png"] if words == ["predict"] else []))[0] == 2
        assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_a_port_that_another_took_since_it_was_bound_is_named(service: Service) -> None:
    with listening.bound_socket("127.0.0.1", 0) as first, ThreadPoolExecutor(1) as pool:
        port = first.getsockname()[1]
        with listening.bound_socket("127.0.0.1", port) as second:  # nobody listens yet
            first.listen()
            with pytest.raises(UsageError, match=rf"Port {port} of 127\.0\.0\.1 can't be had .*: choose another"):
                pool.submit(server.run_server, service, second, lambda: None).result()


def test_a_port_that_is_taken_is_named(clearmargin: Command, finished_run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, error = clearmargin("serve", finished_run.folder, "--port", port)
    assert (status, f"Port {port} of 127.0.0.1 can't be had" in error) == (2, True)


def test_what_is_no_run_is_refused(clearmargin: Command, tmp_path: Path, finished_run: Run) -> None:
    assert clearmargin("serve", tmp_path)[0] == 2
    assert clearmargin("serve", finished_run.folder, "--contender", "none such", "--port", 0)[0] == 2


def test_a_model_of_a_table_is_not_served() -> None:
    contender = SimpleNamespace(name="1-D CNN", preprocessing=Columns(("rooms",)), classes=())
    with pytest.raises(UsageError, match="'1-D CNN' takes rows of a table"):
        ServedModel(SimpleNamespace(contender=lambda name: contender))


@pytest.mark.parametrize("change", ["classes", "size_px", "mean"])
def test_a_changed_model_is_not_served(run_copy: Path, change: str) -> None:
    path = run_copy / "contenders" / "two-layers" / "model.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    if change == "classes":
        said["classes"] = said["classes"][::-1]
    elif change == "size_px":
        said["preprocessing"]["size_px"] = 32  # the network would take it
    else:
        said["preprocessing"]["mean"] = [0.1]
    path.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(Exception, match=r"changed|decision|not the one"):
        ServedModel(open_run(run_copy), "two layers")


def test_changed_weights_are_not_served(clearmargin: Command, run_copy: Path) -> None:
    path = run_copy / "contenders" / "two-layers" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="not those this run was finished with"):
        ServedModel(open_run(run_copy), "two layers").warm_up()
    status, said, error = clearmargin("serve", run_copy, "--contender", "two layers", "--port", 0)
    assert (status, said) == (2, "")
    assert "not those this run was finished with" in error


@pytest.fixture
def process(finished_run: Run, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, with a token, and where it listens."""
    (tmp_path / "token").write_text(TOKEN)
    words = ["serve", str(finished_run.folder), "--port", "0", "--token-file", str(tmp_path / "token")]
    started = subprocess.Popen(
        [sys.executable, "-m", "clearmargin", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    line = started.stdout.readline() if started.stdout else ""
    try:
        yield started, line.rpartition(" on ")[2].strip().rstrip("/")
    finally:
        started.kill()
        started.wait()
        for stream in (started.stdout, started.stderr):
            if stream:
                stream.close()


def test_it_serves_and_answers_what_is_under_way_when_it_is_told_to_end(
    process: tuple[subprocess.Popen[str], str], images_folder: Path
) -> None:
    started, address = process
    images = [image.read_bytes() for image in sorted(images_folder.rglob("*.png"))[:40]]
    asking, counted = threading.Event(), []
    with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
        assert client.get("/health").status_code == 401
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert client.get("/ready").status_code == 200

    def ask() -> list[int | str]:
        """Statuses of requests one after the other, until the server is gone."""
        found: list[int | str] = []
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=address, trust_env=False, timeout=30, headers=headers) as client:
            while True:
                try:
                    response = client.post("/v1/predict", files=[("files", ("a", image)) for image in images])
                except httpx.ConnectError:
                    return found  # nobody listens any more
                except httpx.TransportError as error:
                    return [*found, type(error).__name__]
                said = response.json()
                found.append(response.status_code)
                if response.status_code == 200:
                    counted.append(sum("predicted" in one for one in said["predictions"]))
                asking.set()
                if response.status_code == 503:
                    return found

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask) for _ in range(6)]
        assert asking.wait(30)
        time.sleep(0.3)
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0
        statuses = [status for one in asked for status in one.result()]
    # Who was about to ask on a connection that was just closed was not accepted, and gets no answer.
    assert set(statuses) <= {200, 429, 503, "ReadError", "RemoteProtocolError", "WriteError"}
    assert sum(isinstance(status, str) for status in statuses) <= 3  # of six that were asking
    assert statuses.count(200) >= 2
    assert set(counted) == {40}
    said = started.stderr.read() if started.stderr else ""
    assert "Research use only" in said
    assert not [word for word in ("000.png", "127.0.0.1", "Traceback", "failed") if word in said]


@pytest.mark.parametrize(("host", "names", "address", "elsewhere"), [
    ("127.0.0.1", [], "http://127.0.0.1:", ""),
    ("localhost", [], "http://localhost:", ""),
    ("0.0.0.0", [], "http://127.0.0.1:", "by an address of this machine, on port "),
    ("::", ["model.example.org"], "http://[::1]:", r"on port \d+, or as model\.example\.org"),
    ("127.0.0.1", ["model.example.org"], "http://127.0.0.1:", "it as model.example.org"),
    ("192.0.2.1", [], "http://192.0.2.1:", "it on http://192.0.2.1:"),
])  # fmt: skip
def test_it_announces_addresses_that_answer(
    clearmargin: Command,
    finished_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    names: list[str],
    address: str,
    elsewhere: str,
) -> None:
    def announce_alone(service: Service, _listening: socket.socket, announce: Callable[[], None]) -> None:
        announce()
        service.stop()

    monkeypatch.setattr(listening, "bound_socket", lambda _host, port: BOUND("127.0.0.1", port))
    monkeypatch.setattr(server, "run_server", announce_alone)
    (tmp_path / "token").write_text(TOKEN)
    words = [word for name in names for word in ("--allow-host", name)]
    status, said, error = clearmargin(
        "serve", finished_run.folder, "--port", 0, "--host", host, "--token-file", tmp_path / "token", *words
    )
    assert status == 0
    assert re.fullmatch(rf"Serving '[\w ]+' on {re.escape(address)}\d+/\n", said)
    assert ("Other machines reach it" in error) == bool(elsewhere)
    assert re.search(elsewhere, error)
