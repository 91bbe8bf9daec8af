"""Net benefit against its definition and its two fixed points."""

import numpy as np
import pytest

from clearmargin.evaluation.decision_curve import THRESHOLDS, decision_curve_block, net_benefit, treat_all


def test_net_benefit_by_its_definition():
    rng = np.random.default_rng(0)
    positive, probabilities = rng.random(300) < 0.3, rng.integers(0, 101, 300) / 100
    for threshold, found in zip(THRESHOLDS, net_benefit(positive, probabilities), strict=True):
        treated = probabilities >= threshold
        expected = (treated & positive).mean() - (treated & ~positive).mean() * threshold / (1 - threshold)
        assert found == pytest.approx(expected)


def test_a_perfect_model_is_worth_the_prevalence_everywhere():
    positive = np.arange(100) < 30
    np.testing.assert_allclose(net_benefit(positive, positive.astype(float)), 0.3)


def test_treating_all_is_worth_nothing_where_the_threshold_is_the_prevalence():
    assert treat_all(0.3)[THRESHOLDS == 0.3] == pytest.approx(0)
    np.testing.assert_allclose(treat_all(0.3), net_benefit(np.arange(100) < 30, np.ones(100)))


def test_of_many_classes_the_most_frequent_are_shown():
    truth = np.concatenate([np.arange(30), np.arange(5, 15)])
    block = decision_curve_block(tuple(f"class {k}" for k in range(31)), truth, np.full((40, 31), 1 / 31))
    assert len(block) == 20
    assert {f"class {k}" for k in range(5, 15)} <= {one["class"] for one in block}
