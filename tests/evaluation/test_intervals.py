"""Intervals against statsmodels and the reference values of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from clearmargin.evaluation.intervals import (
    bootstrap_figure,
    bootstrap_method,
    clopper_pearson,
    percentile_interval,
    share_design_effect,
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
    nobody = share_figure(np.empty(0, bool), np.empty(0, int), 0.95, True)
    assert (nobody["value"], nobody["low"], nobody["high"]) == (None, None, None)


def test_a_share_of_clustered_samples_that_are_all_right_keeps_a_width():
    right, units = np.ones(40, dtype=bool), np.repeat(np.arange(8), 5)
    figure = share_figure(right, units, 0.95, clustered=True)
    assert (figure["low"], figure["high"]) == clopper_pearson(8, 8)
    assert figure["method"] == "Clopper-Pearson over 8 groups"
    figure = share_figure(~right, units, 0.95, clustered=True)
    assert (figure["low"], figure["high"]) == clopper_pearson(0, 8)
    figure = share_figure(right, units, 0.95, clustered=False)
    assert (figure["low"], figure["high"]) == wilson(40, 40)
    assert figure["method"] == "Wilson score"


def test_groups_of_different_sizes_that_are_all_right_tell_less_than_their_number():
    units = np.repeat(np.arange(5), [20, 2, 2, 2, 2])
    figure = share_figure(np.ones(28, dtype=bool), units, 0.95, clustered=True)
    assert figure["low"] == pytest.approx(0.025 ** (1 / (28**2 / 416)))
    assert figure["method"] == "Clopper-Pearson over 5 groups (worth 1.9 of one size)"


def test_the_design_effect_of_groups_that_agree_is_their_size():
    right = np.arange(400) % 10 > 1
    assert share_design_effect(np.repeat(right, 7), np.repeat(np.arange(400), 7)) == pytest.approx(7, rel=0.01)
    assert share_design_effect(right, np.arange(400)) == pytest.approx(1, rel=0.01)
    assert share_design_effect(right, np.arange(400) % 40 // 2 + np.arange(400) // 40 * 20) >= 1


def test_the_design_effect_is_the_jackknifes():
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(12), rng.integers(1, 9, 12))
    right = rng.random(len(units)) < 0.7
    without = np.array([right[units != group].mean() for group in range(12)])
    variance = ((without - right.mean()) ** 2).sum() * 11 / 12
    spread = right.mean() * (1 - right.mean())
    effective = len(units) ** 2 / (np.bincount(units) ** 2).sum()
    raised = max(variance, min(variance + 0.05 / (effective + 1) ** 2, spread / effective))
    assert share_design_effect(right, units) == pytest.approx(max(1, raised * len(units) / spread))


def test_groups_that_happen_to_be_alike_are_not_taken_for_certain():
    """Nine of ten right in each of six groups: their shares show no spread at all."""
    right, units = np.arange(300) % 10 > 0, np.repeat(np.arange(6), 50)
    assert share_design_effect(right, units) == pytest.approx(300 * 0.05 / 49 / 0.09)


def test_over_many_independent_samples_it_is_clopper_and_pearsons():
    right = np.arange(5000) % 10 > 0
    figure = share_figure(right, np.arange(5000), 0.95, clustered=True)
    assert (figure["low"], figure["high"]) == pytest.approx(clopper_pearson(4500, 5000), abs=1e-4)


@pytest.mark.parametrize("kind", [[3], [4, 4], [1, 1, 1], [1, 500], [1, 30, 2]])
def test_limits_of_odd_groups_enclose_the_value(kind):
    units = np.repeat(np.arange(len(kind)) * 5, kind)  # numbered with gaps, as a part of a part is
    for right in (units >= 5, units < 5, np.arange(len(units)) == 0, np.arange(len(units)) > 0):
        figure = share_figure(right, units, 0.95, clustered=True)
        if figure["low"] is not None:
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        else:
            assert figure["method"] == "no interval: a single group"
            assert len(kind) == 1


@pytest.mark.parametrize(
    ("sizes", "share", "least"),
    [
        ([6] * 11, 0.9, 0.935),
        ([10] * 20, 0.97, 0.935),
        ([10] * 40, 0.97, 0.935),
        ([2] * 4 + [1] * 32, 0.95, 0.935),
        ([50] * 3 + [2] * 20, 0.9, 0.935),
        ([50] * 6, 0.9, 0.935),
        ([10] * 100, 0.98, 0.935),
    ],
)
def test_intervals_of_shares_over_groups_cover(sizes, share, least):
    """Also near 1, with few groups and with unequal ones, where the percentile bootstrap covers 80 to 89 %."""
    rng = np.random.default_rng(0)
    units, studies, held = np.repeat(np.arange(len(sizes)), sizes), 600, 0
    for _ in range(studies):
        ease = (rng.normal(size=len(sizes))[units] + rng.normal(size=len(units))) / np.sqrt(2)
        figure = share_figure(stats.norm.cdf(ease) < share, units, 0.95, clustered=True)
        held += figure["low"] <= share <= figure["high"]
    assert held / studies > least
