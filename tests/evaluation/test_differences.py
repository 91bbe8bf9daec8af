"""Differences of areas against DeLong by brute force, and of other figures against the figures themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clearmargin.evaluation.alignment import align
from clearmargin.evaluation.bootstrap import MANY_CLASSES, bootstrap, headline
from clearmargin.evaluation.comparison import compare
from clearmargin.evaluation.differences import bootstrap_p, delong_error, delong_test


def _delong_by_pairs(scores, positive):
    """Areas of two classifiers, and the variance of their difference, over all pairs: O(n²), as DeLong wrote it."""
    areas, tens, ones = [], [], []
    for one in scores:
        above = one[positive][:, None] - one[~positive][None, :]
        won = (above > 0) + 0.5 * (above == 0)
        areas.append(won.mean())
        tens.append(won.mean(axis=1))
        ones.append(won.mean(axis=0))
    ten, one = np.cov(tens), np.cov(ones)
    covariance = ten / positive.sum() + one / (~positive).sum()
    contrast = np.array([1, -1])
    return areas[0] - areas[1], float(contrast @ covariance @ contrast)


def _two_columns(scores):
    return np.stack([1 - scores, scores], axis=1)


def _compare(contenders, resamples=200, confidence=0.95):
    aligned = align(contenders)
    return compare(aligned, bootstrap(aligned, resamples, 0), confidence=confidence)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.sampled_from([1, 4, 64]))
def test_delongs_error_equals_counting_all_pairs(seed, n_positive, n_negative, steps):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([1, 0], [n_positive, n_negative]))
    scores = rng.integers(0, steps + 1, (2, len(truth))) / steps  # in steps of a power of two: 1 − p is exact
    _, variance = _delong_by_pairs(scores, truth == 1)
    found = delong_error(truth, *(_two_columns(one) for one in scores))
    assert found**2 == pytest.approx(variance, abs=1e-12)


def test_two_classes_of_independent_samples_take_delongs_test(simulate, predictions_of):
    rng = np.random.default_rng(1)
    truth, strong = simulate(rng, 200, 2, skill=2)
    weak = simulate(rng, 200, 2, skill=1, truth=truth)[1]
    (record,) = _compare({"weak": predictions_of(truth, weak), "strong": predictions_of(truth, strong)})
    order = (strong, weak) if record["first"] == "strong" else (weak, strong)
    value, variance = _delong_by_pairs([one[:, 1] for one in order], truth == 1)
    figure = record["auc_difference"]
    assert figure["value"] == pytest.approx(value, abs=1e-9)
    assert record["auc_p"] == pytest.approx(2 * stats.norm.sf(abs(value) / variance**0.5), abs=1e-9)
    assert (figure["low"], figure["high"]) == pytest.approx(stats.norm.interval(0.95, value, variance**0.5), abs=1e-9)
    assert record["auc_method"] == "DeLong (Sun & Xu 2014)"


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("groups", [None, 40])
def test_identical_scores_have_no_difference(simulate, predictions_of, n_classes, groups):
    truth, table = simulate(np.random.default_rng(0), 120, n_classes)
    same = predictions_of(truth, table, groups=None if groups is None else np.arange(120) % groups)
    (record,) = _compare({"one": same, "two": same})
    for key in ("auc_difference", "brier_difference", "log_loss_difference"):
        assert (record[key]["value"], record[key]["low"], record[key]["high"]) == (0, 0, 0)
    assert record["auc_p"] == 1
    assert record["n_to_see_2_points"] is None
    assert delong_test(0.0, 0.0) == (0.0, 1.0)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_differences_are_those_of_the_figures(simulate, predictions_of, n_classes):
    rng = np.random.default_rng(n_classes)
    truth, one = simulate(rng, 150, n_classes, skill=1)
    other = simulate(rng, 150, n_classes, skill=2, truth=truth)[1]
    groups = np.arange(150) // 3
    tables = {"one": one, "other": other}
    (record,) = _compare({name: predictions_of(truth, table, groups=groups) for name, table in tables.items()})
    first, second = (headline(truth, tables[record[place]]) for place in ("first", "second"))
    for key, metric in (("auc_difference", "auc"), ("brier_difference", "brier"), ("log_loss_difference", "log_loss")):
        figure = record[key]
        assert figure["value"] == pytest.approx(first[metric] - second[metric], abs=1e-12)
        assert figure["low"] < figure["value"] < figure["high"]
        assert figure["method"] == "paired bootstrap over groups"
    assert record["auc_method"] == "paired bootstrap over groups"
    assert (record["auc_p"] < 0.05) == (not record["auc_difference"]["low"] <= 0 <= record["auc_difference"]["high"])


def test_delong_and_the_bootstrap_agree(simulate, predictions_of):
    rng = np.random.default_rng(5)
    truth, one = simulate(rng, 400, 2, skill=1)
    other = simulate(rng, 400, 2, skill=1.5, truth=truth)[1]
    aligned = align({"one": predictions_of(truth, one), "other": predictions_of(truth, other)})
    resampled = bootstrap(aligned, 2000, 0)
    spread = float(np.std(resampled["one"]["auc"] - resampled["other"]["auc"]))
    assert delong_error(truth, one, other) == pytest.approx(spread, rel=0.06)


def test_the_p_value_of_resamples_counts_both_tails():
    apart = np.concatenate([np.full(15, -1.0), np.full(984, 1.0), [np.nan]])
    assert bootstrap_p(apart) == pytest.approx(2 * 16 / 1000)
    assert bootstrap_p(-apart) == bootstrap_p(apart)
    assert bootstrap_p(np.zeros(50)) == 1
    assert bootstrap_p(np.full(5, np.nan)) is None


def test_delong_without_spread_says_so(predictions_of):
    truth = np.array([0, 0, 0, 1, 1, 1])
    right = _two_columns(truth.astype(float))
    (record,) = _compare({"right": predictions_of(truth, right), "wrong": predictions_of(truth, right[:, ::-1])})
    assert record["auc_difference"]["value"] == 1
    assert record["auc_difference"]["low"] is record["auc_p"] is None
    lonely = np.array([0, 0, 0, 0, 0, 1])
    (record,) = _compare({"a": predictions_of(lonely, right), "b": predictions_of(lonely, right[::-1])})
    assert record["auc_difference"]["low"] is record["auc_p"] is None
    (record,) = _compare({name: predictions_of([0] * 6, right) for name in ("a", "b")})
    assert record["auc_difference"]["value"] is record["auc_p"] is None
    assert record["auc_method"] == "undefined in this part"


def test_areas_of_very_many_classes_are_resampled_to_first_order(simulate, predictions_of, monkeypatch):
    rng = np.random.default_rng(0)
    truth, one = simulate(rng, 600, 5, skill=1)
    other = simulate(rng, 600, 5, skill=1.2, truth=truth)[1]
    groups = np.arange(600) // 4
    tables = {"one": one, "other": other}
    aligned = align({name: predictions_of(truth, table, groups=groups) for name, table in tables.items()})
    exact = bootstrap(aligned, 500, 0)
    monkeypatch.setattr("clearmargin.evaluation.bootstrap.MANY_CLASSES", 4)
    linear = bootstrap(aligned, 500, 0)
    for name in exact:
        assert np.corrcoef(exact[name]["auc"], linear[name]["auc"])[0, 1] > 0.99
        assert linear[name]["auc"].std() == pytest.approx(exact[name]["auc"].std(), rel=0.05)
        value = headline(truth, tables[name])["auc"]
        assert linear[name]["auc"].mean() == pytest.approx(value, abs=2e-3)
        np.testing.assert_array_equal(linear[name]["mcc"], exact[name]["mcc"])


def test_a_thousand_classes_are_no_trouble(simulate, predictions_of):
    rng = np.random.default_rng(0)
    n_classes = 1000
    assert n_classes > MANY_CLASSES
    truth, one = simulate(rng, 1200, n_classes, skill=3)
    (record,) = _compare({"one": predictions_of(truth, one), "two": predictions_of(truth, one[:, ::-1])}, 50)
    assert record["auc_method"] == "paired bootstrap; area to first order (more than 50 classes)"
    assert record["auc_difference"]["low"] < record["auc_difference"]["value"] < record["auc_difference"]["high"]
