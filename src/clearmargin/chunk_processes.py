"""Chunks of tiny images decoded in processes of their own.

Threads take turns at the interpreter, and handing it from one to the next takes as long as a tiny image does.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from clearmargin.chunk_decoding import Chunk, DecodedChunk, decode_chunk
from clearmargin.records import Preprocessing

_PACKAGES = Path(__file__).parents[1]
_PROGRAM = Path(__file__).with_name("chunk_decoder.py")


class ChunkProcesses:
    """So many processes, to be used from as many threads; what one can't do is done in the thread that asked.

    They write nothing, and end when they are closed, or when this program does.
    """

    def __init__(self, count: int) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes] | None] = SimpleQueue()
        self._started: list[subprocess.Popen[bytes]] = []
        for _ in range(count):
            process = None
            with suppress(OSError):  # no memory, or too many processes
                process = _start()
                self._started.append(process)
            self._idle.put(process)

    def decode(self, chunk: Chunk, preprocessing: Preprocessing) -> DecodedChunk:
        """What `decode_chunk` gives."""
        process, decoded = self._idle.get(), None
        try:
            if process is not None:
                decoded = _answer(process, chunk, preprocessing)
        finally:  # what an interrupted one would say next belongs to nobody
            self._idle.put(process if decoded is not None else None)
        return decode_chunk(chunk, preprocessing) if decoded is None else decoded

    def close(self) -> None:
        """End them all."""
        for process in self._started:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            process.wait()


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        start_new_session=os.name != "nt",  # a Ctrl-C is for the program, which then ends this one
    )


def _answer(process: subprocess.Popen[bytes], chunk: Chunk, preprocessing: Preprocessing) -> DecodedChunk | None:
    """What a process makes of a chunk; None when it broke down."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pickle.dump((chunk, preprocessing), process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        return pickle.load(process.stdout)  # of this program's own making
    except (OSError, EOFError, pickle.PickleError):
        return None
