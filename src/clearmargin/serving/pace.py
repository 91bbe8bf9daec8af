"""How long one of something takes just now."""

from __future__ import annotations

_WEIGHT = 0.2  # of what was measured last


class Pace:
    """Seconds that one takes; 0 until it was measured.

    Attributes
    ----------
    seconds
        A moving average.
    best
        The least that was measured.
    """

    def __init__(self) -> None:
        self.seconds = self.best = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """So many together took so long."""
        each = seconds / count
        self.best = each if self.seconds == 0 else min(self.best, each)
        self.seconds = each if self.seconds == 0 else self.seconds + _WEIGHT * (each - self.seconds)
