"""The vectorised bootstrap against a loop, scipy, and its coverage of clustered samples."""

from __future__ import annotations

import time
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from clearmargin.evaluation import bootstrap as module
from clearmargin.evaluation.alignment import align
from clearmargin.evaluation.bootstrap import HEADLINE, bootstrap, draw_weights, headline, scorer
from clearmargin.evaluation.intervals import percentile_interval, wilson


def _by_hand(truth, probabilities):
    """Headline metrics of one resample, by scikit-learn; areas only of the classes that are there."""
    predicted = probabilities.argmax(axis=1)
    areas = [
        sk.roc_auc_score(truth == k, probabilities[:, k])
        for k in range(probabilities.shape[1])
        if 0 < (truth == k).sum() < len(truth)
    ]
    return {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "macro_f1": sk.f1_score(truth, predicted, average="macro"),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "kappa": sk.cohen_kappa_score(truth, predicted),
        "auc": np.mean(areas) if areas else np.nan,
        "log_loss": sk.log_loss(truth, probabilities, labels=range(probabilities.shape[1])),
        "brier": ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1).mean(),
    }


@pytest.mark.parametrize(("n", "n_groups"), [(5, 5), (40, 40), (60, 9), (30, 1)])
@pytest.mark.parametrize("decimals", [None, 0])
def test_same_weights_same_metrics_as_a_loop(simulate, n, n_groups, decimals):
    rng = np.random.default_rng(n + n_groups)
    truth, probabilities = simulate(rng, n, 3, skill=1.5, decimals=decimals)
    units = rng.permutation(np.arange(n) % n_groups)
    weights = draw_weights(rng, 25, n_groups)
    found = scorer(truth, probabilities, units, n_groups).score(weights)
    for row, drawn in enumerate(weights):
        rows = np.repeat(np.arange(n), drawn[units].astype(int))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns when a class is missing from a resample
            expected = _by_hand(truth[rows], probabilities[rows])
        for name in HEADLINE:
            np.testing.assert_allclose(found[name][row], expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_weights_of_one_give_the_figures_of_the_samples(simulate):
    truth, probabilities = simulate(np.random.default_rng(0), 80, 4)
    values = headline(truth, probabilities)
    scored = scorer(truth, probabilities, np.arange(80) // 3, 27).score(np.ones((1, 27)))
    assert list(values) == list(HEADLINE)
    for name in HEADLINE:
        assert values[name] == pytest.approx(scored[name][0], abs=1e-12), name


def test_each_resample_draws_as_many_groups_as_there_are():
    weights = draw_weights(np.random.default_rng(0), 500, 40)
    assert weights.shape == (500, 40)
    assert (weights.sum(axis=1) == 40).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(40), abs=0.2)
    assert weights.var() == pytest.approx(1 - 1 / 40, abs=0.05)


def test_contenders_share_their_resamples(simulate, predictions_of):
    truth, probabilities = simulate(np.random.default_rng(0), 50, 3)
    same = predictions_of(truth, probabilities)
    scored = bootstrap(align({"one": same, "two": same}), resamples=100)
    for name in HEADLINE:
        np.testing.assert_array_equal(scored["one"][name], scored["two"][name])


def test_the_size_of_the_chunks_does_not_matter(simulate, predictions_of, monkeypatch):
    truth, probabilities = simulate(np.random.default_rng(0), 50, 3)
    aligned = align({"one": predictions_of(truth, probabilities, groups=np.arange(50) // 2)})
    whole = bootstrap(aligned, resamples=101, seed=3)["one"]
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 350)
    pieces = bootstrap(aligned, resamples=101, seed=3)["one"]
    for name in HEADLINE:
        assert whole[name].shape == (101,)
        np.testing.assert_allclose(whole[name], pieces[name], rtol=0, atol=1e-14)
    other = bootstrap(aligned, resamples=101, seed=4)["one"]
    assert (whole["accuracy"] != other["accuracy"]).any()


def test_percentiles_match_scipys_bootstrap(simulate, predictions_of):
    truth, probabilities = simulate(np.random.default_rng(0), 150, 3, skill=1.5)
    predicted = probabilities.argmax(axis=1)
    expected = stats.bootstrap(
        (truth, predicted),
        lambda true, answer: sk.f1_score(true, answer, average="macro"),
        paired=True,
        vectorized=False,
        n_resamples=500,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    resampled = bootstrap(align({"one": predictions_of(truth, probabilities)}), resamples=4000)
    assert percentile_interval(resampled["one"]["macro_f1"]) == pytest.approx(tuple(expected), abs=0.015)


def test_groups_cover_clustered_samples_where_samples_alone_do_not(predictions_of):
    """13 slices a patient, intraclass correlation .5: the share of intervals that hold the truth."""
    rng = np.random.default_rng(0)
    n_patients, slices, accuracy, rounds = 60, 13, 0.8, 300
    groups = np.repeat(np.arange(n_patients), slices)
    truth = np.zeros(groups.size, dtype=int)
    naive = grouped = 0
    for seed in range(rounds):
        # Beta(a, b) has intraclass correlation 1 / (a + b + 1)
        of_patient = rng.beta(accuracy, 1 - accuracy, n_patients)
        right = rng.random(groups.size) < of_patient[groups]
        aligned = align({"one": predictions_of(truth, np.stack([right, ~right], axis=1), groups=groups)})
        low, high = wilson(int(right.sum()), right.size)
        naive += low <= accuracy <= high
        low, high = percentile_interval(bootstrap(aligned, 400, seed)["one"]["accuracy"])
        grouped += low <= accuracy <= high
    assert 0.45 < naive / rounds < 0.61
    assert 0.89 < grouped / rounds < 0.97


def test_intervals_of_every_metric_cover_the_truth(simulate, predictions_of):
    """150 samples, independent: as many intervals hold the truth as they say. Longer: benchmarks/coverage.py."""
    rng = np.random.default_rng(0)
    expected = headline(*simulate(rng, 100_000, 3, skill=1.5))
    studies, held = 200, dict.fromkeys(HEADLINE, 0)
    for seed in range(studies):
        aligned = align({"one": predictions_of(*simulate(rng, 150, 3, skill=1.5))})
        resampled = bootstrap(aligned, 300, seed)["one"]
        for name in HEADLINE:
            low, high = percentile_interval(resampled[name])
            held[name] += low <= expected[name] <= high
    assert all(0.88 <= count / studies <= 0.99 for count in held.values()), held


def test_ten_thousand_samples_are_scored_in_bounded_memory(simulate, predictions_of):
    truth, probabilities = simulate(np.random.default_rng(0), 10_000, 10)
    predictions = predictions_of(truth, probabilities)
    aligned = align({"one": predictions, "two": predictions})
    tracemalloc.start()
    started = time.perf_counter()
    bootstrap(aligned, resamples=200)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert seconds < 10  # a tenth of the usual resamples; about 0.4 s on an idle laptop
