"""Balanced accuracy and its differences: the checker and the evaluation on odd data, where branches are close."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from clearmargin import check
from clearmargin.evaluation.class_means import balanced_accuracy_figure, balanced_difference

LIMITS = ("value", "low", "high")


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_on_few_samples_of_few_groups_in_up_to_a_dozen_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for study in range(120):
        n_classes, n = int(rng.integers(1, 12)), int(rng.integers(2, 80))
        truth = rng.integers(0, n_classes, n)
        units = np.unique(rng.integers(0, rng.integers(1, n + 1), n), return_inverse=True)[1]
        units = np.arange(n) if study % 3 == 0 else units
        clustered = int(units.max()) + 1 < n
        right, other = rng.random(n) < rng.choice([0.5, 0.9, 1, 0]), rng.random(n) < 0.7
        part = SimpleNamespace(
            clustered=clustered,
            confidence=0.95,
            n_units=int(units.max()) + 1,
            first=SimpleNamespace(truth=truth, units=units),
        )
        ours = balanced_accuracy_figure(right, truth, units, 0.95, clustered)
        theirs = check.balanced(right, truth, units, part)
        assert [theirs[key] for key in LIMITS] == pytest.approx([ours[key] for key in LIMITS], abs=1e-9)
        figure, p = balanced_difference(right.astype(float) - other, truth, units, 0.95, clustered)
        again, p_again = check.balanced_apart(part, right, other)
        assert [again[key] for key in LIMITS] == pytest.approx([figure[key] for key in LIMITS], abs=1e-9)
        assert p_again == pytest.approx(p, abs=1e-9)
