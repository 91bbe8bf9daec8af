"""The worker: each image its own answer, in batches, within its time, and nothing lost at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.serving.conftest import Echo, awaited, number_image

from clearmargin.errors import WeightsError
from clearmargin.serving.limits import Limits
from clearmargin.serving.metrics import Metrics
from clearmargin.serving.pace import Pace
from clearmargin.serving.problems import Problem
from clearmargin.serving.worker import Worker


@contextmanager
def working(echo: Echo, limits: Limits | None = None) -> Iterator[Worker]:
    worker = Worker(echo, limits or Limits(), Metrics())
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def later(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def test_a_thousand_images_at_once_get_their_own_answers() -> None:
    async def ask(worker: Worker) -> list[int]:
        worker.expect(1000)
        return await asyncio.gather(*(worker.ask(number_image(number), later()) for number in range(1000)))

    echo = Echo()
    with working(echo) as worker:
        assert awaited(ask(worker)) == list(range(1000))
    assert sum(echo.batches) == 1000
    assert max(echo.batches) == Limits().batch
    assert len(echo.batches) < 2 * 1000 / Limits().batch


def test_views_and_answers_do_not_mix() -> None:
    async def ask(worker: Worker) -> list:
        worker.expect(200)
        return await asyncio.gather(*(worker.ask(number_image(n), later(), wants_view=n % 3 == 0) for n in range(200)))

    with working(Echo()) as worker:
        assert awaited(ask(worker)) == [(n, -n) if n % 3 == 0 else n for n in range(200)]


def test_a_batch_waits_only_for_what_is_on_its_way() -> None:
    async def ask(worker: Worker, expected: int) -> None:
        worker.expect(expected)
        first = asyncio.ensure_future(worker.ask(number_image(0), later()))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, *(worker.ask(number_image(n), later()) for n in range(1, expected)))

    patient, alone = Echo(), Echo()
    with working(patient, Limits(window_seconds=5.0)) as worker:
        awaited(ask(worker, 4))
    assert patient.batches == [4]
    with working(alone, Limits(window_seconds=5.0)) as worker:
        began = time.monotonic()
        awaited(ask(worker, 1))
        assert time.monotonic() - began < 2


def test_whoever_is_expected_and_does_not_come_is_waited_for_no_longer_than_the_window() -> None:
    with working(Echo(), Limits(window_seconds=0.05)) as worker:
        worker.expect(2)
        began = time.monotonic()
        assert awaited(worker.ask(number_image(7), later())) == 7
        assert 0.04 < time.monotonic() - began < 2


def test_one_bad_image_spoils_no_other() -> None:
    async def ask(worker: Worker) -> list:
        worker.expect(20)
        asked = (worker.ask(number_image(number), later()) for number in range(20))
        return await asyncio.gather(*asked, return_exceptions=True)

    echo = Echo()
    echo.poison = 13
    with working(echo) as worker:
        found = awaited(ask(worker))
    assert isinstance(found.pop(13), ArithmeticError)
    assert found == [number for number in range(20) if number != 13]


def test_what_is_too_late_is_said_and_not_computed() -> None:
    async def ask(worker: Worker) -> list:
        worker.expect(2)
        first = asyncio.ensure_future(worker.ask(number_image(1), later()))
        await asyncio.sleep(0.05)  # the worker is busy
        second = worker.ask(number_image(2), later(0.05))
        return await asyncio.gather(first, second, return_exceptions=True)

    echo = Echo(seconds=0.3)
    with working(echo) as worker:
        answer, problem = awaited(ask(worker))
    assert answer == 1
    assert isinstance(problem, Problem)
    assert (problem.kind, problem.status, problem.headers["Retry-After"]) == ("deadline", 503, "1")
    assert echo.batches == [1]


def test_the_end_waits_for_what_was_accepted() -> None:
    async def ask(worker: Worker) -> list[int]:
        worker.expect(50)
        asked = [asyncio.ensure_future(worker.ask(number_image(number), later())) for number in range(50)]
        await asyncio.sleep(0.01)
        await asyncio.get_running_loop().run_in_executor(None, worker.stop)
        with pytest.raises(Problem, match="about to end"):
            await worker.ask(number_image(99), later())
        return await asyncio.gather(*asked)

    worker = Worker(Echo(seconds=0.02), Limits(batch=8), Metrics())
    worker.start()
    assert awaited(ask(worker)) == list(range(50))


def test_a_view_that_fails_costs_the_picture_and_not_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    class NoView(Echo):
        def view(self, image: object, answer: int) -> int:
            raise ArithmeticError("Jane Doe")

    async def ask(worker: Worker) -> object:
        worker.expect(1)
        return await worker.ask(number_image(7), later(), wants_view=True)

    with working(NoView()) as worker:
        assert awaited(ask(worker)) == (7, None)
    said = capfd.readouterr().err
    assert said.startswith("A view failed: ArithmeticError in view, line ")
    assert "Jane" not in said


def test_what_can_wait_waits_until_nobody_has_asked_for_a_while() -> None:
    async def ask(worker: Worker, times: int) -> float:
        for number in range(times):
            worker.expect(1)
            await worker.ask(number_image(number), later())
            await asyncio.sleep(0.05)
        return time.monotonic()

    echo = Echo()
    echo.left_to_prepare = ["idle", "soon", "soon"]
    with working(echo, Limits(idle_seconds=0.6)) as worker:
        last = awaited(ask(worker, 20))  # longer than it has to be idle
        while len(echo.prepared) < 4 and time.monotonic() < last + 10:
            time.sleep(0.01)
    assert min(echo.prepared) - last > 0.4
    assert len(echo.prepared) == 4
    assert echo.left_to_prepare == []


def test_nothing_is_prepared_while_an_image_is_on_its_way() -> None:
    echo = Echo()
    echo.left_to_prepare = ["soon"] * 1000
    worker = Worker(echo, Limits(idle_seconds=0.0), Metrics())
    worker.expect(1)
    worker.start()
    time.sleep(0.1)
    assert echo.prepared == []
    worker.expect(-1)
    time.sleep(0.1)
    worker.stop()
    assert len(echo.prepared) > 1


def test_a_model_that_can_not_get_ready_is_told() -> None:
    class Broken(Echo):
        def warm_up(self) -> float:
            raise WeightsError("The weights are not those.")

    worker = Worker(Broken(), Limits(), Metrics())
    worker.start()
    with pytest.raises(WeightsError, match="not those"):
        worker.wait_until_warm()
    worker.stop()
    assert not worker.alive


def test_the_pace_follows_what_was_measured() -> None:
    pace = Pace()
    assert pace.seconds == 0
    pace.add(0.4, 4)
    assert pace.seconds == pytest.approx(0.1)
    for _ in range(30):
        pace.add(0.3)
    assert pace.seconds == pytest.approx(0.3, rel=0.01)
    assert pace.best == pytest.approx(0.1)
