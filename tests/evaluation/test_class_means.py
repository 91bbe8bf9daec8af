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
    assert _error(apart) == pytest.approx(_agresti_min(3, 0, 100))
    assert _error(np.ones(10)) == pytest.approx(_agresti_min(10, 0, 10))


def _error(apart):
    """Standard error behind the interval, of one class."""
    figure, _ = balanced_difference(apart, np.zeros(len(apart), int), _alone(apart), 0.9, clustered=False)
    return (figure["value"] - figure["low"]) / stats.t.isf(0.05, len(apart) - 1)


def _agresti_min(b, c, n):
    b, c, n = b + 0.5, c + 0.5, n + 2
    return np.sqrt(b + c - (b - c) ** 2 / n) / n


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
    assert class_spread(right.astype(float), truth, units).shared == pytest.approx(1)  # correlation 1, two classes
    assert class_spread(right.astype(float), truth, units + 20 * truth).shared == pytest.approx(0)
    wide, narrow = (
        balanced_accuracy_figure(right, truth, by, 0.95, clustered=True) for by in (units, units + 20 * truth)
    )
    assert wide["high"] - wide["low"] > 1.2 * (narrow["high"] - narrow["low"])


def test_a_share_that_is_not_exact_in_binary_has_no_spread_of_its_own():
    """Each class in one group: what rounding leaves must not be divided by what rounding leaves."""
    truth = np.repeat([0, 1, 2, 3], [3, 11, 7, 9])
    right = np.arange(30) % 3 > 0
    spread = class_spread(right.astype(float), truth, (truth > 1).astype(int))
    assert spread.shared == 0
    assert spread.jackknife == pytest.approx(0)


def test_the_jackknife_of_a_class_is_that_of_its_share():
    rng = np.random.default_rng(5)
    truth, units = rng.integers(0, 3, 90), rng.integers(0, 15, 90)
    right = rng.random(90) < 0.7
    spread = class_spread(right.astype(float), truth, np.unique(units, return_inverse=True)[1])
    for k in range(3):
        own = truth == k
        without = np.array([right[own & (units != unit)].mean() for unit in np.unique(units[own])])
        n = len(without)
        assert spread.jackknife[k] == pytest.approx(((without - right[own].mean()) ** 2).sum() * (n - 1) / n)


def test_one_class_of_independent_samples_is_never_narrower_than_its_share():
    right = np.arange(30) % 5 > 0
    found = balanced_accuracy_figure(right, np.full(30, 2), np.arange(30), 0.95, clustered=False)
    share = share_figure(right, np.arange(30), 0.95, clustered=False)
    assert found["value"] == share["value"]
    assert found["low"] <= share["low"]
    assert found["high"] >= share["high"]
    assert found["method"] == "class by class: Agresti-Coull or Wilson (MOVER), the wider"


@pytest.mark.parametrize("right", [True, False])
def test_nothing_but_right_or_wrong_answers_keep_a_width(right):
    """Ten patients with an image of each of ten classes: as little is known as of ten images."""
    truth, units = np.arange(100) % 10, np.arange(100) // 10
    found = balanced_accuracy_figure(np.full(100, right), truth, units, 0.95, clustered=True)
    assert found["value"] == float(right)
    assert found["high"] - found["low"] > 0.3  # Clopper-Pearson's over ten is 0.308


def test_a_single_group_says_nothing():
    figure, p = balanced_difference(np.ones(5), np.zeros(5, int), np.zeros(5, int), 0.95, clustered=True)
    assert (figure["value"], figure["low"], figure["high"], p) == (1.0, None, None, 1.0)
    assert figure["method"] == "no interval: a single group"


@pytest.mark.parametrize(
    ("sizes", "recalls"),
    [
        ((5, 195), (0.8, 0.9)),
        ((10, 190), (0.95, 0.9)),
        ((20, 280), (0.9, 0.8)),
        ((1, 100), (0.8, 0.9)),
        ((10,) * 4, (0.95,) * 4),
        ((20,) * 10, (0.95,) * 10),
        ((10,) * 100, (0.95,) * 100),
        ((1,) * 50, (0.8,) * 50),
    ],
)
def test_balanced_accuracy_covers(sizes, recalls):
    """A rare class, where the bootstrap covers 64 to 88 %; many classes, where Wilson's limits alone cover 80 to 90."""
    rng, studies, held = np.random.default_rng(0), 800, 0
    truth = np.repeat(np.arange(len(sizes)), sizes)
    for _ in range(studies):
        right = rng.random(len(truth)) < np.array(recalls)[truth]
        figure = balanced_accuracy_figure(right, truth, np.arange(len(truth)), 0.95, clustered=False)
        held += figure["low"] <= np.mean(recalls) <= figure["high"]
    assert held / studies > 0.93


@pytest.mark.parametrize("patients", [1, 2, 3, 6])
def test_balanced_accuracy_covers_with_few_patients_of_a_class(patients):
    rng, studies, held, scale = np.random.default_rng(3), 500, 0, 1 / 0.3 - 1
    units = np.repeat(np.arange(patients + 30), 20)
    truth = (units < patients).astype(int)
    for _ in range(studies):
        right = rng.random(units.size) < rng.beta(0.7 * scale, 0.3 * scale, patients + 30)[units]
        figure = balanced_accuracy_figure(right, truth, units, 0.95, clustered=True)
        held += figure["low"] <= 0.7 <= figure["high"]
    assert held / studies > 0.92


@pytest.mark.parametrize(("patients", "n_classes", "bad"), [(10, 10, 0.12), (12, 4, 0.15), (30, 10, 0.06)])
def test_balanced_accuracy_covers_where_patients_are_wholly_right_or_wrong(patients, n_classes, bad):
    rng, studies, held = np.random.default_rng(1), 300, 0
    truth, units = np.tile(np.arange(n_classes), patients), np.repeat(np.arange(patients), n_classes)
    for _ in range(studies):
        figure = balanced_accuracy_figure((rng.random(patients) >= bad)[units], truth, units, 0.95, clustered=True)
        held += figure["low"] <= 1 - bad <= figure["high"]
    assert held / studies > 0.93


@pytest.mark.parametrize(
    ("sizes", "one", "other"),
    [
        ((10, 300), (0.99, 0.9), (0.9, 0.99)),
        ((10, 300), (1.0, 0.2), (0.2, 1.0)),
        ((20, 20), (0.8, 0.8), (0.8, 0.8)),
        ((30, 1000), (1.0, 0.8), (0.95, 0.85)),
        ((1,) * 60, (0.7,) * 60, (0.7,) * 60),
    ],
)
def test_equally_good_contenders_seldom_differ(sizes, one, other):
    """Of a rare class one may answer all; independent samples."""
    rng, studies, told = np.random.default_rng(1), 1000, 0
    truth = np.repeat(np.arange(len(sizes)), sizes)
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
