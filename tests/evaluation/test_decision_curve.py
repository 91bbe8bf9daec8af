"""Net benefit against its definition and its two fixed points."""

import numpy as np
import pytest

from clearmargin.evaluation.decision_curve import THRESHOLDS, decision_curve_block, lower_bands, net_benefit, treat_all
from clearmargin.evaluation.shares import Shares


def alone(n):
    return Shares(np.arange(n), clustered=False, confidence=0.95)


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
    block = decision_curve_block(
        tuple(f"class {k}" for k in range(31)), truth, np.full((40, 31), 1 / 31), alone(40), 20, 0
    )
    assert len(block) == 20
    assert {f"class {k}" for k in range(5, 15)} <= {one["class"] for one in block}


@pytest.mark.parametrize(("units", "per_unit"), [(150, 1), (60, 5)])
def test_the_band_holds_at_all_thresholds_at_once(units, per_unit):
    # true advantages by a very large sample of the same kind
    def drawn(rng, units):
        ill = rng.random(units) < 0.3
        score = rng.normal(size=units) + 1.5 * ill
        p = 0.3 * np.exp(1.5 * score - 1.125) / (0.7 + 0.3 * np.exp(1.5 * score - 1.125))
        return np.repeat(ill, per_unit), np.repeat(p, per_unit)

    rng = np.random.default_rng(units)
    ill, p = drawn(rng, 400_000)
    worth = net_benefit(ill, p)
    true = np.minimum(worth, worth - treat_all(float(ill.mean())))
    held, studies = 0, 200
    for study in range(studies):
        ill, p = drawn(rng, units)
        groups = Shares(np.repeat(np.arange(units), per_unit), per_unit > 1, 0.95)
        both = np.stack([1 - p, p], axis=1)
        (low,) = lower_bands(ill.astype(np.int64), both, np.array([1]), groups, 300, study)
        held += bool((np.array(low) <= true + 1e-9).all())
        worth = net_benefit(ill, p)
        assert (np.array(low) < np.minimum(worth, worth - treat_all(float(ill.mean()))) + 1e-12).all()
    assert held / studies >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / studies)


def test_a_single_group_has_no_band():
    both = np.full((6, 2), 0.5)
    truth = np.arange(6) % 2
    assert lower_bands(truth, both, np.array([1]), Shares(np.zeros(6, dtype=np.int64), True, 0.95), 50, 0) == [None]
