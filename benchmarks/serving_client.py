"""What the benchmark of the server asks with: open connections, ready-made requests, a server as its own process."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import numpy as np
from PIL import Image

_OPENER = build_opener(ProxyHandler({}))


@dataclass
class Asked:
    """Answers of some requests: by number of the image its probabilities, seconds each took, and statuses."""

    answers: list[tuple[int, list[float]]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0


@contextmanager
def served(run: Path, contender: str, *words: str, wait: bool = True) -> Iterator[tuple[int, int]]:
    """``clearmargin serve`` as a process: its port and process id; with ``wait``, once it has prepared all it can."""
    command = [sys.executable, "-m", "clearmargin", "serve", str(run), "--contender", contender, "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SystemExit("The server did not start.")
        port = int(line.rstrip().rstrip("/").rpartition(":")[2])
        while wait and _prepares(port):
            time.sleep(0.5)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout:
            process.stdout.close()


def _prepares(port: int) -> bool:
    """Whether training images are still to be looked at; before they are opened, or where there are none, for 5 s."""
    for _ in range(10):
        near = get_json(port, "/v1/model")["training_images"]
        if near is not None:
            return near["compared"] < near["of"]
        time.sleep(0.5)
    return False


def get_json(port: int, path: str) -> dict:
    """What a route says, as soon as the server answers at all."""
    for _ in range(300):
        with suppress(OSError), _OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return json.load(response)
        time.sleep(0.1)
    raise SystemExit("The server does not answer.")


def request_of(content: bytes) -> bytes:
    """A request with one image as its body."""
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(content)}\r\n"
    )
    return head.encode() + b"\r\n" + content


HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Status and body of one answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head[9:12]), await reader.readexactly(int(length.split(b":")[1]))


async def ask(port: int, requests: Sequence[bytes], order: Sequence[int], concurrency: int, until: float) -> Asked:
    """Ask from so many connections at once, each as soon as it has its answer.

    Parameters
    ----------
    order
        Which image comes when.
    until
        As `time.perf_counter` counts: no more are asked from then on.
    """
    found, waiting = Asked(), iter(order)

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in waiting:
            if time.perf_counter() > until:
                break
            began = time.perf_counter()
            try:
                status, body = await exchange(reader, writer, requests[number])
            except (OSError, asyncio.IncompleteReadError):
                found.lost += 1
                break
            found.seconds.append(time.perf_counter() - began)
            found.statuses[status] = found.statuses.get(status, 0) + 1
            if status == 200:
                probabilities = json.loads(body)["predictions"][0]["probabilities"]
                found.answers.append((number, list(probabilities.values())))
            elif status == 429:
                await asyncio.sleep(0.05)
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(concurrency)))
    return found


async def health_seconds(port: int, seconds: float) -> list[float]:
    """How long ``/health`` takes, asked 50 times a second, each time on a new connection."""
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        status, _ = await exchange(reader, writer, HEALTH)
        taken.append(time.perf_counter() - began)
        writer.close()
        if status != 200:
            raise SystemExit(f"/health answered {status}.")
        await asyncio.sleep(0.02)
    return taken


def dribble(port: int, many: int, ending: list[bool]) -> None:
    """So many connections that send a byte every now and then: half in the head of a request, half in its body."""
    open_ones = [socket.create_connection(("127.0.0.1", port)) for _ in range(many)]
    for number, one in enumerate(open_ones):
        one.sendall(HEALTH[:20] if number % 2 else request_of(bytes(1_000_000))[:200])
    while not ending:
        time.sleep(0.2)
        for one in open_ones:
            with suppress(OSError):
                one.sendall(b"x")
    for one in open_ones:
        one.close()


def endless(port: int, ending: list[bool]) -> None:
    """One body after the other in chunks without an end."""
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    while not ending:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.sendall(head)
            while not ending:
                one.sendall(piece)


def crumbs(port: int, ending: list[bool]) -> None:
    """One body after the other, each in chunks of one byte, as fast as they are taken."""
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"1\r\nx\r\n" * 40_000
    while not ending:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.sendall(head)
            while not ending:
                one.sendall(piece)


def resident_bytes(process: int) -> int:
    """Memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def png(pixels: np.ndarray) -> bytes:
    """Pixels (height, width, channels) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
