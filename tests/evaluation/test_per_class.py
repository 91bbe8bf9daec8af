"""Predictive values at a stated prevalence: their limits hold, and are None where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clearmargin.evaluation.intervals import share_figure
from clearmargin.evaluation.metrics import at_prevalence
from clearmargin.evaluation.per_class import predictive_values


def _figures(rights, units=None):
    return [
        share_figure(right, np.arange(right.size) if units is None else units[: right.size], 0.975, units is not None)
        for right in rights
    ]


@pytest.mark.parametrize(("prevalence", "n"), [(0.01, (60, 200)), (0.4, (40, 40))])
@pytest.mark.parametrize("clustered", [False, True])
def test_limits_of_predictive_values_hold_the_truth(prevalence, n, clustered):
    """Of samples alone, and of 20 groups that are easy or hard in both classes at once."""
    rng = np.random.default_rng(0)
    studies, held, shares = 400, np.zeros(2), (0.9, 0.8)
    spread = 1.0 if clustered else 0.0
    units = np.arange(200) % 20 if clustered else None
    truth = at_prevalence(*shares, prevalence)
    for _ in range(studies):
        ease = spread * rng.normal(size=20)
        rights = [
            (ease[np.arange(size) % 20] + rng.normal(size=size)) / np.hypot(1, spread) < stats.norm.ppf(share)
            for size, share in zip(n, shares, strict=True)
        ]
        found = predictive_values(*_figures(rights, units), prevalence)
        for place, name in enumerate(("ppv", "npv")):
            low, value, high = (found[f"{name}_at_prevalence{end}"] for end in ("_low", "", "_high"))
            assert low <= value <= high
            held[place] += low <= truth[place] <= high
    assert (held / studies >= 0.94).all()


def test_nothing_is_known_without_a_prevalence_or_a_class():
    some, none = np.arange(10) > 2, np.empty(0, dtype=bool)
    assert set(predictive_values(*_figures([some, some]), None).values()) == {None}
    assert set(predictive_values(*_figures([none, some]), 0.1).values()) == {None}
    nothing_called = predictive_values(*_figures([np.zeros(10, dtype=bool), np.ones(10, dtype=bool)]), 0.1)
    assert nothing_called["ppv_at_prevalence"] is nothing_called["ppv_at_prevalence_low"] is None
    assert nothing_called["ppv_at_prevalence_high"] is None
    assert nothing_called["npv_at_prevalence"] == 0.9
    single = predictive_values(*_figures([some, some], np.zeros(10, dtype=int)), 0.1)
    assert single["ppv_at_prevalence"] > 0
    assert single["ppv_at_prevalence_low"] is single["npv_at_prevalence_high"] is None
