"""Shares of some samples, with intervals that know that samples cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clearmargin.evaluation.bootstrap import chunks, draw_weights
from clearmargin.evaluation.intervals import share_figure
from clearmargin.evaluation.metrics import ratio


@dataclass(frozen=True)
class Shares:
    """Makes shares of test samples into figures; the settings of their intervals.

    Attributes
    ----------
    units
        Group of each sample as a number from 0, int64 of shape (samples,).
    clustered
        Whether any group holds more than one sample.
    confidence, resamples, seed
        Of the intervals; of the bootstrap over groups, when samples cluster.
    """

    units: np.ndarray
    clustered: bool
    confidence: float
    resamples: int
    seed: int

    def figure(self, true: np.ndarray, among: np.ndarray | None = None) -> dict[str, Any]:
        """The share of samples for which something is true, as `share_figure` gives it.

        Parameters
        ----------
        true
            bool of shape (samples,).
        among
            Of which samples: bool of shape (samples,); of all when None. Groups are drawn as they are in all samples.
        """
        kept = np.ones(len(true), dtype=bool) if among is None else among
        drawn = self._resampled(true, kept) if self.clustered else np.empty(0)
        return share_figure(true[kept], self.units[kept], drawn, self.confidence, self.clustered)

    def _resampled(self, true: np.ndarray, kept: np.ndarray) -> np.ndarray:
        n_units = int(self.units.max()) + 1
        sizes = np.bincount(self.units[kept], minlength=n_units)
        hits = np.bincount(self.units[kept], weights=true[kept], minlength=n_units)
        rng = np.random.default_rng([self.seed, 1])
        drawn = (draw_weights(rng, size, n_units) for size in chunks(self.resamples, n_units))
        return np.concatenate([ratio(weights @ hits, weights @ sizes) for weights in drawn])
