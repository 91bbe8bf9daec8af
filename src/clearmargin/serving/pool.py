"""Threads that decode: each file in one of them, frame after frame, and how long that takes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from clearmargin.errors import ImageError, ImageFormatError, ImageSizeError
from clearmargin.serving.failures import say_where
from clearmargin.serving.pace import Pace
from clearmargin.serving.pictures import Opened, contents
from clearmargin.serving.problems import Problem

Decoded = asyncio.Future[np.ndarray | Problem]


class DecodingPool:
    """Some threads for one kind of files.

    Parameters
    ----------
    prepare
        Decodes the content of one image.
    longest_counted
        Seconds: an image that takes longer is counted as if it took so long, and does not keep all others out.

    Attributes
    ----------
    executor
        The threads.
    pace
        Of one image.
    """

    def __init__(self, threads: int, name: str, prepare: Callable[[bytes], np.ndarray], longest_counted: float) -> None:
        self.executor = ThreadPoolExecutor(threads, name)
        self.pace = Pace()
        self._threads, self._prepare, self._longest_counted = threads, prepare, longest_counted
        self._queued, self._lock = 0, threading.Lock()

    def begin(self, file: Opened, deadline: float) -> list[Decoded]:
        """Begin to decode the images of a file: each is there as soon as it is decoded.

        Parameters
        ----------
        deadline
            As `time.monotonic` counts: later, nothing more is decoded, and who waits must know that for himself.
        """
        loop = asyncio.get_running_loop()
        images: list[Decoded] = [loop.create_future() for _ in range(file.frames)]
        self._count(file.frames)
        self.executor.submit(self._decode, file, deadline, images, loop)
        return images

    def seconds_ahead(self) -> float:
        """How long what was begun takes still."""
        return self._queued / self._threads * self.pace.seconds

    def seconds(self, frames: Sequence[int], *, at_best: bool = False) -> float:
        """How long files with so many images take; ``at_best``: if each took as little time as any did."""
        each = self.pace.best if at_best else self.pace.seconds
        return each * max(max(frames, default=0), sum(frames) / self._threads)

    def _count(self, images: int) -> None:
        with self._lock:
            self._queued += images

    def _decode(self, file: Opened, deadline: float, images: list[Decoded], loop: asyncio.AbstractEventLoop) -> None:
        left = iter(images)
        try:
            for content in contents(file):
                if time.monotonic() > deadline:
                    return
                began = time.monotonic()
                image = or_problem(self._prepared, content)
                self.pace.add(min(time.monotonic() - began, self._longest_counted))
                _tell(loop, next(left), image)
                self._count(-1)
        except Exception as error:
            problem = failed(error)
            for one in left:
                _tell(loop, one, problem)
                self._count(-1)
        finally:
            self._count(-sum(1 for _ in left))

    def _prepared(self, content: bytes | ImageError) -> np.ndarray:
        if isinstance(content, ImageError):
            raise content
        return self._prepare(content)


def _tell(loop: asyncio.AbstractEventLoop, one: Decoded, image: np.ndarray | Problem) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_resolve, one, image)


def _resolve(one: Decoded, image: np.ndarray | Problem) -> None:
    if not one.done():
        one.set_result(image)


def or_problem(call: Callable[..., Any], *words: Any) -> Any:
    """What a call returns, or why an image can't be used. Nothing of what a file holds is quoted."""
    try:
        return call(*words)
    except ImageSizeError as error:
        return Problem("too-large", f"The image can't be used: {error}.")
    except ImageFormatError as error:
        return Problem("wrong-format", f"The image can't be used: {error}.")
    except ImageError as error:
        return Problem("unusable-image", f"The image can't be used: {str(error).partition(':')[0]}.")
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> Problem:
    """What is said of an image that the server failed at."""
    say_where("An image", error)
    return Problem("failed", "Something went wrong in the server while it looked at this image. It goes on.")
