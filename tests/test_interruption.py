"""Signals stop the work where it can be gone on with."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from clearmargin import interruption
from clearmargin.interruption import Stopped, finishing, stoppable


@pytest.fixture(autouse=True)
def heard():
    """Signals are heard, also where the shell that began the tests ignores them, as for work behind it."""
    before = {number: signal.getsignal(number) for number in interruption.EXIT_STATUS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_at_once_outside_of_what_is_to_be_finished(number, status):
    with pytest.raises(Stopped) as stopped, stoppable():  # noqa: PT012
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert (stopped.value.exit_status, stopped.value.at_once) == (status, False)


def test_what_is_begun_is_finished():
    done = []
    with pytest.raises(Stopped) as stopped, stoppable():  # noqa: PT012
        with finishing():
            with finishing():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("never")
    assert done == ["inner", "outer"]
    assert (stopped.value.exit_status, stopped.value.at_once) == (143, False)


def test_a_second_signal_does_not_wait(monkeypatch):
    monkeypatch.setattr(interruption, "SAME_SECONDS", 0.05)
    with pytest.raises(Stopped) as stopped, stoppable(), finishing():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.06)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert stopped.value.at_once


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_passed_on_twice_is_one(second):
    done = []
    with pytest.raises(Stopped) as stopped, stoppable(), finishing():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), second)
        done.append("what was begun")
    assert (stopped.value.exit_status, stopped.value.at_once, done) == (130, False, ["what was begun"])
    with stoppable(), finishing():
        done.append("later: what was asked then is forgotten")
    assert len(done) == 2


def test_nobody_waits_for_long(monkeypatch):
    monkeypatch.setattr(interruption, "PATIENCE_SECONDS", 0.1)
    started = time.monotonic()
    with pytest.raises(Stopped) as stopped, stoppable(), finishing():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert (stopped.value.exit_status, stopped.value.at_once) == (143, True)
    assert time.monotonic() - started < 4


def test_afterwards_all_is_as_before():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == handlers
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with finishing():
        pass  # what was asked then is forgotten


def test_what_the_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_no_handlers():
    def work() -> None:
        with stoppable(), finishing():
            went.append(signal.getsignal(signal.SIGTERM))

    went: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert went == [signal.SIG_DFL]
