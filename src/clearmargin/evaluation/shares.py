"""Shares of some samples, with intervals that know that samples cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clearmargin.evaluation.intervals import share_figure


@dataclass(frozen=True)
class Shares:
    """Makes shares of test samples into figures; the settings of their intervals.

    Attributes
    ----------
    units
        Group of each sample as a number from 0, int64 of shape (samples,).
    clustered
        Whether any group holds more than one sample.
    confidence
        Of the intervals.
    """

    units: np.ndarray
    clustered: bool
    confidence: float

    def figure(self, true: np.ndarray, among: np.ndarray | None = None) -> dict[str, Any]:
        """The share of samples for which something is true, as `share_figure` gives it.

        Parameters
        ----------
        true
            bool of shape (samples,).
        among
            Of which samples: bool of shape (samples,); of all when None.
        """
        kept = np.ones(len(true), dtype=bool) if among is None else among
        return share_figure(true[kept], self.units[kept], self.confidence, self.clustered)
