"""Counts and times in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1.0, 2.0, 4.0, 8.0)


class Counter:
    """What only grows, by labels."""

    def __init__(self, name: str, said: str, labels: Sequence[str] = ()) -> None:
        self.name, self.said, self.labels = name, said, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        self._lock = threading.Lock()

    def add(self, *values: str, by: float = 1.0) -> None:
        """Count for these values of the labels, of which there must be few."""
        with self._lock:
            self._values[values] = self._values.get(values, 0.0) + by

    def lines(self) -> Iterator[str]:
        """What `Metrics.text` says of it."""
        yield from _head(self.name, self.said, "counter")
        with self._lock:
            counted = sorted(self._values.items())
        for values, number in counted:
            yield f"{self.name}{_labelled(self.labels, values)} {number:.17g}"


class Histogram:
    """How often something was at most so much."""

    def __init__(self, name: str, said: str, limits: Sequence[float]) -> None:
        self.name, self.said, self._limits = name, said, tuple(limits)
        self._counts, self._sum = [0] * (len(limits) + 1), 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Count one."""
        with self._lock:
            self._counts[bisect_left(self._limits, value)] += 1
            self._sum += value

    def lines(self) -> Iterator[str]:
        """What `Metrics.text` says of it."""
        yield from _head(self.name, self.said, "histogram")
        with self._lock:
            counts, total = list(self._counts), self._sum
        below = 0
        for limit, count in zip((*map("{:g}".format, self._limits), "+Inf"), counts, strict=True):
            below += count
            yield f'{self.name}_bucket{{le="{limit}"}} {below}'
        yield f"{self.name}_sum {total:.17g}"
        yield f"{self.name}_count {below}"


class Gauge:
    """What is measured when asked for."""

    def __init__(self, name: str, said: str, value: Callable[[], float]) -> None:
        self.name, self.said, self._value = name, said, value

    def lines(self) -> Iterator[str]:
        """What `Metrics.text` says of it."""
        yield from _head(self.name, self.said, "gauge")
        yield f"{self.name} {self._value():.17g}"


class Metrics:
    """All that is counted of a server."""

    def __init__(self) -> None:
        self.requests = Counter(
            "clearmargin_requests_total", "Requests that were answered.", ("route", "method", "status")
        )
        self.refused = Counter("clearmargin_refused_total", "Requests that were refused, by reason.", ("reason",))
        self.images = Counter("clearmargin_images_total", "Images that were answered.")
        self.abstained = Counter("clearmargin_abstained_total", "Answers that were withheld as too unsure.")
        self.unlike = Counter("clearmargin_unlike_total", "Images unlike those of the training part.")
        self.seconds = Histogram("clearmargin_request_seconds", "From the head of a request to its answer.", SECONDS)
        self.batches = Histogram("clearmargin_batch_images", "Images that passed the network together.", BATCHES)
        self.computing = Histogram("clearmargin_batch_seconds", "For which a batch was computed.", SECONDS)
        self._all: list[Counter | Histogram | Gauge] = [
            self.requests, self.refused, self.images, self.abstained, self.unlike, self.seconds, self.batches,
            self.computing,
        ]  # fmt: skip

    def measure(self, name: str, said: str, value: Callable[[], float]) -> None:
        """Add a gauge."""
        self._all.append(Gauge(name, said, value))

    def text(self) -> str:
        """Everything, for Prometheus."""
        return "".join(f"{line}\n" for one in self._all for line in one.lines())


def _head(name: str, said: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {said}"
    yield f"# TYPE {name} {kind}"


def _labelled(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
