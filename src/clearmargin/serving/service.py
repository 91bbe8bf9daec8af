"""A request's way: read, decoded, answered. Beyond the limits it is refused at once; what was accepted is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from clearmargin.cores import available_cores
from clearmargin.errors import ImageError, ImageFormatError, ImageSizeError
from clearmargin.serving.access import Access
from clearmargin.serving.limits import Limits
from clearmargin.serving.metrics import Metrics
from clearmargin.serving.model import Answer, ServedModel, View
from clearmargin.serving.problems import Problem
from clearmargin.serving.uploads import Held, declared_bytes, images_of, read_body
from clearmargin.serving.worker import Worker

if TYPE_CHECKING:
    from starlette.requests import Request

Seen = tuple[Answer, View]
SOON_PARSED = 200_000  # bytes of a body: two milliseconds, and handing it to a thread takes as long


class Service:
    """What all requests share.

    Attributes
    ----------
    accepted
        Images that were accepted and are not answered.
    reading
        Requests whose body is on its way.
    ending
        True from the moment the server was told to end.
    """

    def __init__(self, model: ServedModel, access: Access, limits: Limits | None = None) -> None:
        self.model, self.access, self.limits = model, access, limits or Limits()
        self.metrics = Metrics()
        self.worker = Worker(model, self.limits, self.metrics)
        self.held = Held(self.limits.held_bytes)
        self.accepted = self.reading = 0
        self.ending = False
        self._threads = ThreadPoolExecutor(max(2, available_cores()), "clearmargin-decoder")
        self._measure()

    def _measure(self) -> None:
        began = time.time()
        self.metrics.measure("clearmargin_waiting_images", "Accepted and not answered.", lambda: self.accepted)
        self.metrics.measure("clearmargin_reading_requests", "Whose body is on its way.", lambda: self.reading)
        self.metrics.measure("clearmargin_held_bytes", "Of bodies in memory.", lambda: self.held.bytes)
        self.metrics.measure("clearmargin_ready", "1: takes requests.", lambda: float(not self.ending))
        self.metrics.measure("clearmargin_start_time_seconds", "Since 1970.", lambda: began)

    def start(self) -> None:
        """Begin to compute."""
        self.worker.start()

    def stop(self) -> None:
        """Answer what was accepted, and end. It waits for that."""
        self.ending = True
        self._threads.shutdown()
        self.worker.stop()

    async def answers(self, request: Request) -> list[Answer | Problem]:
        """For each image of a request, in order, what the model says of it, or why it can't be used.

        Raises
        ------
        Problem
            When the request as a whole is refused.
        """
        return await self._take(request, wants_view=False)

    async def views(self, request: Request) -> list[Seen | Problem]:
        """As `answers`, with what is shown beside them."""
        return await self._take(request, wants_view=True)

    async def _take(self, request: Request, wants_view: bool) -> list[Any]:
        loop = asyncio.get_running_loop()
        with self.held.share() as share:
            with self._reading_one():
                declared = declared_bytes(request.headers)
                body = await read_body(request.stream(), declared, self.limits, share)
            deadline = time.monotonic() + self.limits.seconds
            kind = request.headers.get("content-type", "")
            if len(body) <= SOON_PARSED:
                contents = images_of(kind, body, self.limits)
            else:
                contents = await loop.run_in_executor(self._threads, images_of, kind, body, self.limits)
            del body
            with self._accept(len(contents)):
                self.worker.expect(len(contents))
                jobs = [self._answer(content, deadline, wants_view) for content in contents]
                found = await asyncio.gather(*jobs) if len(jobs) > 1 else [await jobs[0]]
        self._count(found, wants_view)
        return found

    @contextmanager
    def _reading_one(self) -> Iterator[None]:
        if self.reading >= self.limits.reading or self.accepted >= self.limits.waiting:
            raise Problem("overloaded", "Too many requests are on their way: try again later.")
        self.reading += 1
        try:
            yield
        finally:
            self.reading -= 1

    @contextmanager
    def _accept(self, count: int) -> Iterator[None]:
        if self.accepted + count > self.limits.waiting:
            raise Problem("overloaded", "Too many images wait for their answer: try again later.")
        self.accepted += count
        try:
            yield
        finally:
            self.accepted -= count

    async def _answer(self, content: bytes, deadline: float, wants_view: bool) -> Any:
        expected = True
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                image = await asyncio.get_running_loop().run_in_executor(self._threads, self._prepared, content)
            if isinstance(image, Problem):
                return image
            expected = False  # from here on the worker counts it
            return await self.worker.ask(image, deadline, wants_view)
        except TimeoutError:
            return Problem("deadline", "The image was not decoded within the time a request may take.")
        except Problem as problem:
            return problem
        finally:
            if expected:
                self.worker.expect(-1)

    def _prepared(self, content: bytes) -> np.ndarray | Problem:
        """One image decoded, or why it can't be. Nothing of what the file holds is quoted."""
        try:
            return self.model.prepare(content, self.limits)
        except ImageSizeError as error:
            return Problem("too-large", f"The image can't be used: {error}.")
        except ImageFormatError as error:
            return Problem("wrong-format", f"The image can't be used: {error}.")
        except ImageError as error:
            return Problem("unusable-image", f"The image can't be used: {str(error).partition(':')[0]}.")
        except Exception:
            return Problem("unusable-image", "The image can't be used: it is damaged in a way that is not known here.")

    def _count(self, found: list[Any], wants_view: bool) -> None:
        for one in found:
            if not isinstance(one, Problem):
                answer: Answer = one[0] if wants_view else one
                self.metrics.images.add()
                self.metrics.abstained.add(by=float(bool(answer.abstain)))
                self.metrics.unlike.add(by=float(bool(answer.unlike)))
