"""Areas against scikit-learn and against counting all pairs; curves against the area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from clearmargin.evaluation.roc import (
    auc,
    macro_auc,
    one_vs_rest_auc,
    ranking,
    roc_points,
)

scored = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30)


def _count_pairs(scores, positive, weights):
    """Weighted share of pairs in which the positive scores higher, ties one half: O(n²)."""
    won = total = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            total += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return won / total if total else np.nan


@given(scored, st.randoms(use_true_random=False))
def test_area_equals_counting_all_pairs(samples, random):
    scores = np.array([score for score, _ in samples])
    positive = np.array([is_positive for _, is_positive in samples])
    units = np.array([random.randrange(len(samples)) for _ in samples])
    weights = np.array([float(random.randrange(4)) for _ in samples])
    found = ranking(scores, positive, units).auc(weights[np.newaxis])[0]
    np.testing.assert_allclose(found, _count_pairs(scores, positive, weights[units]), atol=1e-12)
    np.testing.assert_allclose(auc(scores, positive), _count_pairs(scores, positive, np.ones(len(samples))), atol=1e-12)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_macro_area_equals_scikit_learns(simulate, decimals):
    truth, probabilities = simulate(np.random.default_rng(0), 500, 4, decimals=decimals)
    expected = sk.roc_auc_score(truth, probabilities, multi_class="ovr", average=None)
    np.testing.assert_allclose(one_vs_rest_auc(truth, probabilities), expected, atol=1e-12)
    assert macro_auc(truth, probabilities) == pytest.approx(expected.mean(), abs=1e-12)


def test_an_absent_class_has_no_area_and_the_mean_leaves_it_out(simulate):
    rng = np.random.default_rng(0)
    truth, probabilities = simulate(rng, 100, 3, truth=rng.integers(0, 2, 100))
    areas = one_vs_rest_auc(truth, probabilities)
    np.testing.assert_array_equal(np.isnan(areas), [False, False, True])
    assert macro_auc(truth, probabilities) == pytest.approx(areas[:2].mean(), abs=1e-15)
    assert np.isnan(macro_auc(np.zeros(100, dtype=int), probabilities))


@given(scored)
def test_curve_is_scikit_learns_without_points_on_a_line(samples):
    scores = np.array([score for score, _ in samples])
    positive = np.array([is_positive for _, is_positive in samples])
    false_positive, true_positive = roc_points(scores, positive)
    if positive.all() or not positive.any():
        assert false_positive.size == true_positive.size == 0
        return
    expected = sk.roc_curve(positive, scores, drop_intermediate=True)
    np.testing.assert_allclose(np.interp(expected[0], false_positive, true_positive).max(), 1)
    assert (false_positive[0], true_positive[0]) == (0, 0)
    assert (false_positive[-1], true_positive[-1]) == (1, 1)
    assert len(false_positive) <= len(expected[0])
    assert sk.auc(false_positive, true_positive) == pytest.approx(auc(scores, positive), abs=1e-12)


@pytest.mark.parametrize("skill", [0.0, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("max_points", [2, 3, 50, 200])
def test_thinning_keeps_the_area(skill, max_points):
    rng = np.random.default_rng(1)
    positive = rng.random(10_000) < 0.3
    scores = rng.normal(size=10_000) + skill * positive
    false_positive, true_positive = roc_points(scores, positive, max_points)
    assert len(false_positive) <= max_points
    assert (np.diff(false_positive) >= 0).all()
    assert (np.diff(true_positive) >= 0).all()
    change = abs(sk.auc(false_positive, true_positive) - auc(scores, positive))
    assert change < 2 / max_points
    assert change < 1e-3 or max_points < 200
