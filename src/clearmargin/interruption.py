"""Being told to stop: Ctrl-C and SIGTERM end the work where it can be gone on with.

A signal raises `Stopped`, as Ctrl-C always raises `KeyboardInterrupt`. What must not be cut in two, such as a step of a
training, is done under `finishing`: there the signal waits for the end. It does not wait for longer than
`PATIENCE_SECONDS`, and a second signal does not wait at all. What comes within `SAME_SECONDS` of the first is the same
one once more, as when a terminal and a program in between both pass on one Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE_SECONDS = 7.0  # for a batch and for saving it: with the rest, the program has left within 10 s
SAME_SECONDS = 1.0
_HAS_TIMER = hasattr(signal, "setitimer")  # Windows has none: there, it waits for the batch
EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}  # 128 + the signal, as shells count


class Stopped(KeyboardInterrupt):
    """The work was told to stop.

    Attributes
    ----------
    exit_status
        What a command returns then.
    at_once
        True when there was no time to finish what was begun.
    """

    def __init__(self, number: int, *, at_once: bool = False) -> None:
        super().__init__()
        self.exit_status = EXIT_STATUS.get(signal.Signals(number), 130)
        self.at_once = at_once


class _Signals:
    """What was asked, and how many `finishing` there are around what is being done."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.asked_at = 0.0
        self.unfinished = 0

    def receive(self, number: int, _: FrameType | None) -> None:
        again, now = self.asked is not None, time.monotonic()
        if again and now - self.asked_at < SAME_SECONDS:
            return
        self.asked, self.asked_at = number, now
        if not again and _HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
        if again or not self.unfinished:
            raise Stopped(number, at_once=again)

    def lose_patience(self, *_: object) -> None:
        if self.asked is not None:
            raise Stopped(self.asked, at_once=True)

    def answer(self) -> None:
        if self.asked is not None and not self.unfinished:
            raise Stopped(self.asked)


_signals = _Signals()


@contextmanager
def stoppable() -> Iterator[None]:
    """Work that SIGINT and SIGTERM stop; a signal that the caller's shell ignores stays ignored.

    Nothing changes in a thread other than the main one, where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in EXIT_STATUS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _signals.receive) for number in heard}
    if _HAS_TIMER:
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _signals.lose_patience)
    try:
        yield
    finally:
        if _HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _signals.asked = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def finishing() -> Iterator[None]:
    """What is begun inside is finished before `Stopped` is raised, at the end of this block.

    Raises
    ------
    Stopped
        When a signal came meanwhile.
    """
    _signals.unfinished += 1
    try:
        yield
    finally:
        _signals.unfinished -= 1
    _signals.answer()
