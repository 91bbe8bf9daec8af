"""Tiny images decoded in processes are what they are when decoded here."""

import dataclasses
import io
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from clearmargin import chunk_processes, pixel_decoding
from clearmargin.chunk_decoding import DecodedChunk, decode_chunk
from clearmargin.chunk_processes import ChunkProcesses
from clearmargin.errors import ImageError
from clearmargin.pixel_decoding import decode_into
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source

HOW = Preprocessing(32)
GENERATOR = np.random.default_rng(0)


def image_file(kind: str, shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(GENERATOR.integers(0, 256, shape).astype(np.uint8)).save(content, kind)
    return content.getvalue()


@pytest.fixture(scope="module")
def chunk():
    """Files and arrays, damaged ones, and two that could not be read."""
    return [
        *((f"a{place}.jpg", image_file("JPEG", (32, 32, 3))) for place in range(20)),
        ("grey.png", image_file("PNG", (20, 28))),
        ("array", GENERATOR.integers(0, 256, (32, 32, 3)).astype(np.uint8)),
        ("large.png", image_file("PNG", (100, 90, 3))),
        ("damaged.jpg", image_file("JPEG", (32, 32, 3))[:300]),
        ("gone.png", ImageError("it is gone")),
        ("hesitating.png", ImageError("the disk hesitates", transient=True)),
    ]


@pytest.fixture
def processes():
    made = ChunkProcesses(2)
    yield made
    made.close()


def require_same(found: DecodedChunk, expected: DecodedChunk) -> None:
    for field in dataclasses.fields(DecodedChunk):
        assert np.array_equal(getattr(found, field.name), getattr(expected, field.name)), field.name


def never(*_):
    raise AssertionError("decoded in the program itself")


def test_a_process_gives_what_is_decoded_here(chunk, processes, monkeypatch):
    expected = decode_chunk(chunk, HOW)
    assert set(expected.unreadable) == {"damaged.jpg", "gone.png", "hesitating.png"}
    assert expected.missed == {"hesitating.png"}
    monkeypatch.setattr(chunk_processes, "decode_chunk", never)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: processes.decode(chunk, HOW), range(9)):
            require_same(found, expected)
    nothing = processes.decode(chunk[-3:], HOW)
    assert (nothing.names, nothing.facts, len(nothing.pixels)) == ([], {}, 0)


def test_processes_that_die_are_done_without(chunk, processes):
    expected = decode_chunk(chunk, HOW)
    require_same(processes.decode(chunk, HOW), expected)
    for process in processes._started:
        process.kill()
        process.wait()
    for _ in range(5):
        require_same(processes.decode(chunk, HOW), expected)


def test_where_none_can_be_started_there_is_none(chunk, monkeypatch):
    monkeypatch.setattr(chunk_processes.sys, "executable", "/nowhere/python")
    made = ChunkProcesses(2)
    assert made._started == []
    require_same(made.decode(chunk, HOW), decode_chunk(chunk, HOW))
    made.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_closing_ends_them_whatever_they_do(processes):
    os.kill(processes._started[0].pid, signal.SIGSTOP)
    processes.close()
    assert all(process.poll() is not None for process in processes._started)


def test_a_store_of_many_tiny_images_is_the_same(tmp_path, monkeypatch):
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for place in range(300):
            (tmp_path / "data" / label / f"{place}.jpg").write_bytes(image_file("JPEG", (32, 32, 3)))
    (tmp_path / "data" / "dog" / "damaged.jpg").write_bytes(b"\xff\xd8 not whole")
    source = open_source(tmp_path / "data")
    folders = [tmp_path / "here", tmp_path / "elsewhere"]
    for folder in folders:
        folder.mkdir()
    decode_into(folders[0], source, HOW, None)

    monkeypatch.setattr(pixel_decoding, "_WORTH_PROCESSES", 100)
    monkeypatch.setattr(pixel_decoding, "available_cores", lambda: 2)
    monkeypatch.setattr(pixel_decoding, "decode_chunk", never)
    monkeypatch.setattr(chunk_processes, "decode_chunk", never)
    seen = []
    decode_into(folders[1], source, HOW, lambda done, found: seen.append((done, found)))
    assert seen[-1] == (601, 601)
    for file in folders[0].iterdir():
        assert file.read_bytes() == (folders[1] / file.name).read_bytes()
