"""What a run writes about itself as it goes: its log, how long each step took, and on what machine."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clearmargin.environment import describe_environment, peak_memory_bytes
from clearmargin.errors import DiskError
from clearmargin.files import write_json
from clearmargin.runs import read_json


@dataclass
class Journal:
    """``run.log`` and ``environment.json`` of a run folder; a resumed run adds to what the interrupted one wrote.

    Attributes
    ----------
    seconds
        That each step took.
    started
        Date and time of the first start.
    before
        Versions and hardware of those parts of the run that were done with others than now.
    """

    folder: Path
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    started: str = ""
    before: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Take over what an interrupted run wrote, and write the machine down; of another one, what it was."""
        stored = self.folder / "environment.json"
        earlier = read_json(stored) if stored.is_file() else {}
        self.started = earlier.get("started", _now())
        now = _environment()
        stored_environment = {key: earlier[key] for key in now if key in earlier}
        self.before = list(earlier.get("before", []))
        if stored_environment not in ({}, now):
            self.before.append(stored_environment)
        spent = Counter(earlier.get("seconds", {}))
        spent.update(self.seconds)  # a counter adds: work that is done again takes its time again
        self.seconds = dict(spent)
        self.save()

    def save(self, *, finished: bool = False) -> None:
        """Write ``environment.json``."""
        environment = {
            **_environment(),
            **({"before": self.before} if self.before else {}),
            "seed": self.seed,
            "started": self.started,
            "finished": _now() if finished else None,
            "seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()},
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(self.folder / "environment.json", environment)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time inside to that of a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    @contextmanager
    def keeping_warnings(self) -> Iterator[None]:
        """What the program warns of inside, on the terminal too, stands in ``run.log``."""
        handler = _IntoJournal(self)
        logger = logging.getLogger("clearmargin")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    def log(self, message: str) -> None:
        """Add a line to ``run.log``."""
        try:
            with (self.folder / "run.log").open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{_now()} {message}\n")
        except OSError as error:
            raise DiskError(f"Could not write run.log in {self.folder}: {error.strerror or error}.") from error


class _IntoJournal(logging.Handler):
    """Adds warnings to a run's log, and shows them, as Python does where nobody listens."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        message = "".join(character if character.isprintable() else "�" for character in record.getMessage())
        self._journal.log(f"warning: {message}")
        print(message, file=sys.stderr, flush=True)  # noqa: T201 (the console is a later room)


def _environment() -> dict[str, Any]:
    """Versions, hardware, and how many threads compute."""
    import torch

    return {**describe_environment(), "threads": torch.get_num_threads()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
