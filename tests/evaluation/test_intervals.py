"""Intervals against statsmodels and the reference values of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from clearmargin.evaluation.intervals import (
    bootstrap_figure,
    bootstrap_method,
    clopper_pearson,
    percentile_interval,
    share_figure,
    wilson,
)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (3, 20), (81, 263), (263, 263), (9_990, 10_000)])
def test_intervals_of_a_share_equal_statsmodels(successes, n, confidence):
    for own, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        expected = proportion_confint(successes, n, alpha=1 - confidence, method=name)
        assert own(successes, n, confidence) == pytest.approx(expected, abs=1e-10), name


def test_reference_values():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert wilson(0, 20)[1] == pytest.approx(0.1611, abs=5e-5)
    assert clopper_pearson(0, 20)[1] == pytest.approx(0.1684, abs=5e-5)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_limits_never_leave_the_unit_interval(interval):
    for n in (1, 3, 17, 1000):
        assert interval(0, n)[0] == 0
        assert interval(n, n)[1] == 1
    assert np.isnan(interval(0, 0)).all()


def test_percentiles_leave_undefined_resamples_out():
    resampled = np.concatenate([np.arange(101.0), [np.nan] * 50])
    assert percentile_interval(resampled) == pytest.approx((2.5, 97.5))
    assert np.isnan(percentile_interval(np.array([np.nan, np.nan]))).all()


def test_method_warns_below_35_groups():
    assert bootstrap_method(35, True) == "bootstrap over groups"
    assert bootstrap_method(35, False) == "bootstrap"
    assert bootstrap_method(34, True) == "bootstrap over 34 groups (fewer than 35: the interval is too narrow)"
    assert "34 samples" in bootstrap_method(34, False)


def test_a_figure_tells_what_was_left_out():
    figure = bootstrap_figure(0.5, np.array([0.1, 0.5, 0.9, np.nan]), 0.5, 40, False)
    assert figure["method"] == "bootstrap; 25.0% of the resamples left out, undefined there"
    assert (figure["low"], figure["high"]) == pytest.approx((0.3, 0.7))


def test_no_spread_gives_no_interval():
    figure = bootstrap_figure(1.0, np.ones(100), 0.95, 40, False)
    assert figure == {
        "value": 1.0,
        "low": None,
        "high": None,
        "method": "no interval: the resamples show no spread",
    }


def test_an_undefined_figure_is_none():
    figure = bootstrap_figure(float("nan"), np.full(100, np.nan), 0.95, 40, False)
    assert (figure["value"], figure["low"], figure["high"]) == (None, None, None)
    nobody = share_figure(np.empty(0, bool), np.empty(0, int), np.full(100, np.nan), 0.95, True)
    assert (nobody["value"], nobody["low"], nobody["high"]) == (None, None, None)


def test_a_share_of_clustered_samples_that_are_all_right_keeps_a_width():
    right, units = np.ones(40, dtype=bool), np.repeat(np.arange(8), 5)
    figure = share_figure(right, units, np.ones(100), 0.95, clustered=True)
    assert (figure["low"], figure["high"]) == clopper_pearson(8, 8)
    assert figure["method"] == "Clopper-Pearson over 8 groups"
    figure = share_figure(~right, units, np.zeros(100), 0.95, clustered=True)
    assert (figure["low"], figure["high"]) == clopper_pearson(0, 8)
    figure = share_figure(right, units, np.ones(100), 0.95, clustered=False)
    assert (figure["low"], figure["high"]) == wilson(40, 40)
    assert figure["method"] == "Wilson score"
