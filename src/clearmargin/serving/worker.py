"""One thread that computes: images that arrive together pass the network together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from clearmargin.serving.failures import say_where
from clearmargin.serving.limits import Limits
from clearmargin.serving.metrics import Metrics
from clearmargin.serving.pace import Pace
from clearmargin.serving.problems import Problem

FIRST_IDLE_SECONDS = 0.5  # after it got ready: the server begins to listen


class Computation(Protocol):
    """What the thread computes; nothing else calls it meanwhile."""

    def warm_up(self) -> float:
        """Get ready, so that the first image is answered as fast as any; seconds that one takes."""
        ...

    def answers(self, images: Sequence[np.ndarray]) -> Sequence[Any]:
        """One answer for each prepared image, in order."""
        ...

    def view(self, image: np.ndarray, answer: Any) -> Any:
        """What is shown of one image beside its answer."""
        ...

    def prepare_more(self) -> Literal["soon", "idle"] | None:
        """Do a little of what makes later views better.

        Returns
        -------
        When to do the next little: as soon as nobody asks anything, or when nobody has for a while; None when nothing
        is left.
        """
        ...


@dataclass(slots=True, eq=False)
class _Asked:
    """One image that waits, and whom to tell."""

    image: np.ndarray
    wants_view: bool
    deadline: float  # time.monotonic
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    answer: Any = None

    @property
    def pointless(self) -> bool:
        """Nobody waits for it any more."""
        return self.future.done() or time.monotonic() > self.deadline


class Worker:
    """Answers images in batches.

    A batch is what has arrived. When it is not full and others are on their way (`expect`), it waits for them, at most
    ``window_seconds``. Views are computed one at a time, between batches, and what is prepared for later when nobody
    has waited for anything for a while.

    Attributes
    ----------
    pace, view_pace
        Of answers, and of views.
    """

    def __init__(self, computation: Computation, limits: Limits, metrics: Metrics) -> None:
        self._computation, self._limits, self._metrics = computation, limits, metrics
        self.pace, self.view_pace = Pace(), Pace()
        self._changed = threading.Condition()
        self._asked: deque[_Asked] = deque()
        self._views: deque[_Asked] = deque()
        self._expected, self._closing = 0, False
        self._idle_since = 0.0
        self._patience: float | None = None
        self._warm: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="clearmargin-worker", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to get ready; what is asked meanwhile waits."""
        self._thread.start()

    def wait_until_warm(self) -> None:
        """Wait until it is ready, and raise what it failed with if it is not."""
        self._warm.result()

    def stop(self) -> None:
        """Answer all that was accepted, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def expect(self, count: int) -> None:
        """So many images more, or fewer, are on their way to `ask`."""
        with self._changed:
            self._expected += count
            self._changed.notify()

    async def ask(self, image: np.ndarray, deadline: float, wants_view: bool = False) -> Any:
        """The answer to a prepared image that was expected; with a view when that is wanted: (answer, view or None).

        Parameters
        ----------
        deadline
            As `time.monotonic` counts.

        Raises
        ------
        Problem
            When it is not there by then.
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(image, wants_view, deadline, loop, loop.create_future())
        with self._changed:
            self._expected -= 1
            if self._closing:
                raise Problem("not-ready", "The server is about to end.")
            self._asked.append(asked)
            self._changed.notify()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asked.future
        except TimeoutError:
            raise Problem("deadline", "The answer was not ready within the time a request may take.") from None

    def _run(self) -> None:
        try:
            self.pace.add(self._computation.warm_up())
        except BaseException as error:
            self._warm.set_exception(error)
            return
        self._idle_since, self._patience = time.monotonic(), min(FIRST_IDLE_SECONDS, self._limits.idle_seconds)
        self._warm.set_result(None)
        while (batch := self._next_batch()) is not None:
            if batch:
                self._answer(batch)
            view = self._views.popleft() if self._views else None
            if view is not None:
                self._look(view)
            if batch or view is not None:
                self._idle_since = time.monotonic()
            else:
                self._patience = self._prepare_more()

    def _next_batch(self) -> list[_Asked] | None:
        """What is to be computed next; nothing when there are views or preparations to do; None at the end."""
        with self._changed:
            while not (self._asked or self._views or self._closing or self._is_idle_enough()):
                self._changed.wait(self._still_to_wait())
            if not self._asked and not self._views and self._closing:
                return None
            if self._asked:
                self._wait_for_others()
            return [self._asked.popleft() for _ in range(min(len(self._asked), self._limits.batch))]

    def _is_idle_enough(self) -> bool:
        """Whether something may be prepared: nobody has asked for a while, and nobody is about to."""
        left = self._still_to_wait()
        return left is not None and left <= 0

    def _still_to_wait(self) -> float | None:
        if self._patience is None or self._expected > 0:
            return None
        return self._idle_since + self._patience - time.monotonic()

    def _wait_for_others(self) -> None:
        end = time.monotonic() + self._limits.window_seconds
        while len(self._asked) < self._limits.batch and self._expected > 0 and not self._closing:
            left = end - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return

    def _answer(self, batch: list[_Asked]) -> None:
        wanted = [one for one in batch if not one.pointless]
        if not wanted:
            return
        began = time.monotonic()
        try:
            answers = self._computation.answers([one.image for one in wanted])
        except Exception as error:
            if len(wanted) == 1:
                _tell(wanted[0], error=error)
            else:
                say_where("A batch", error)  # also when nothing fails alone, and nobody would notice
                for one in wanted:  # whose fault it is
                    self._answer([one])
            return
        seconds = time.monotonic() - began
        self.pace.add(seconds, len(wanted))
        self._metrics.batches.add(len(wanted))
        self._metrics.computing.add(seconds)
        for one, answer in zip(wanted, answers, strict=True):
            if one.wants_view:
                one.answer = answer
                self._views.append(one)
            else:
                _tell(one, answer)

    def _look(self, one: _Asked) -> None:
        if one.pointless:
            return
        began, view = time.monotonic(), None
        try:
            view = self._computation.view(one.image, one.answer)
        except Exception as error:  # it costs the picture, not the answer
            say_where("A view", error)
        self.view_pace.add(time.monotonic() - began)
        _tell(one, (one.answer, view))

    def _prepare_more(self) -> float | None:
        try:
            when = self._computation.prepare_more()
            return None if when is None else {"soon": 0.0, "idle": self._limits.idle_seconds}[when]
        except Exception as error:  # views do without
            say_where("What makes views better", error)
            return None


def _tell(one: _Asked, answer: Any = None, error: Exception | None = None) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        one.loop.call_soon_threadsafe(_resolve, one.future, answer, error)


def _resolve(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
