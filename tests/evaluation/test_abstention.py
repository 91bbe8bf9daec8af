"""Abstention: the promise by simulation, the curve against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmargin.evaluation.abstention import (
    AbstentionRule,
    abstention_block,
    fewest_samples,
    fit_abstention,
    risk_curve,
)
from clearmargin.evaluation.shares import Shares


def alone(n):
    return np.array([f"g{number}" for number in range(n)], dtype=object)


def answered(rng, n):
    """Confidences, and answers that are right a little less often than they say."""
    confidences = rng.beta(4, 1, n)
    return confidences, rng.random(n) < 1 - 1.1 * (1 - confidences)


def test_the_error_among_accepted_keeps_the_target():
    rng, exceeded, reached = np.random.default_rng(0), 0, 0
    grid = rng.beta(4, 1, 200_000)
    for _ in range(200):
        rule = fit_abstention(*answered(rng, 400), alone(400), 0.15)
        if rule.outcome == "reached":
            reached += 1
            exceeded += (1.1 * (1 - grid[rule.accepted(grid)])).mean() > 0.15
    assert reached > 150
    assert exceeded / 200 <= 0.05 + 0.03  # two standard errors


@pytest.mark.parametrize("sizes", [[5] * 120, [20] * 20 + [2] * 100, [60] * 10 + [1] * 110])
def test_groups_of_any_size_keep_the_target(sizes):
    """Groups are all right or all wrong, confidence says nothing, the error is a little above the target."""
    rng, count = np.random.default_rng(3), len(sizes)
    units = np.repeat(np.arange(count), sizes)
    groups = np.array([f"g{unit}" for unit in units], dtype=object)
    reached = [
        fit_abstention(rng.random(len(units)), (rng.random(count) >= 0.06)[units], groups, 0.05).outcome == "reached"
        for _ in range(300)
    ]
    assert np.mean(reached) <= 0.05 + 0.025  # two standard errors


def test_random_confidence_gives_a_flat_curve():
    rng = np.random.default_rng(1)
    right = rng.random(20_000) < 0.8
    curve = risk_curve(rng.random(20_000), right)
    assert np.abs(curve[1000:] - 0.2).max() < 0.03
    assert curve.mean() == pytest.approx(0.2, abs=0.02)


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.9]), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_the_curve_does_not_depend_on_the_order_of_equals(pairs, random):
    def curve(listed):
        return risk_curve(np.array([pair[0] for pair in listed]), np.array([pair[1] for pair in listed]))

    found = curve(pairs)
    shuffled = random.sample(pairs, len(pairs))
    np.testing.assert_allclose(found, curve(shuffled))
    assert found[-1] == pytest.approx(np.mean([not right for _, right in pairs]))


def test_the_curve_by_brute_force():
    rng = np.random.default_rng(2)
    confidences, right = rng.random(200), rng.random(200) < 0.7
    order = np.argsort(-confidences)
    expected = [(~right[order[: k + 1]]).mean() for k in range(200)]
    np.testing.assert_allclose(risk_curve(confidences, right), expected)


def test_what_can_not_be_reached_is_said():
    n = fewest_samples(0.05)
    assert 0.95**n <= 0.05 / 4 < 0.95 ** (n - 1)
    few = fit_abstention(np.full(n - 1, 0.9), np.ones(n - 1, dtype=bool), alone(n - 1), 0.05)
    assert few == AbstentionRule(0.05, None, "few")
    assert few.accepted(np.array([0.1])).all()
    never = fit_abstention(np.linspace(0, 1, 400), np.zeros(400, dtype=bool), alone(400), 0.05)
    assert never == AbstentionRule(0.05, None, "not-reached")
    assert not never.accepted(np.array([1.0])).any()
    groups = np.array(["one"] * 400, dtype=object)
    assert fit_abstention(np.full(400, 0.9), np.ones(400, dtype=bool), groups, 0.05).outcome == "few"


def test_accepted_and_abstained_are_counted():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.55, 0.45]])
    rule = AbstentionRule(0.05, 0.6, "reached")
    shares = Shares(np.arange(4), False, 0.95)
    block = abstention_block(rule, np.array([0, 0, 1, 1]), probabilities, 100, "Beware.", shares.figure)
    assert (block["accepted"], block["abstained"]) == (3, 1)
    assert block["error"]["value"] == pytest.approx(1 / 3)
    assert block["curve"][-1] == [1.0, 0.5]
    assert block["note"].endswith("Beware.")
    assert block["aurc_if_perfect"] <= block["aurc"]
