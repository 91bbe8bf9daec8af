"""Balanced accuracy and differences of it: SciPy's tests where they apply, and coverage with a rare class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clearmargin.evaluation.class_means import balanced_accuracy_figure, balanced_difference, class_spread
from clearmargin.evaluation.intervals import share_figure


def _alone(truth):
    return np.arange(len(truth))


def test_one_class_of_scattered_answers_is_the_paired_t_test():
    apart = np.array([1.0, -1, 1, 1, 0, 1])
    truth = np.zeros(6, dtype=int)
    figure, p = balanced_difference(apart, truth, _alone(truth), 0.95, clustered=False)
    expected = stats.ttest_1samp(apart, 0)
    assert p == pytest.approx(expected.pvalue)
    assert (figure["low"], min(1.0, expected.confidence_interval(0.95).high)) == pytest.approx(
        (expected.confidence_interval(0.95).low, figure["high"])
    )


def test_two_classes_of_scattered_answers_are_welchs_test():
    one, other = np.array([1.0, -1, 1, 1, -1]), np.array([1.0, 1, -1, -1, 1, 1, -1])
    truth = np.repeat([0, 1], [5, 7])
    _, p = balanced_difference(np.concatenate([one, other]), truth, _alone(truth), 0.95, clustered=False)
    # The mean of both is 0 where the mean of the one is minus the mean of the other.
    assert p == pytest.approx(stats.ttest_ind(one, -other, equal_var=False).pvalue)


def test_answers_that_seldom_differ_have_agresti_and_mins_variance():
    apart = np.repeat([1.0, 0.0], [3, 97])
    truth = np.zeros(100, dtype=int)
    figure, _ = balanced_difference(apart, truth, _alone(truth), 0.9, clustered=False)
    b, c, n = 3.5, 0.5, 102
    error = np.sqrt((b + c) / n**2 - (b - c) ** 2 / n**3)
    reach = (figure["high"] - figure["low"]) / 2 / stats.t.isf(0.05, 99)
    assert reach == pytest.approx(error, rel=0.005)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_repeating_every_sample_in_its_group_changes_nothing(times, seed):
    rng = np.random.default_rng(seed)
    truth, units = rng.integers(0, 3, 40), rng.integers(0, 12, 40)
    units = np.unique(units, return_inverse=True)[1]
    apart = rng.integers(-1, 2, 40).astype(float)
    again = [np.repeat(one, times) for one in (apart, truth, units)]
    once, many = (balanced_difference(*one, 0.95, True) for one in ((apart, truth, units), again))
    assert many[1] == pytest.approx(once[1])
    assert many[0]["low"] == pytest.approx(once[0]["low"])


def test_classes_that_move_together_make_it_wider():
    """Half of each group is of either class: right or wrong together."""
    truth, units = np.arange(200) % 2, np.arange(200) // 10
    right = units % 4 > 0
    together = class_spread(right.astype(float), truth, units)
    assert together.shared == pytest.approx(together.squares.sum())  # correlation 1
    apart = class_spread(right.astype(float), truth, units + 20 * truth)
    assert apart.shared == pytest.approx(0)
    wide, narrow = (
        balanced_accuracy_figure(right, truth, by, 0.95, clustered=True) for by in (units, units + 20 * truth)
    )
    assert wide["high"] - wide["low"] == pytest.approx(np.sqrt(2) * (narrow["high"] - narrow["low"]), rel=0.1)


def test_one_class_is_its_share():
    right = np.arange(30) % 5 > 0
    found = balanced_accuracy_figure(right, np.full(30, 2), np.arange(30), 0.95, clustered=False)
    share = share_figure(right, np.arange(30), 0.95, clustered=False)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((share["value"], share["low"], share["high"]))
    assert found["method"] == "from the intervals of 1 class, Wilson's (MOVER)"


def test_a_single_group_says_nothing():
    figure, p = balanced_difference(np.ones(5), np.zeros(5, int), np.zeros(5, int), 0.95, clustered=True)
    assert (figure["value"], figure["low"], figure["high"], p) == (1.0, None, None, 1.0)
    assert figure["method"] == "no interval: a single group"


@pytest.mark.parametrize(
    ("sizes", "recalls"), [((5, 195), (0.8, 0.9)), ((10, 190), (0.95, 0.9)), ((20, 280), (0.9, 0.8))]
)
def test_balanced_accuracy_with_a_rare_class_covers(sizes, recalls):
    """Where the bootstrap covers 64 to 88 %."""
    rng, studies, held = np.random.default_rng(0), 1500, 0
    truth = np.repeat([0, 1], sizes)
    for _ in range(studies):
        right = rng.random(len(truth)) < np.array(recalls)[truth]
        figure = balanced_accuracy_figure(right, truth, np.arange(len(truth)), 0.95, clustered=False)
        held += figure["low"] <= np.mean(recalls) <= figure["high"]
    assert held / studies > 0.93


@pytest.mark.parametrize(
    ("sizes", "one", "other"),
    [((10, 300), (0.99, 0.9), (0.9, 0.99)), ((20, 20), (0.8, 0.8), (0.8, 0.8)), ((30, 1000), (1.0, 0.8), (0.95, 0.85))],
)
def test_equally_good_contenders_seldom_differ(sizes, one, other):
    """Of a rare class one may answer all; independent samples."""
    rng, studies, told = np.random.default_rng(1), 1000, 0
    truth = np.repeat([0, 1], sizes)
    for _ in range(studies):
        first, second = (rng.random(len(truth)) < np.array(recall)[truth] for recall in (one, other))
        figure, p = balanced_difference(first.astype(float) - second, truth, _alone(truth), 0.95, clustered=False)
        assert (p < 0.05) == (figure["low"] > 0 or figure["high"] < 0)
        told += p < 0.05
    assert told / studies < 0.065


def test_equally_good_contenders_seldom_differ_over_few_groups():
    rng, studies, told = np.random.default_rng(2), 800, 0
    units = np.repeat(np.arange(34), 10)
    truth = (units < 4).astype(int)
    for _ in range(studies):
        right = [
            rng.random(340) < rng.beta(share / 1.0, 1 - share)[units]
            for share in (np.where(np.arange(34) < 4, 0.9, 0.75), np.where(np.arange(34) < 4, 0.75, 0.9))
        ]
        told += balanced_difference(right[0].astype(float) - right[1], truth, units, 0.95, clustered=True)[1] < 0.05
    assert told / studies < 0.065
