"""Accuracies and their differences, with intervals of one bootstrap over the groups, drawn in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearmargin.evaluation.bootstrap import chunks, draw_weights
from clearmargin.evaluation.intervals import FEW_GROUPS, bootstrap_figure, paired_figure, share_figure
from clearmargin.leakage.images import Images

Name = tuple[str, str]


@dataclass(frozen=True)
class Tests:
    """Right answers, and tests, of each image: float64 (images,); of a difference, what was gained."""

    right: np.ndarray
    among: np.ndarray


class Bootstrap:
    """Every figure on the same resamples of the groups.

    Parameters
    ----------
    tests
        By name, all that figures are asked of.
    """

    def __init__(
        self, images: Images, tests: Mapping[Name, Tests], *, resamples: int, confidence: float, seed: int
    ) -> None:
        self._images, self._tests, self._confidence = images, tests, confidence
        cells = {name: _cells(images, each) for name, each in tests.items()}
        self._points = {name: scores(each.sum(axis=0, keepdims=True)) for name, each in cells.items()}
        rng = np.random.default_rng([seed, 1])
        parts: dict[Name, list[dict[str, np.ndarray]]] = {name: [] for name in tests}
        for size in chunks(resamples, images.n_units):
            weights = draw_weights(rng, size, images.n_units)
            for name, each in cells.items():
                summed = weights @ each.reshape(images.n_units, -1)
                parts[name].append(scores(summed.reshape(size, 2, -1)))
        self._spread = {
            name: {metric: np.concatenate([part[metric] for part in of_name]) for metric in of_name[0]}
            for name, of_name in parts.items()
        }

    def figure(self, name: Name, metric: str = "accuracy") -> dict[str, Any]:
        """A figure with its interval, ready for JSON."""
        there = self._tests[name].among > 0
        n_units = len(np.unique(self._images.units[there]))
        point = float(self._points[name][metric][0])
        settings = self._confidence, n_units, n_units < int(there.sum())
        return self._warned(bootstrap_figure(point, self._spread[name][metric], *settings))

    def share(self, name: Name) -> dict[str, Any]:
        """The accuracy of tests that were made once each, with its interval (over groups where images cluster)."""
        there = self._tests[name].among > 0
        units = self._images.units[there]
        clustered = len(np.unique(units)) < len(units)
        right = self._tests[name].right[there] == 1
        return share_figure(right, units, self._confidence, clustered)

    def difference(self, name: Name) -> dict[str, Any]:
        """What was gained on the mean of all images, with its paired interval."""
        settings = self._confidence, self._images.n_units, self._images.clustered
        point = float(self._points[name]["accuracy"][0])
        return self._warned(paired_figure(point, self._spread[name]["accuracy"], *settings))

    def _warned(self, figure: dict[str, Any]) -> dict[str, Any]:
        effective = self._images.effective_units
        if effective >= FEW_GROUPS or self._images.n_units < FEW_GROUPS or figure["low"] is None:
            return figure
        warning = f"unequal groups, that count as {effective:.0f}: the interval is too narrow"
        return {**figure, "method": f"{figure['method']} ({warning})"}


def _cells(images: Images, tests: Tests) -> np.ndarray:
    """Right answers and tests of each group in each class, float64 (groups, 2, classes)."""
    shape = images.n_units, len(images.classes)
    cell = images.units * shape[1] + images.truth
    sums = [
        np.bincount(cell, each, minlength=shape[0] * shape[1]).reshape(shape) for each in (tests.right, tests.among)
    ]
    return np.stack(sums, axis=1)


def scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy and balanced accuracy, float64 (weightings,); NaN without tests.

    Parameters
    ----------
    sums
        Right answers and tests of each class, float64 (weightings, 2, classes); a class without tests is left out.
    """
    rights, tests = sums[:, 0], sums[:, 1]
    recalls = np.divide(rights, tests, out=np.zeros_like(rights), where=tests > 0)
    there = (tests > 0).sum(axis=1)
    nothing = np.full(len(sums), np.nan)
    return {
        "accuracy": np.divide(rights.sum(axis=1), tests.sum(axis=1), out=nothing.copy(), where=there > 0),
        "balanced_accuracy": np.divide(recalls.sum(axis=1), there, out=nothing, where=there > 0),
    }
