"""What people see: results on stdout, notices and progress (a bar on a terminal, plain lines elsewhere) on stderr."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from clearmargin.interruption import Stopped, stoppable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from clearmargin.records import Progress

SECONDS_BETWEEN_LINES = 10.0


class ConsoleProgress:
    """Called with (what, done, in all, note) as the work goes on; shows it with the time that is left."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._what, self._printed = "", 0.0
        self._first, self._last = (0, 0.0), (0, 0.0)  # what was done when: at the start, and when it last grew
        self._bar = _bar() if self._terminal else None
        self._task: TaskID | None = None

    def __enter__(self) -> ConsoleProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int, note: str) -> None:
        if self._bar is not None:
            self._show_bar(self._bar, what, done, total, note)
        else:
            self._show_line(what, done, total, note)

    def _show_bar(self, bar: Bar, what: str, done: int, total: int, note: str) -> None:
        if what != self._what or self._task is None:
            self._what = what
            self._task = bar.add_task(what, total=total or None, note=note)
        bar.update(self._task, completed=done, total=total or None, note=note)

    def _show_line(self, what: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        first, last = what != self._what or done < self._last[0], bool(total) and done >= total
        if first:
            self._what, self._first, self._last = what, (done, now), (done, now)
        elif done > self._last[0]:
            self._last = (done, now)
        if not (first or last or now - self._printed >= SECONDS_BETWEEN_LINES):
            return
        self._printed = now
        amount = f" {done}/{total}" if total else ""
        left = "" if last or not total else self._left(total, now)
        words = f", {note}" if note else ""
        print(f"{what}{amount}{words}{left}", file=sys.stderr, flush=True)  # noqa: T201 (this is where we speak)

    def _left(self, total: int, now: float) -> str:
        """How long the rest takes at the pace since the start; what an interrupted run had done counts for none."""
        (before, started), (done, grew) = self._first, self._last
        passed = grew - started
        if done == before or passed < 1:
            return ""
        left = passed * (total - done) / (done - before) - (now - grew)
        return f", {_duration(left)} left" if left > 0 else ""


def shown_progress(progress: Progress | None) -> AbstractContextManager[Progress]:
    """What is told of the work: by whoever asked, else on stderr."""
    return ConsoleProgress() if progress is None else nullcontext(progress)


@contextmanager
def stopping(notice: str, *further: str) -> Iterator[None]:
    """Work that Ctrl-C and SIGTERM may end: with status 130 or 143, having said what is kept and how to go on.

    Parameters
    ----------
    further
        Words that the command needs to go on, beside those it was given.
    """
    with stoppable():
        try:
            yield
        except KeyboardInterrupt as stopped:
            say(f"Stopped. {notice} Go on with:\n  {_command(further)}")
            sys.exit(stopped.exit_status if isinstance(stopped, Stopped) else 130)


RUN_KEPT = "What is done is kept."
STEPS_KEPT = "The steps that were done (decoded images, features) are kept."


def _command(further: tuple[str, ...]) -> str:
    """The same command, as a shell takes it."""
    program = Path(sys.argv[0])
    called = ["python", "-m", "clearmargin"] if program.name == "__main__.py" else [program.name]
    words = [*sys.argv[1:], *(word for word in further if word not in sys.argv[1:])]
    return shlex.join([*called, *words])


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=Console(stderr=True),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def plain(text: object) -> str:
    """Text that a terminal shows and does not obey: no markup, no control characters."""
    from rich.markup import escape

    return escape("".join(character if character.isprintable() else "�" for character in str(text)))


def print_table(table: Any) -> None:
    """Print a rich table on stdout, wide where nobody's terminal sets the width."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)  # a file or pipe has no edge to wrap at
    console.print(table)


def print_json(content: Any) -> None:
    """Print JSON on stdout; all that is no ASCII is escaped where stdout can't say some of it.

    The name of a file may hold what is no Unicode.
    """
    text = json.dumps(content, ensure_ascii=False, indent=1)
    print(text if _said(text) == text else json.dumps(content, indent=1), flush=True)  # noqa: T201


def print_text(text: str) -> None:
    """Print a result on stdout as it is, but for letters that stdout can't say, which are escaped."""
    print(_said(text), end="", flush=True)  # noqa: T201


def _said(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def visible(text: str) -> str:
    """Text as a terminal shows it: names in it may hold control characters, which become �."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def say(message: str) -> None:
    """A notice on stderr, control characters made visible."""
    print(visible(message), file=sys.stderr, flush=True)  # noqa: T201 (this is where we speak)
