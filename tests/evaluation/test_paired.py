"""Paired tests against scipy, statsmodels, enumeration, and the reference values of the literature."""

from __future__ import annotations

from itertools import product
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from clearmargin.evaluation.paired import (
    holm,
    mcnemar_exact,
    mcnemar_mid_p,
    most_draws,
    randomisation_p,
    resampled_at_least_as_good,
    second_at_least_as_good,
    sign_flip_p,
)

counts = st.integers(0, 300)


@given(counts, counts)
def test_exact_test_equals_scipys_and_statsmodels(only_first, only_second):
    p = mcnemar_exact(only_first, only_second)
    discordant = only_first + only_second
    expected = stats.binomtest(only_first, discordant).pvalue if discordant else 1.0
    assert p == pytest.approx(expected, rel=1e-9)
    table = [[7, only_first], [only_second, 9]]
    if discordant:
        assert p == pytest.approx(min(1.0, mcnemar(table, exact=True).pvalue), rel=1e-9)


@given(counts, counts)
def test_mid_p_counts_what_was_seen_by_half(only_first, only_second):
    p = mcnemar_mid_p(only_first, only_second)
    fewer, discordant = min(only_first, only_second), only_first + only_second
    tail = sum(stats.binom.pmf(range(fewer), discordant, 0.5)) + stats.binom.pmf(fewer, discordant, 0.5) / 2
    assert p == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert 0 < p <= min(1.0, mcnemar_exact(only_first, only_second) + 1e-15)
    assert p == mcnemar_mid_p(only_second, only_first)


def test_reference_values():
    assert mcnemar_exact(10, 2) == pytest.approx(0.0386, abs=5e-5)
    assert mcnemar_mid_p(10, 2) == pytest.approx(0.0225, abs=5e-5)
    assert second_at_least_as_good(20, 10) == pytest.approx(0.0354, abs=5e-5)
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    # 150 against 86: chi² = 17.36, which the mid-p approaches in large samples
    chi_square = mcnemar([[0, 150], [86, 0]], exact=False, correction=False)
    assert chi_square.statistic == pytest.approx(17.36, abs=5e-3)
    assert mcnemar_mid_p(150, 86) == pytest.approx(chi_square.pvalue, rel=0.1)


def test_no_discordant_sample_is_no_evidence():
    assert mcnemar_exact(0, 0) == mcnemar_mid_p(0, 0) == 1
    assert second_at_least_as_good(0, 0) == pytest.approx(0.5)


@given(counts, counts)
def test_risk_of_the_wrong_winner_is_about_the_second(only_first, only_second):
    risk = second_at_least_as_good(only_first, only_second)
    assert (risk < 0.5) == (only_first > only_second) or risk == pytest.approx(0.5)
    assert risk + second_at_least_as_good(only_second, only_first) == pytest.approx(1)
    # Beta(b + 1, c + 1) below 1/2 is a binomial tail of b + c + 1 throws
    assert risk == pytest.approx(stats.binom.cdf(only_second, only_first + only_second + 1, 0.5), rel=1e-9)


def test_resampled_groups_say_as_much_as_the_prior_does_of_independent_samples():
    rng = np.random.default_rng(3)
    apart = np.repeat([1, -1, 0], [40, 28, 132])
    resampled = apart[rng.integers(0, 200, (4000, 200))].mean(axis=1)
    assert resampled_at_least_as_good(resampled) == pytest.approx(second_at_least_as_good(40, 28), abs=0.02)
    # every sample five times over tells no more than once: counting samples would say that it does
    groups = np.repeat(apart.reshape(-1, 1), 5, axis=1)
    again = groups[rng.integers(0, 200, (4000, 200))].mean(axis=(1, 2))
    assert resampled_at_least_as_good(again) == pytest.approx(second_at_least_as_good(40, 28), abs=0.02)
    assert second_at_least_as_good(200, 140) < 0.001
    assert resampled_at_least_as_good(np.zeros(99)) == 1
    assert resampled_at_least_as_good(np.ones(99)) == 0.01


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values):
    with mock.patch("gc.collect"):  # which statsmodels calls each time
        expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected.tolist(), abs=1e-12)


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


def test_sign_flips_approach_the_full_enumeration():
    differences = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15, -0.1, 0.25])
    sums = np.array([np.dot(signs, differences) for signs in product([1, -1], repeat=len(differences))])
    exact = (np.abs(sums) >= abs(differences.sum()) - 1e-12).mean()
    assert sign_flip_p(differences, 20_000, 0) == pytest.approx(exact, abs=0.01)


def test_sign_flips_of_single_samples_are_mcnemars_exact_test():
    differences = np.repeat([1.0, -1.0, 0.0], [14, 5, 100]) / 119
    assert sign_flip_p(differences, 20_000, 0) == pytest.approx(mcnemar_exact(14, 5), abs=0.006)


def test_sign_flips_know_no_evidence_and_no_certainty():
    assert sign_flip_p(np.zeros(5), 100, 0) == 1
    assert sign_flip_p(np.ones(60), 999, 0) == 1 / 1000
    # four groups can't give a small p, however large the difference
    assert sign_flip_p(np.ones(4), 5000, 0) == pytest.approx(2 / 16, abs=0.02)


def test_a_small_p_is_drawn_for_longer_and_a_large_one_is_not():
    drawn = []

    def as_far(share):
        def draw(size):
            drawn.append(size)
            return int(share * size)

        return draw

    assert randomisation_p(as_far(0.8), 1, 30, 1000) == 25 / 31
    assert sum(drawn) == 30
    drawn.clear()
    assert randomisation_p(as_far(0.0), 2**18, 30, 1000) == 1 / 1001
    assert sum(drawn) == 1000
    drawn.clear()
    assert 20 < randomisation_p(as_far(0.25), 2**18, 8, 1000) * (sum(drawn) + 1) < 23  # until 20 were as far
    assert randomisation_p(as_far(0.0), 1, 30, 0) == 1 / 31


def test_draws_are_enough_for_holm():
    assert most_draws(2000, 3, 0.05) == 2000
    assert most_draws(2000, 101, 0.05) == 40_400
