"""Chunks of tiny images decoded in processes of their own.

Threads take turns at the interpreter, and handing it from one to the next takes as long as a tiny image does.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from PIL import ImageFile

from clearmargin.chunk_decoder import READY
from clearmargin.chunk_decoding import Chunk, DecodedChunk, decode_chunk
from clearmargin.records import Preprocessing

_PROGRAM = Path(__file__).with_name("chunk_decoder.py")
_SECONDS = 120.0  # for a chunk, and for the start: hundreds of times what it takes
_MOST_NOISE = 1 << 20  # bytes before a process says that it is ready
_log = logging.getLogger(__name__)


class ChunkProcesses:
    """So many processes, to be used from as many threads; what one can't do is done in the thread that asked.

    They find modules where this program does, write nothing, and end when they are closed, or when this program does.
    """

    def __init__(self, count: int) -> None:
        self._started = [process for process in (_started() for _ in range(count)) if process is not None]
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._lost, self._closed = 0, False
        for process in self._started:
            self._idle.put(process)
        for _ in range(count - len(self._started)):
            self._lose()

    @property
    def alive(self) -> bool:
        """Whether there is one that can be asked."""
        return self._lost < len(self._started)

    def decode(self, chunk: Chunk, preprocessing: Preprocessing) -> DecodedChunk:
        """What `decode_chunk` gives."""
        process, decoded = self._idle.get(), None
        try:
            if process is not None:
                decoded = process.ask(chunk, preprocessing)
        finally:  # what an interrupted one would say next belongs to nobody
            if decoded is not None:
                self._idle.put(process)
            else:
                self._lose(process)
        return decode_chunk(chunk, preprocessing) if decoded is None else decoded

    def _lose(self, process: _Process | None = None) -> None:
        with self._lock:
            self._lost += process is not None
            told = not self._closed and process is not None
        self._idle.put(None)
        if told:
            _log.warning("A process that decoded images broke down. Its images are decoded in the program itself.")

    def close(self) -> None:
        """End them all, also those that are being asked."""
        with self._lock:
            self._closed = True
        for process in self._started:
            process.end()


class _Process:
    """One process that decodes chunk after chunk."""

    def __init__(self) -> None:
        self._ready = False
        self.running = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=os.name != "nt",  # a Ctrl-C is for the program, which then ends this one
        )

    def ask(self, chunk: Chunk, preprocessing: Preprocessing) -> DecodedChunk | None:
        """What it makes of a chunk; None when it broke down, or took too long."""
        clock = threading.Timer(_SECONDS, self.running.kill)
        clock.daemon = True
        clock.start()
        try:
            requests, answers = self.running.stdin, self.running.stdout
            assert requests is not None
            assert answers is not None
            if not self._ready:
                pickle.dump((sys.path, ImageFile.LOAD_TRUNCATED_IMAGES), requests, pickle.HIGHEST_PROTOCOL)
            pickle.dump((chunk, preprocessing), requests, pickle.HIGHEST_PROTOCOL)
            requests.flush()
            if not self._ready:
                said = b""
                while not said.endswith(READY):
                    byte = answers.read(1)
                    if not byte or len(said) > _MOST_NOISE:
                        return None
                    said += byte
                self._ready = True
            found = pickle.load(answers)  # of this program's own making
            return found if isinstance(found, DecodedChunk) else None
        except Exception:  # a pipe that broke, an answer cut off: it is done without
            return None
        finally:
            clock.cancel()

    def end(self) -> None:
        """End it, whatever it does."""
        self.running.kill()
        self.running.wait()
        for pipe in (self.running.stdin, self.running.stdout):
            if pipe is not None:
                with suppress(OSError, ValueError):
                    pipe.close()


def _started() -> _Process | None:
    if not sys.executable:  # of a program that brings its own Python
        return None
    try:
        return _Process()
    except OSError:  # no memory, or too many processes
        return None
