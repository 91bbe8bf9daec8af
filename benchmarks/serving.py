"""The server against a bare loop over the same network, in one run: throughput, latency, load, mix-ups, floods.

    export GOMP_SPINCOUNT=1000
    python benchmarks/serving.py RUN --contender vgg16 [--images FOLDER] [--minutes 3] [--only throughput latency …]

With the first line the bare loop waits as the server does: not busily, which matters where others need the processors.
Images are those of a folder, or the run's training images where this machine has their pixels. The client shares the
processors with the server. `schema` makes requests from the OpenAPI document, 500 for each operation.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clearmargin.image_listing import images
from clearmargin.models.inputs import to_input
from clearmargin.records import Preprocessing
from clearmargin.runs import open_run, read_json
from clearmargin.trained import TrainedContender
from clearmargin.training.loop import computing_in
from clearmargin.training.memory import reuse_freed_memory
from interleaved import busy_processors, spread
from serving_client import (
    Asked,
    ask,
    crumbs,
    dribble,
    endless,
    get_json,
    health_seconds,
    png,
    request_of,
    resident_bytes,
    served,
)

CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64)
MOST_IMAGES = 500
KNOWN = 10_000
SMALLEST = 1e-12  # of a probability, before its logarithm is taken


class Subject:
    """A model, images with their requests, and the bare loop over its network."""

    def __init__(self, run: Path, contender: str, folder: Path | None) -> None:
        self.run, self.model = run, open_run(run).contender(contender)
        contents = [image.read() for image in images([folder])] if folder else _training_images(run, self.model)
        self.requests = [request_of(content) for content in contents[:MOST_IMAGES]]
        self.pixels = [self.model.prepare(content, "image") for content in contents[:MOST_IMAGES]]
        self.by_batch, self._noise = 0.0, 0.0
        said = self.model.description
        self.precision = getattr(torch, said["training"]["precision"])
        self.statistics = tuple(said["preprocessing"]["mean"]), tuple(said["preprocessing"]["std"])

    @cached_property
    def expected(self) -> np.ndarray:
        """The answer to each image alone, float64 (images, classes); with it, what sharing a pass changes."""
        alone = np.concatenate([self.model.probabilities([pixels]) for pixels in self.pixels])
        together = self.model.probabilities(self.pixels)
        self.by_batch = float(np.abs(alone - together).max())
        self._noise = 2 * float(np.abs(_logarithms(alone) - _logarithms(together)).max())
        return alone

    def bare(self, seconds: float, batch: int = 8) -> float:
        """Images a second through the network alone, already decoded, in full batches."""
        began, done = time.perf_counter(), 0
        for start in itertools.cycle(range(0, max(1, len(self.pixels) - batch), batch)):
            with torch.inference_mode(), computing_in(self.precision):
                self.model.network(to_input(np.stack(self.pixels[start : start + batch]), *self.statistics))
            done += len(self.pixels[start : start + batch])
            if time.perf_counter() - began > seconds:
                return done / (time.perf_counter() - began)
        raise AssertionError

    def order(self, count: int | None = None) -> itertools.chain[int] | list[int]:
        """Which image is asked for when: all of them, over and over."""
        once = list(range(len(self.requests)))
        if count is None:
            return itertools.chain.from_iterable(itertools.repeat(once))
        return list(itertools.islice(itertools.cycle(once), count))

    def mixed_up(self, found: Asked) -> tuple[int, float]:
        """Answers that are those of another image, and the largest deviation from the answer to an image alone.

        An answer is another's when it is closer to that than to its own, and farther from its own than sharing a pass
        explains; both by the largest difference of the logarithms of the probabilities.
        """
        logs, wrong, largest = _logarithms(self.expected), 0, 0.0
        for number, said in found.answers:
            off = np.abs(logs - _logarithms(np.array(said))).max(axis=1)
            wrong += off[number] > self._noise and off.min() < off[number]
            largest = max(largest, float(np.abs(self.expected[number] - said).max()))
        return wrong, largest

    @property
    def told_apart(self) -> float:
        """Share of the images that would be noticed in the place of any other."""
        logs = _logarithms(self.expected)
        apart = np.abs(logs[:, None] - logs[None]).max(axis=2)
        np.fill_diagonal(apart, np.inf)
        return float((apart.min(axis=1) > 2 * self._noise).mean())


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, SMALLEST))


def _training_images(run: Path, model: TrainedContender) -> list[bytes]:
    from clearmargin.pixels import stored_pixels

    assert isinstance(model.preprocessing, Preprocessing)
    stored = stored_pixels(read_json(run / "training_summary.json")["pixels_key"], model.preprocessing)
    if stored is None:
        raise SystemExit("The training images are not in the cache of this machine: give --images FOLDER.")
    rows = stored[1].read(np.arange(min(MOST_IMAGES, len(stored[0]))))
    return [png(row) for row in rows]


def throughput(subject: Subject, port: int, _process: int, _minutes: float) -> None:
    """Images a second at each concurrency, in turns with the bare loop."""
    subject.bare(1)  # it reads the weights
    print("\n| at once | served, images/s | share of the bare loop beside it |\n|---|---|---|")
    for concurrency in CONCURRENCIES:
        rates, shares = [], []
        for _ in range(3):
            bare = subject.bare(4)
            began = time.perf_counter()
            found = asyncio.run(ask(port, subject.requests, subject.order(), concurrency, began + 4))  # type: ignore[arg-type]
            rates.append(len(found.answers) / (time.perf_counter() - began))
            shares.append(rates[-1] / bare)
        print(f"| {concurrency} | {spread(rates, '.1f')} | {spread(shares, '.0%')} |", flush=True)


def latency(subject: Subject, port: int, _process: int, _minutes: float) -> None:
    """What a request takes beyond the network, one at a time."""
    served_ms, bare_ms = [], []
    for number in range(100):
        place = number % len(subject.pixels)
        began = time.perf_counter()
        subject.model.judged([subject.pixels[place]])
        bare_ms.append(1000 * (time.perf_counter() - began))
        found = asyncio.run(ask(port, subject.requests, [place, place], 1, float("inf")))
        served_ms.append(1000 * found.seconds[1])  # the first opens the connection
    bare, whole = statistics.median(bare_ms), statistics.median(served_ms)
    print(
        f"\nOne request: {whole:.1f} ms, of them {bare:.1f} ms network and gate without a server: "
        f"{whole - bare:.1f} ms added (medians)."
    )
    with served(subject.run, subject.model.name, wait=False) as (other, _):
        began, first_ms = get_json(other, "/v1/model")["training_images"], []
        for place in range(12):
            time.sleep(2.1)  # it looks at training images when nobody has asked for two seconds
            found = asyncio.run(ask(other, subject.requests, [place % len(subject.pixels)], 1, float("inf")))
            first_ms.append(1000 * found.seconds[0])
        ended = get_json(other, "/v1/model")["training_images"]
    print(
        f"The same while training images are looked at ({began} at first, {ended} at last), connection included: "
        f"median {statistics.median(first_ms):.1f} ms, longest {max(first_ms):.1f} ms."
    )


def load(subject: Subject, port: int, process: int, minutes: float) -> None:
    """Memory, lost requests and mix-ups while 16 ask all the time."""
    memory, ending = [], threading.Event()

    def watch() -> None:
        while not ending.wait(2):
            memory.append(resident_bytes(process))

    asyncio.run(ask(port, subject.requests, subject.order(), 16, time.perf_counter() + 20))  # type: ignore[arg-type]
    watcher = threading.Thread(target=watch)
    watcher.start()
    found = asyncio.run(ask(port, subject.requests, subject.order(), 16, time.perf_counter() + 60 * minutes))  # type: ignore[arg-type]
    ending.set()
    watcher.join()
    tenth = max(1, len(memory) // 10)
    first, last = statistics.mean(memory[:tenth]), statistics.mean(memory[-tenth:])
    wrong, _ = subject.mixed_up(found)
    print(
        f"\nLoad of {minutes:g} minutes: {len(found.seconds):,} requests, statuses {found.statuses}, "
        f"{found.lost} lost, {wrong} mixed up; memory {first / 1e6:.0f} MB in the first tenth, {last / 1e6:.0f} MB "
        f"in the last: {last / first - 1:+.1%}."
    )


def known(subject: Subject, port: int, _process: int, _minutes: float) -> None:
    """Whether each of many known images gets its own answer."""
    found = asyncio.run(ask(port, subject.requests, subject.order(KNOWN), 32, float("inf")))  # type: ignore[arg-type]
    wrong, largest = subject.mixed_up(found)
    print(
        f"\n{len(found.answers):,} known images ({len(subject.requests)} different ones, of which "
        f"{subject.told_apart:.0%} would be noticed in the place of any other): {wrong} mixed up, {found.lost} lost; "
        f"the largest deviation from the image alone is {largest:.2g} (in full batches without a server: "
        f"{subject.by_batch:.2g})."
    )


def floods(subject: Subject, port: int, _process: int, _minutes: float) -> None:
    """How long /health takes meanwhile."""

    def beside(what: str, *workers: Callable[[list[bool]], None]) -> None:
        ending: list[bool] = []
        threads = [threading.Thread(target=worker, args=(ending,)) for worker in workers]
        for thread in threads:
            thread.start()
        time.sleep(1)
        taken = sorted(asyncio.run(health_seconds(port, 15)))
        ending.append(True)
        for thread in threads:
            thread.join()
        at = taken[int(0.99 * (len(taken) - 1))]
        print(f"| {what} | {1000 * statistics.median(taken):.1f} ms | {1000 * at:.1f} ms | {len(taken)} |", flush=True)

    def predictions(_ending: list[bool]) -> None:
        asyncio.run(ask(port, subject.requests, subject.order(), 64, time.perf_counter() + 17))  # type: ignore[arg-type]

    print("\n| meanwhile | /health, median | 99th percentile | asked |\n|---|---|---|---|")
    beside("nothing")
    beside("200 connections that dribble", lambda ending: dribble(port, 200, ending))
    beside("4 bodies without an end", *[lambda ending: endless(port, ending)] * 4)
    beside("4 bodies in chunks of one byte", *[lambda ending: crumbs(port, ending)] * 4)
    beside("64 ask for predictions at once", predictions)


def schema(_subject: Subject, port: int, _process: int, _minutes: float) -> None:
    """Requests made from the OpenAPI document: for each operation 500 that fit it, and 500 that do not.

    Those without inputs have one that fits and none that does not: they get 500 with queries they did not ask for.
    """
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from hypothesis.errors import Unsatisfiable
    from schemathesis import GenerationMode, checks

    document = get_json(port, "/openapi.json")
    wanted = [checks.not_a_server_error, checks.status_code_conformance, checks.response_schema_conformance]

    def examine(path: str, method: str, mode: GenerationMode, queries: Any) -> Counter[int]:
        operation, statuses = schemathesis.openapi.from_dict(document)[path][method], Counter[int]()

        @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode), query=queries)
        def each(case: Any, query: dict[str, str]) -> None:
            response = case.call(base_url=f"http://127.0.0.1:{port}", **({"params": query} if query else {}))
            statuses[response.status_code] += 1
            case.validate_response(response, checks=wanted)

        with suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):  # there may be no wrong request
            each()
        return statuses

    none, any_query = st.just({}), st.dictionaries(st.text(), st.text())

    for path, methods in document["paths"].items():
        for method in methods:
            for what, mode, queries in (
                ("as it says", GenerationMode.POSITIVE, none),
                ("otherwise", GenerationMode.NEGATIVE, none),
                ("with any query", GenerationMode.POSITIVE, any_query),
            ):
                statuses = dict(examine(path, method.upper(), mode, queries))
                print(f"{method.upper()} {path}, {what}: statuses {statuses}", flush=True)


PARTS = {"throughput": throughput, "latency": latency, "load": load, "known": known, "floods": floods, "schema": schema}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    asked = parser.parse_args()
    print(f"{busy_processors():.2f} processors were busy before.")
    reuse_freed_memory()  # as the server does
    subject = Subject(asked.run, asked.contender, asked.images)
    print(f"'{subject.model.name}', {len(subject.requests)} images")
    with served(asked.run, asked.contender) as (port, process):
        for name in asked.only:
            PARTS[name](subject, port, process, asked.minutes)


if __name__ == "__main__":
    main()
