from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clearmargin.records import Predictions


@pytest.fixture
def predictions_of() -> Callable[..., Predictions]:
    """Predictions from positions of classes; names and groups are made up unless given."""

    def make(truth, probabilities, groups=None, classes=None) -> Predictions:
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if classes is None:
            classes = tuple(f"class {k}" for k in range(probabilities.shape[1]))
        rows = range(len(truth))
        return Predictions(
            names=np.array([f"images/{i}.png" for i in rows], dtype=object),
            labels=np.array([classes[k] for k in truth], dtype=object),
            groups=np.array([f"group {i}" for i in (rows if groups is None else groups)], dtype=object),
            classes=classes,
            probabilities=probabilities,
        )

    return make


@pytest.fixture
def simulate() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Random truth and probabilities; a larger ``skill`` is right more often, ``decimals`` makes ties."""

    def make(rng, n, n_classes, skill=1.0, decimals=None, truth=None) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.integers(0, n_classes, n) if truth is None else truth
        scores = rng.normal(size=(n, n_classes))
        scores[np.arange(n), truth] += skill
        if decimals is not None:
            scores = scores.round(decimals)
        odds = np.exp(scores)
        return truth, odds / odds.sum(axis=1, keepdims=True)

    return make
