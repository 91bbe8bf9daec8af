"""One tiny run that all these tests serve, in this process and on real sockets."""

from __future__ import annotations

import asyncio
import io
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
from PIL import Image

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")

import clearmargin as cm  # noqa: E402
from clearmargin.runs import Run, open_run  # noqa: E402
from clearmargin.serving.access import Access  # noqa: E402
from clearmargin.serving.app import Gate, build_app  # noqa: E402
from clearmargin.serving.limits import Limits  # noqa: E402
from clearmargin.serving.model import ServedModel  # noqa: E402
from clearmargin.serving.server import Server, bound_socket  # noqa: E402
from clearmargin.serving.service import Service  # noqa: E402

HOSTILE = "<img src=x onerror=alert(1)>"
TOKEN = "correct-horse-battery-staple"


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns, run in a thread of its own: the browser of other tests keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def images_folder(draw_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, two of them with names that must be shown and not obeyed."""
    return draw_images(tmp_path_factory.mktemp("served"), {"alpha": 40, HOSTILE: 30, "=1+1": 30})


@pytest.fixture(scope="session")
def finished_run(images_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on them."""
    from clearmargin.report import drawing

    blank = drawing.Drawing('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"/>')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "_drawn", lambda sheet: blank)
        patch.setattr(drawing.Drawing, "pdf", lambda self: b"%PDF-1.4\n%%EOF\n")
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        folder = tmp_path_factory.mktemp("runs") / "served"
        cm.run(tiny_recipe, data=images_folder, out=folder)
        return open_run(folder)


@pytest.fixture(scope="session")
def served_model(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """Its better model. Only one service at a time may compute with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return ServedModel(finished_run, "two layers")


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
def running(model: Any, access: Access | None = None, **limits: Any) -> Iterator[tuple[str, Server, Service]]:
    """A server on a free port of this machine: its address, itself, and its service."""
    service = Service(model, access or Access(), replace(Limits(), **limits))
    service.start()
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

    def prepare_more(self) -> bool:
        """Nothing."""
        return False


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
