"""What failed in the server, said to whoever runs it."""

from __future__ import annotations

import traceback

from clearmargin.console import say


def say_where(what: str, error: Exception) -> None:
    """Say what failed, and where: no message of the error, which may quote what was sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "nowhere"
    say(f"{what} failed: {type(error).__name__} in {where}.")
