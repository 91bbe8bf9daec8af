"""A request's way: read, decoded, answered. Beyond the limits it is refused at once; what was accepted is answered."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clearmargin.cores import available_cores
from clearmargin.serving.access import Access
from clearmargin.serving.limits import Limits
from clearmargin.serving.metrics import Metrics
from clearmargin.serving.model import Answer, ServedModel, View
from clearmargin.serving.pictures import SOON_DECODED_BYTES, Opened, may_be_dicom, reads_dicom
from clearmargin.serving.pool import Decoded, DecodingPool, failed, or_problem
from clearmargin.serving.problems import Problem
from clearmargin.serving.uploads import Held, declared_bytes, images_of, read_body
from clearmargin.serving.worker import Worker

if TYPE_CHECKING:
    from starlette.requests import Request

Seen = tuple[Answer, View | None]
SOON_PARSED = 200_000  # bytes of a body: handing it to a thread takes as long
SLOW_THREADS = 2
COUNTED_SHARE = 0.25  # of the time to answer in: for decoding one image, no more is counted


@dataclass(frozen=True)
class Told:
    """What is said of one image of a request.

    Attributes
    ----------
    file
        Its place in the request, from 0.
    frame
        Of a file with several: which, from 1; else None.
    said
        The answer, with what is shown beside it when that was asked for; or why there is none.
    """

    file: int
    frame: int | None
    said: Answer | Seen | Problem


class Service:
    """What all requests share.

    Attributes
    ----------
    show_names
        Whether the page names training images.
    reads_dicom
        Whether the libraries for it are there.
    accepted, accepted_views
        Images that were accepted and are not answered; those of them that are to be shown.
    reading
        Requests whose body is on its way.
    ending
        True from the moment the server was told to end.
    """

    def __init__(
        self, model: ServedModel, access: Access, limits: Limits | None = None, *, show_names: bool = False
    ) -> None:
        self.model, self.access, self.limits, self.show_names = model, access, limits or Limits(), show_names
        self.reads_dicom = reads_dicom()
        self.metrics = Metrics()
        self.worker = Worker(model, self.limits, self.metrics)
        self.held = Held(self.limits.held_bytes)
        self.accepted = self.accepted_views = self.reading = 0
        self.ending = False
        longest = COUNTED_SHARE * self._most_seconds
        self._fast = DecodingPool(max(2, available_cores()), "clearmargin-decoder", self._prepare, longest)
        self._slow = DecodingPool(SLOW_THREADS, "clearmargin-slow-decoder", self._prepare, longest)
        self._measure()

    def _measure(self) -> None:
        began = time.time()
        self.metrics.measure("clearmargin_waiting_images", "Accepted and not answered.", lambda: self.accepted)
        self.metrics.measure("clearmargin_reading_requests", "Whose body is on its way.", lambda: self.reading)
        self.metrics.measure("clearmargin_held_bytes", "Of bodies in memory.", lambda: self.held.bytes)
        self.metrics.measure("clearmargin_ready", "1: takes requests.", lambda: float(not self.ending))
        self.metrics.measure("clearmargin_start_time_seconds", "Since 1970.", lambda: began)

    def start(self) -> None:
        """Begin to get ready; it may be asked at once."""
        self.worker.start()

    def stop(self) -> None:
        """Answer what was accepted, and end. It waits for that."""
        self.ending = True
        self._fast.executor.shutdown()
        self._slow.executor.shutdown()
        self.worker.stop()

    async def answers(self, request: Request) -> list[Told]:
        """For each image of a request, in order, what the model says of it, or why it can't be used.

        Raises
        ------
        Problem
            When the request as a whole is refused.
        """
        return await self._take(request, wants_view=False)

    async def views(self, request: Request) -> list[Told]:
        """As `answers`, with what is shown beside them."""
        return await self._take(request, wants_view=True)

    async def _take(self, request: Request, wants_view: bool) -> list[Told]:
        self._require_not_ending()
        with self.held.share() as share:
            with self._reading_one(wants_view):
                declared = declared_bytes(request.headers)
                body = await read_body(request.stream(), declared, self.limits, share)
            self._require_not_ending()
            deadline = time.monotonic() + self.limits.seconds
            files = await self._opened(request.headers.get("content-type", ""), body, deadline)
            del body
            with self._accept(files, wants_view) as count:
                self.worker.expect(count)
                begun = [self._begin(file, deadline) for file in files]
                jobs = [
                    self._told(place, file, images, deadline, wants_view)
                    for place, (file, images) in enumerate(zip(files, begun, strict=True))
                ]
                told = [one for each in await asyncio.gather(*jobs) for one in each]
        self._count(told)
        return told

    def _require_not_ending(self) -> None:
        if self.ending:
            raise Problem("not-ready", "The server is about to end.")

    @contextmanager
    def _reading_one(self, wants_view: bool) -> Iterator[None]:
        if self.reading >= self.limits.reading:
            raise Problem("overloaded", "Too many requests are on their way: try again later.")
        self._require_room([], 1, wants_view)
        self.reading += 1
        try:
            yield
        finally:
            self.reading -= 1

    @contextmanager
    def _accept(self, files: Sequence[Opened | Problem], wants_view: bool) -> Iterator[int]:
        """Count the images of a request among the accepted ones, until the end of the block."""
        count = sum(1 if isinstance(file, Problem) else file.frames for file in files)
        if count > self.limits.request_images:
            raise Problem(
                "too-many",
                f"The files of the request have {count:,} images, each frame counted: at most "
                f"{self.limits.request_images} are taken at once.",
                most=self.limits.request_images,
            )
        self._require_room(files, count, wants_view)
        views = count if wants_view else 0
        self.accepted += count
        self.accepted_views += views
        try:
            yield count
        finally:
            self.accepted -= count
            self.accepted_views -= views

    def _require_room(self, files: Sequence[Opened | Problem], count: int, wants_view: bool) -> None:
        """Refuse what would not be answered in time: ever, or at the speed of the moment.

        When nothing else is accepted, the speed of the moment counts for nothing: it may be over, and only a request
        that is taken shows that.
        """
        ahead = self._network_seconds(self.accepted, self.accepted_views)
        ahead += sum(pool.seconds_ahead() for pool, frames in self._by_pool(files) if frames)
        late = ahead + self._seconds(files, count, wants_view) > self._most_seconds
        at_best = self._seconds(files, count, wants_view, at_best=True)
        if count > 1 and at_best > self._most_seconds:
            fitting = max(1, int(self._most_seconds * count / at_best))
            words = f"This model answers about {fitting} images in time: send fewer at once."
            raise Problem("too-many", words, most=fitting)
        if self.accepted + count > self.limits.waiting or (self.accepted and late):
            later = {"Retry-After": str(max(1, math.ceil(ahead)))}
            raise Problem("overloaded", "Too many images wait for their answer: try again later.", later)

    @property
    def _most_seconds(self) -> float:
        return self.limits.share * self.limits.seconds

    def _seconds(
        self, files: Sequence[Opened | Problem], count: int, wants_view: bool, *, at_best: bool = False
    ) -> float:
        """How long a request with these files, and so many images, takes by itself."""
        decoding = sum(pool.seconds(frames, at_best=at_best) for pool, frames in self._by_pool(files))
        return decoding + self._network_seconds(count, count if wants_view else 0, at_best=at_best)

    def _by_pool(self, files: Sequence[Opened | Problem]) -> list[tuple[DecodingPool, list[int]]]:
        """How many images each file has that a pool is to decode."""
        opened = [file for file in files if isinstance(file, Opened)]
        return [
            (pool, [file.frames for file in opened if file.slow == slow])
            for pool, slow in ((self._fast, False), (self._slow, True))
        ]

    def _network_seconds(self, images: int, views: int, *, at_best: bool = False) -> float:
        pace, view_pace = self.worker.pace, self.worker.view_pace
        if at_best:
            return images * pace.best + views * view_pace.best
        return images * pace.seconds + views * view_pace.seconds

    async def _opened(self, kind: str, body: bytes, deadline: float) -> Sequence[Opened | Problem]:
        """The files of a body."""
        try:
            async with _until(deadline):
                if len(body) <= SOON_PARSED:
                    files = images_of(kind, body, self.limits)
                else:
                    files = await asyncio.to_thread(images_of, kind, body, self.limits)
                return await asyncio.gather(*map(self._open, files))
        except TimeoutError:
            raise Problem("deadline", "The request was not understood within the time it may take.") from None

    async def _open(self, content: bytes) -> Opened | Problem:
        dicom = may_be_dicom(content)
        if dicom and not self.reads_dicom:
            return Problem("no-dicom", 'DICOM needs an optional part of the server: pip install "clearmargin[dicom]"')
        if not dicom and len(content) <= SOON_DECODED_BYTES:
            return Opened(content, None, 1, slow=False)
        threads = (self._slow if dicom else self._fast).executor
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, or_problem, self.model.open, content, self.limits)

    def _begin(self, file: Opened | Problem, deadline: float) -> list[Decoded]:
        if isinstance(file, Problem):
            return []
        return (self._slow if file.slow else self._fast).begin(file, deadline)

    async def _told(
        self, place: int, file: Opened | Problem, images: list[Decoded], deadline: float, wants_view: bool
    ) -> list[Told]:
        """What is said of each image of a file: what was answered by the deadline is."""
        if isinstance(file, Problem):
            self.worker.expect(-1)
            return [Told(place, None, file)]
        said = await asyncio.gather(*(self._asked(image, deadline, wants_view) for image in images))
        frames = [None] if file.dicom is None else range(1, file.frames + 1)
        return [Told(place, frame, one) for frame, one in zip(frames, said, strict=True)]

    def _prepare(self, content: bytes) -> np.ndarray:
        return self.model.prepare(content, self.limits)

    async def _asked(self, decoded: Decoded, deadline: float, wants_view: bool) -> Answer | Seen | Problem:
        image: np.ndarray | Problem = Problem(
            "deadline", "The image was not decoded within the time a request may take."
        )
        try:
            async with _until(deadline):
                image = await decoded
        except TimeoutError:
            pass
        finally:
            if isinstance(image, Problem):
                self.worker.expect(-1)
        if isinstance(image, Problem):
            return image
        try:
            answer: Answer | Seen = await self.worker.ask(image, deadline, wants_view)
        except Problem as problem:
            return problem
        except Exception as error:
            return failed(error)
        return answer

    def _count(self, told: Sequence[Told]) -> None:
        for one in told:
            if isinstance(one.said, Problem):
                continue
            answer = one.said if isinstance(one.said, Answer) else one.said[0]
            self.metrics.images.add()
            self.metrics.abstained.add(by=float(bool(answer.abstain)))
            self.metrics.unlike.add(by=float(bool(answer.unlike)))


def _until(deadline: float) -> asyncio.Timeout:
    """An end to what is awaited, as `time.monotonic` counts."""
    return asyncio.timeout(max(0.0, deadline - time.monotonic()))
