"""One tiny run that all these tests serve, in this process and on real sockets."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")

import clearmargin as cm  # noqa: E402
from clearmargin.runs import Run, open_run  # noqa: E402
from clearmargin.serving.access import Access  # noqa: E402
from clearmargin.serving.app import Gate, build_app  # noqa: E402
from clearmargin.serving.limits import Limits  # noqa: E402
from clearmargin.serving.listening import bound_socket  # noqa: E402
from clearmargin.serving.model import ServedModel  # noqa: E402
from clearmargin.serving.server import Server  # noqa: E402
from clearmargin.serving.service import Service  # noqa: E402
from clearmargin.trained import TrainedContender  # noqa: E402

HOSTILE = "<img src=x onerror=alert(1)>"
TOKEN = "correct-horse-battery-staple"


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns, run in a thread of its own: the browser of other tests keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of the tests, so that what takes its time is made once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "serving"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def run_folder(draw_images: Callable[..., Path], tiny_recipe: Path, shared_folder: Path) -> Path:
    """A finished run on three classes, two of them with names that must be shown and not obeyed."""
    from clearmargin.report import drawing

    blank = drawing.Drawing('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"/>')
    folder, finished = shared_folder / "run", shared_folder / "finished"
    with FileLock(str(shared_folder / "lock")), pytest.MonkeyPatch.context() as patch:
        if not finished.exists():
            images = draw_images(shared_folder / "images", {"alpha": 40, HOSTILE: 30, "=1+1": 30})
            patch.setattr(drawing, "_drawn", lambda sheet: blank)
            patch.setattr(drawing.Drawing, "pdf", lambda self: b"%PDF-1.4\n%%EOF\n")
            patch.setenv("CLEARMARGIN_CACHE", str(shared_folder / "cache"))
            cm.run(tiny_recipe, data=images, out=folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def images_folder(run_folder: Path) -> Path:
    """The images of that run."""
    return run_folder.with_name("images")


@pytest.fixture(scope="session")
def finished_run(run_folder: Path) -> Run:
    """That run, opened."""
    return open_run(run_folder)


@pytest.fixture(scope="session")
def own_model(run_folder: Path) -> TrainedContender:
    """Its better model, apart from the one that is served: what a thread of a server computes is not disturbed."""
    return open_run(run_folder).contender("two layers")


@pytest.fixture(scope="session")
def served_model(finished_run: Run, shared_folder: Path) -> ServedModel:
    """The same with all that makes it better done: several servers may compute with it, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(shared_folder / "cache"))
        model = ServedModel(finished_run, "two layers")
        model.warm_up()
        while model.prepare_more():
            pass
        return model


@pytest.fixture
def service(served_model: ServedModel) -> Iterator[Service]:
    """A service that computes, and no server before it."""
    service = Service(served_model, Access())
    service.start()
    yield service
    service.stop()


@pytest.fixture
def gate(service: Service) -> Gate:
    """The application."""
    return build_app(service)


@contextmanager
def running(
    model: Any, access: Access | None = None, show_names: bool = False, **limits: Any
) -> Iterator[tuple[str, Server, Service]]:
    """A server on a free port of this machine: its address, itself, and its service."""
    service = Service(model, access or Access(), replace(Limits(), **limits), show_names=show_names)
    service.start()
    service.worker.wait_until_warm()
    listening = bound_socket("127.0.0.1", 0)
    server = Server(service)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", server, service
    finally:
        server.should_exit = True
        thread.join(30)
        service.stop()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(served_model: ServedModel) -> Iterator[tuple[str, Server, Service]]:
    """A server with the limits as they are."""
    with running(served_model) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: tuple[str, Server, Service]) -> Iterator[httpx.Client]:
    """Asks that server."""
    with httpx.Client(base_url=server[0], trust_env=False, timeout=30) as client:
        yield client


class Echo:
    """A stand-in for a model: each image's answer is the number in its first two pixels, and batches are noted."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self.poison: int | None = None
        self.left_to_prepare: list[str] = []
        self.prepared: list[float] = []

    def warm_up(self) -> float:
        """Nothing."""
        return self.seconds or 1e-6

    def answers(self, images: Any) -> list[int]:
        """The numbers in the images."""
        self.batches.append(len(images))
        time.sleep(self.seconds)
        numbers = [numbered(image) for image in images]
        if self.poison in numbers:
            raise ArithmeticError("poison")
        return numbers

    def view(self, image: Any, answer: int) -> int:
        """The number, negative."""
        return -numbered(image)

    def prepare_more(self) -> Any:
        """Note when it was asked; say when it wants to be asked again, as long as there is something left."""
        self.prepared.append(time.monotonic())
        return self.left_to_prepare.pop(0) if self.left_to_prepare else None


def numbered(image: Any) -> int:
    """The number in an image that `number_image` made."""
    return int(image[0, 0, 0]) * 256 + int(image[0, 1, 0])


def number_image(number: int) -> np.ndarray:
    """An image that holds a number, uint8 (2, 2, 1)."""
    return np.array([[[number // 256], [number % 256]], [[0], [0]]], dtype=np.uint8)


def png(pixels: Any, **options: Any) -> bytes:
    """Pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, "PNG", **options)
    return buffer.getvalue()


_seen: list[tuple[str, str]] = []
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_TOLD = {"os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp", "tempfile.mkdtemp", "socket.connect"}


def _note(event: str, words: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(words[2], int) and words[2] & _WRITING and str(words[0]) != os.devnull:
        _seen.append((event, str(words[0])))
    elif event in _TOLD or event == "subprocess.Popen":
        _seen.append((event, str(words[:2])))


@pytest.fixture(scope="session")
def _watch() -> None:
    sys.addaudithook(_note)  # nothing takes it away again


@pytest.fixture
def watched_events(_watch: None) -> list[tuple[str, str]]:
    """What this process has written, connected to or started since the test began: (event, what)."""
    _seen.clear()
    return _seen
