"""Sample sizes against the reference values, against simulated power, and for samples in groups."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import samplesize_confint_proportion

from clearmargin.evaluation.paired import mcnemar_mid_p
from clearmargin.evaluation.sample_size import (
    accuracy_sample_size,
    design_effect,
    n_to_see,
    sample_size_note,
    samples_for_difference,
    samples_for_share,
)


def test_reference_values():
    assert samples_for_share(0.9, 0.05) == 139
    assert samples_for_share(0.9, 0.03) == 385


@pytest.mark.parametrize("share", [0.5, 0.73, 0.99])
@pytest.mark.parametrize("half_width", [0.01, 0.05])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_samples_for_a_share_equal_statsmodels(share, half_width, confidence):
    expected = samplesize_confint_proportion(share, half_width, alpha=1 - confidence)
    assert samples_for_share(share, half_width, confidence) == np.ceil(expected)


@pytest.mark.parametrize(("discordant", "difference"), [(0.1, 0.05), (0.25, 0.08), (0.06, 0.04)])
def test_so_many_samples_see_the_difference_in_four_of_five_studies(discordant, difference):
    n = samples_for_difference(discordant, difference)
    first = (discordant + difference) / 2
    drawn = np.random.default_rng(0).multinomial(n, [first, discordant - first, 1 - discordant], 1500)
    seen = np.mean([mcnemar_mid_p(only_first, only_second) < 0.05 for only_first, only_second, _ in drawn.tolist()])
    assert 0.76 < seen < 0.86


def test_less_disagreement_than_the_difference_is_taken_to_be_the_difference():
    assert samples_for_difference(0.001) == samples_for_difference(0.02)
    assert samples_for_difference(0.1) > samples_for_difference(0.05)


def test_groups_that_agree_within_need_as_many_times_more_as_they_have_samples():
    rng = np.random.default_rng(0)
    n_groups, size = 400, 10
    hard = rng.choice([-1, 0, 1], n_groups, p=[0.1, 0.8, 0.1])  # all samples of a group go the same way
    resampled = hard[rng.integers(0, n_groups, (2000, n_groups))].mean(axis=1)
    only_first, only_second = int((hard > 0).sum()) * size, int((hard < 0).sum()) * size
    alone, together = (
        n_to_see(only_first, only_second, n_groups * size, resampled, clustered, 0.95) for clustered in (False, True)
    )
    assert together / alone == pytest.approx(size, rel=0.1)


def test_nothing_tells_how_many_without_disagreement_or_with_one_group():
    assert n_to_see(0, 0, 100, np.zeros(50), False, 0.95) is None
    assert n_to_see(50, 30, 1000, np.full(50, 0.02), True, 0.95) is None
    assert design_effect(np.full(50, 0.02), 0.01) is None
    assert design_effect(np.array([0.0, 1e-6]), 0.01) == 1


def test_fewer_than_ten_disagreements_tell_no_number():
    assert n_to_see(6, 3, 100, np.zeros(50), False, 0.95) is None
    assert n_to_see(7, 3, 100, np.zeros(50), False, 0.95) == samples_for_difference(0.1)


def test_the_block_and_its_note():
    figure = {"value": 0.9, "low": 0.87, "high": 0.925, "method": "Wilson score"}
    block = accuracy_sample_size(figure, 500, np.zeros(10), False, 0.95)
    assert (block["n_for_5_points"], block["n_for_3_points"]) == (139, 385)
    assert block["accuracy_half_width"] == pytest.approx(0.0275)
    assert block["note"] == "Images needed to measure an accuracy of 90.0 % to ±5 and ±3 points."
    resampled = np.random.default_rng(0).normal(0.9, np.sqrt(4 * 0.9 * 0.1 / 500), 20_000)
    clustered = accuracy_sample_size(figure, 500, resampled, True, 0.95)
    assert clustered["design_effect"] == pytest.approx(4, rel=0.05)
    assert clustered["n_for_5_points"] == pytest.approx(4 * 139, rel=0.05)
    assert "in groups like these: 4.0 times as many" in clustered["note"]
    assert sample_size_note(clustered) == clustered["note"]
    single = accuracy_sample_size({**figure, "low": None, "high": None}, 500, np.full(9, 0.9), True, 0.95)
    assert single["accuracy_half_width"] is single["design_effect"] is None
    assert "nothing here tells how many more" in single["note"]


def test_a_perfect_score_is_no_certainty():
    figure = {"value": 1.0, "low": 0.72, "high": 1.0, "method": "Wilson score"}
    assert accuracy_sample_size(figure, 10, np.ones(9), False, 0.95)["n_for_5_points"] == pytest.approx(185, abs=2)
