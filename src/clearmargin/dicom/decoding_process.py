"""Coded frames decoded in processes of their own, since the libraries that do it may crash on a damaged frame.

GDCM ends the whole program on some frames with a single changed byte; here it ends a process that is started anew.
Processes are kept for the next frame, one for each thread that decodes at the same time; they end themselves when
none comes.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clearmargin.dicom.decoder import ANSWER, READY, REQUEST
from clearmargin.errors import ImageError, MissingExtraError, WorkError

_SECONDS, _PIXELS_A_SECOND = 4.0, 1_000_000  # a sound frame takes a hundredth of it
_START_SECONDS = 60.0
_PROGRAM = Path(__file__).with_name("decoder.py")
_LARGEST_ABOUT = 10_000
_KINDS = frozenset(("|u1", "|i1", "<u2", "<i2", "<u4", "<i4"))
_LARGEST_PIXEL = 3 * 4  # bytes: three samples of 32 bits
_Result = TypeVar("_Result")
_TRIES = 2  # what ends a process once may have come from outside: too little memory, an impatient user


def require_dicom() -> None:
    """See that the libraries are there.

    Raises
    ------
    MissingExtraError
        When they are not.
    """
    if find_spec("pydicom") is None or find_spec("gdcm") is None:
        raise MissingExtraError("Reading DICOM files", "dicom")


def decode_frame(asked: Mapping[str, Any], frame: bytes, pixels: int) -> tuple[np.ndarray, str]:
    """Stored values of a frame, of shape (height, width) or (height, width, 3), and their photometric interpretation.

    Parameters
    ----------
    asked
        What pydicom's decoders take, with ``transfer_syntax`` and ``compressed``.
    pixels
        How many there are: it may take so much longer.

    Raises
    ------
    ImageError
        When it can't be decoded, or not in time, or the process ends on it.
    MissingExtraError
        When the libraries are not there.
    WorkError
        When no process can be started, or one does not get ready.
    """
    require_dicom()
    for left in reversed(range(_TRIES)):
        try:
            answer = _answered(asked, frame, pixels)
        except _NotReadyError:
            if left:
                continue
            raise WorkError(
                "The process that decodes DICOM frames was started and did not get ready. See whether there is memory "
                "for it, and whether Python can load its libraries: python -c 'import pydicom.pixels.decoders, gdcm'. "
                "Then try again."
            ) from None
        if answer is not None:
            said, values = answer
            if "error" in said:
                words = "".join(letter if letter.isprintable() else "?" for letter in str(said["error"]))[:200]
                raise ImageError(f"damaged or unsupported DICOM: {words}")
            return np.frombuffer(values, said["kind"]).reshape(said["shape"]), str(said["photometric"])
    raise ImageError("damaged DICOM: a frame on which the decoder breaks down", transient=True)


def _answered(asked: Mapping[str, Any], frame: bytes, pixels: int) -> tuple[dict[str, Any], bytes] | None:
    """What a process says of a frame; None when it broke down. It is kept only when it said all it had to say."""
    process, seconds = _take(), _SECONDS + pixels / _PIXELS_A_SECOND
    try:
        answer = process.ask(asked, frame, pixels * _LARGEST_PIXEL, seconds)
    except TimeoutError:
        process.end()
        raise ImageError(
            f"damaged DICOM: a frame that is not decoded in {seconds:.0f} seconds",
            transient=True,  # as a busy machine, or one short of memory, may end a sound frame too
        ) from None
    except BaseException:  # interrupted: what it would say next belongs to nobody
        process.end()
        raise
    if answer is None:
        process.end()
    else:
        with _lock:
            _idle.append(process)
    return answer


class _NotReadyError(Exception):
    """A process ended, or said nothing, before its first frame."""


class _Process:
    """One process that decodes frame after frame."""

    def __init__(self) -> None:
        self._running = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # each would reserve memory
            start_new_session=os.name != "nt",  # a Ctrl-C is for the program, which then ends this one
        )
        self._ready = False

    @property
    def alive(self) -> bool:
        return self._running.poll() is None

    def ask(
        self, asked: Mapping[str, Any], frame: bytes, most: int, seconds: float
    ) -> tuple[dict[str, Any], bytes] | None:
        """What it answers, with at most so many bytes of values; None when it broke down.

        Raises
        ------
        TimeoutError
            When it takes too long.
        _NotReadyError
            When it does not get ready for its first frame.
        """
        if not self._ready:  # libraries are loaded, which may take longer than any frame
            with suppress(TimeoutError):
                self._ready = bool(self._within(_START_SECONDS, self._says_so))
        if not self._ready:
            raise _NotReadyError
        return self._within(seconds, lambda: self._answer(json.dumps(asked).encode(), frame, most))

    def _within(self, seconds: float, work: Callable[[], _Result]) -> _Result | None:
        """What comes of it; None when a pipe broke, or what came is no answer. `TimeoutError` as `ask` says."""
        lock, over, late = threading.Lock(), threading.Event(), threading.Event()

        def end_late() -> None:
            with lock:  # what has come in time is not ended any more: the next frame may be with it
                if not over.is_set():
                    late.set()
                    self._running.kill()

        clock = threading.Timer(seconds, end_late)
        clock.daemon = True
        clock.start()
        try:
            came = work()
        except (OSError, ValueError, RecursionError):
            came = None
        finally:
            clock.cancel()
            with lock:
                over.set()
        if late.is_set():
            raise TimeoutError
        return came

    def _says_so(self) -> bool:
        assert self._running.stdout is not None
        said = b""
        while not said.endswith(READY):
            byte = self._running.stdout.read(1)
            if not byte or len(said) > _LARGEST_ABOUT:
                return False
            said += byte
        return True

    def _answer(self, about: bytes, frame: bytes, most: int) -> tuple[dict[str, Any], bytes] | None:
        requests, answers = self._running.stdin, self._running.stdout
        assert requests is not None
        assert answers is not None
        requests.write(REQUEST.pack(len(about), len(frame)) + about)
        requests.write(frame)
        requests.flush()
        head = answers.read(ANSWER.size)
        if len(head) < ANSWER.size:
            return None
        length, size = ANSWER.unpack(head)
        if length > _LARGEST_ABOUT or size > most:  # damage may have reached the decoder itself
            return None
        said = json.loads(answers.read(length))
        values = answers.read(size)
        whole = len(values) == size and isinstance(said, dict) and ("error" in said or _fits(said, size))
        return (said, values) if whole else None

    def end(self) -> None:
        """End it, if it has not ended, and forget it."""
        self._running.kill()
        for pipe in (self._running.stdin, self._running.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._running.wait()


def _fits(said: Mapping[str, Any], size: int) -> bool:
    """Whether kind and shape of the values are such as frames have, and of so many bytes."""
    kind, shape = said.get("kind"), said.get("shape")
    if not isinstance(kind, str) or kind not in _KINDS or not isinstance(shape, list) or "photometric" not in said:
        return False
    return all(type(side) is int and side > 0 for side in shape) and math.prod(shape) * int(kind[-1]) == size


_idle: list[_Process] = []
_lock = threading.Lock()


def _take() -> _Process:
    while True:
        with _lock:
            process = _idle.pop() if _idle else None
        if process is None:
            return _started()
        if process.alive:
            return process
        process.end()


def _started() -> _Process:
    try:
        return _Process()
    except OSError as error:  # no memory, or too many processes: no fault of the image
        raise WorkError(
            f"The process that decodes DICOM frames can't be started: {error.strerror or error}. End other programs, "
            "and try again."
        ) from error


@atexit.register
def end_processes() -> None:
    """End those that wait for the next frame."""
    with _lock:
        waiting = _idle[:]
        _idle.clear()
    for process in waiting:
        process.end()
