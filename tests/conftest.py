"""Small data every test can make, and a cache that is thrown away."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: threads of theirs would wait for each other
    for _library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when numpy and torch are imported

import numpy as np
import pytest
from PIL import Image


def pytest_collection_finish() -> None:
    """Look for garbage more rarely, and not among what was imported: an eighth of the time of the suite."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY_RECIPE = """
name = "Tiny"
[data]
size_px = 16
color = "gray"
[audit]
label_suspects = false
[[contender]]
name = "one layer"
layers = [{ conv = 4, kernel = 3, activation = "relu" }, { pool = "max" }]
[[contender]]
name = "two layers"
layers = [{ conv = 4, kernel = 3, batch_norm = true, activation = "relu" }, { pool = "max" }, { dropout = 0.2 },
          { conv = 8, kernel = 3, activation = "relu" }, { pool = "global_average" }]
[training]
epochs = 3
batch_size = 16
learning_rate = 1e-2
[training.augmentation]
flip_horizontal = true
[evaluation]
resamples = 200
"""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that wants it skips where it is not."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real data sets are not on this machine (../shared/data)")
    return SHARED / "data"


@pytest.fixture
def clearmargin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: its words to its exit status, stdout and stderr."""
    from clearmargin.cli import main

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clearmargin", *map(str, words)])
        with pytest.raises(SystemExit) as leaving:
            main()
        captured = capsys.readouterr()
        return int(leaving.value.code or 0), captured.out, captured.err

    return command


def _draw_images(folder: Path, classes: dict[str, int], seed: int = 0) -> Path:
    """Class folders of 20x24 grey PNGs; the place of a bright square tells the class, with noise."""
    random = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in range(count):
            pixels = random.integers(0, 90, (20, 24))
            corner = 3 + 5 * number
            pixels[corner : corner + 5, corner : corner + 5] += random.integers(60, 160)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{image:03d}.png")
    return folder


@pytest.fixture(scope="session")
def draw_images() -> Callable[..., Path]:
    """The function that draws class folders: (folder, {class: images}, seed) -> folder."""
    return _draw_images


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 40, 30 and 30 images, and one file that is not an image at all."""
    folder = _draw_images(tmp_path_factory.mktemp("images"), {"alpha": 40, "beta": 30, "gamma": 30})
    (folder / "beta" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two plain CNNs on 16 px that train in a second."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return path


BLANK_PDF = b"%PDF-1.4\n%%EOF\n"


@contextmanager
def _without_figures() -> Iterator[None]:
    """Blank sheets: figures take longer than all else in a small report."""
    from clearmargin.report import drawing

    blank = drawing.Drawing('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"/>')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "_drawn", lambda sheet: blank)
        patch.setattr(drawing.Drawing, "pdf", lambda self: BLANK_PDF)
        yield


@pytest.fixture(scope="module")
def without_figures() -> Iterator[None]:
    """For modules whose runs nobody looks at: commands and shipped recipes are tested with all their figures."""
    with _without_figures():
        yield


@pytest.fixture
def blank_figures() -> Iterator[None]:
    """For a test of what a page says; see the marker ``rendered``."""
    with _without_figures():
        yield


@pytest.fixture
def blank_pdf() -> Iterator[None]:
    """The figures of the page alone: to draw each a second time, as PDF, takes a quarter of a small report."""
    from clearmargin.report import drawing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing.Drawing, "pdf", lambda self: BLANK_PDF)
        yield


class Loopback:
    """A web server on this machine, and how it shall behave.

    Attributes
    ----------
    content, headers
        What it serves at any path but ``/missing``, ``/to?PLACE`` and ``/round``; what it adds to the answer.
    files
        What it serves instead, by name, when there are any.
    statuses
        What the next requests are answered with, before all goes well.
    knows_ranges, range_offset
        Whether it can continue; by how much it misses the place.
    length
        How it says where the file ends: ``declared``, ``chunked``, or ``untold``: by closing the connection.
    break_after, silent_after
        Bytes of an answer after which the connection ends, or nothing more comes.
    dribble_seconds, dribble_pieces
        Pause after each single byte; or a piece of 32 KiB every 30 ms.
    ranges, passwords, sent
        What it was asked for: the Range and Authorization header of each request; bytes sent in all.
    """

    def __init__(self) -> None:
        self.address = ""
        self.content, self.headers = b"", dict[str, str]()
        self.files = dict[str, bytes]()
        self.statuses: list[int] = []
        self.knows_ranges, self.range_offset, self.length = True, 0, "declared"
        self.break_after: int | None = None
        self.silent_after: int | None = None
        self.dribble_seconds, self.dribble_pieces = 0.0, False
        self.ranges: list[str | None] = []
        self.passwords: list[str | None] = []
        self.sent = 0


class _Answering(BaseHTTPRequestHandler):
    wanted: Loopback
    leaving: threading.Event
    protocol_version = "HTTP/1.1"  # else nothing may be chunked

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.close_connection = True
        wanted = self.wanted
        wanted.ranges.append(self.headers["Range"])
        wanted.passwords.append(self.headers["Authorization"])
        path, _, place = self.path.partition("?")
        if path in ("/to", "/round"):
            self.send_response(302)
            self.send_header("Location", unquote(place) or "/round")
            self.send_header("Content-Length", str(10**9))  # of a body that never comes, and that nobody needs
            self.end_headers()
            self.leaving.wait(5)
        elif wanted.statuses or path == "/missing" or (wanted.files and path[1:] not in wanted.files):
            self.send_error(wanted.statuses.pop(0) if wanted.statuses else 404)
        else:
            with suppress(ConnectionError):  # the other end may have had enough
                self._send_content(wanted, wanted.files.get(path[1:], wanted.content))

    def _send_content(self, wanted: Loopback, content: bytes) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if self.headers["Range"] else 0
        start = start if wanted.knows_ranges else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        first = start + wanted.range_offset if start else 0
        body = content[first:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if wanted.length == "declared":
            self.send_header("Content-Length", str(len(body)))
        if wanted.length == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        for name, value in wanted.headers.items():
            self.send_header(name, value)
        self.end_headers()
        step = 1 if wanted.dribble_seconds else 32 << 10
        stop = min(limit for limit in (wanted.break_after, wanted.silent_after, len(body)) if limit is not None)
        for place in range(0, stop, step):
            piece = body[place : min(place + step, stop)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if wanted.length == "chunked" else piece)
            wanted.sent += len(piece)
            if wanted.dribble_seconds or wanted.dribble_pieces:
                self.leaving.wait(wanted.dribble_seconds or 0.03)
        if wanted.length == "chunked" and stop == len(body):
            self.wfile.write(b"0\r\n\r\n")
        if wanted.silent_after is not None:
            self.leaving.wait(5)


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A web server on this machine for one test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    wanted, leaving = Loopback(), threading.Event()
    handler = type("Handler", (_Answering,), {"wanted": wanted, "leaving": leaving})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        wanted.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield wanted
        leaving.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Debian's chromium, one for all tests: playwright can be started only once in a process."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=CHROMIUM, args=FLAGS
        )
        yield context
        context.close()
