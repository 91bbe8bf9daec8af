"""Tiny images decoded in processes are what they are when decoded here."""

import dataclasses
import io
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

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
        ("damaged.jpg", image_file("JPEG", (32, 32, 3))[:-100]),
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
        process.running.kill()
    for _ in range(5):
        require_same(processes.decode(chunk, HOW), expected)
    assert not processes.alive


def test_what_python_prints_at_its_start_is_no_answer(chunk, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('INFO connected to a cluster')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made, expected = ChunkProcesses(1), decode_chunk(chunk, HOW)
    monkeypatch.setattr(chunk_processes, "decode_chunk", never)
    require_same(made.decode(chunk, HOW), expected)
    made.close()


def test_it_sees_what_this_program_has_told_pillow(chunk, processes, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    expected = decode_chunk(chunk, HOW)
    assert "damaged.jpg" in expected.names
    require_same(processes.decode(chunk, HOW), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_one_that_takes_too_long_is_done_without(chunk, processes, monkeypatch):
    monkeypatch.setattr(chunk_processes, "_SECONDS", 1.0)
    for process in processes._started:
        os.kill(process.running.pid, signal.SIGSTOP)
    require_same(processes.decode(chunk, HOW), decode_chunk(chunk, HOW))


def test_what_can_not_be_sent_is_decoded_here(chunk, processes, caplog):
    odd = [*chunk, ("view", memoryview(chunk[0][1]))]  # which pickle refuses
    require_same(processes.decode(odd, HOW), decode_chunk(odd, HOW))
    assert "broke down" in caplog.text


def test_where_none_can_be_started_there_is_none(chunk, monkeypatch):
    monkeypatch.setattr(chunk_processes.sys, "executable", "/nowhere/python")
    made = ChunkProcesses(2)
    assert not made.alive
    require_same(made.decode(chunk, HOW), decode_chunk(chunk, HOW))
    made.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_closing_ends_them_whatever_they_do(processes):
    os.kill(processes._started[0].running.pid, signal.SIGSTOP)
    closing = threading.Thread(target=processes.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_who_stops_reading_does_not_wait_for_a_process_that_hangs(chunk, monkeypatch):
    monkeypatch.setattr(pixel_decoding, "_IMAGES_A_PROCESS", 1)
    monkeypatch.setattr(pixel_decoding, "available_cores", lambda: 2)
    made = []

    def stopped(count):
        made.append(ChunkProcesses(count))
        for process in made[0]._started:
            os.kill(process.running.pid, signal.SIGSTOP)
        return made[0]

    monkeypatch.setattr(pixel_decoding, "ChunkProcesses", stopped)
    few = chunk[:20]

    def chunks():
        for _ in range(3):
            yield few
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(pixel_decoding._decoded_in_order(chunks(), 60, HOW))
    assert time.monotonic() - began < 20
    assert all(process.running.returncode is not None for process in made[0]._started)


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

    monkeypatch.setattr(pixel_decoding, "_IMAGES_A_PROCESS", 100)
    monkeypatch.setattr(pixel_decoding, "available_cores", lambda: 2)
    monkeypatch.setattr(pixel_decoding, "decode_chunk", never)
    monkeypatch.setattr(chunk_processes, "decode_chunk", never)
    seen = []
    decode_into(folders[1], source, HOW, lambda done, found: seen.append((done, found)))
    assert seen[-1] == (601, 601)
    for file in folders[0].iterdir():
        assert file.read_bytes() == (folders[1] / file.name).read_bytes()
