"""Conformal sets: the promised coverage by simulation, thresholds against MAPIE and brute force."""

import numpy as np
import pytest
from scipy import stats

from clearmargin.evaluation.conformal import (
    conformal_block,
    conformal_rank,
    conformal_threshold,
    expected_coverage,
    fit_conformal,
)
from clearmargin.evaluation.shares import Shares

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (8, 9), (99, 90), (100, 91), (1000, 901)])
def test_the_rank(n, rank):
    assert conformal_rank(n, 0.1) == rank


@pytest.mark.parametrize(("n", "low"), [(100, 0.848), (1000, 0.884)])
def test_the_range_of_coverage(n, low):
    assert expected_coverage(n, 0.1)[0] == pytest.approx(low, abs=0.002)


def test_coverage_follows_the_beta_distribution(simulate):
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        truth, probabilities = simulate(rng, 100, 3)
        rule = fit_conformal(probabilities, truth, CLASSES, 0.1, "marginal")
        new, said = simulate(rng, 2000, 3)
        covered.append(rule.sets(said, CLASSES)[np.arange(2000), new].mean())
    assert np.mean(covered) == pytest.approx(91 / 101, abs=0.006)
    low, high = expected_coverage(100, 0.1)
    assert np.mean((np.array(covered) > low) & (np.array(covered) < high)) == pytest.approx(0.9, abs=0.05)
    assert stats.kstest(covered, stats.beta(91, 10).cdf).pvalue > 1e-4


def test_class_conditional_sets_cover_each_class(simulate):
    rng, covered = np.random.default_rng(1), np.zeros((200, 3))
    for run in covered:
        truth, probabilities = simulate(rng, 150, 3, truth=rng.choice(3, 150, p=[0.7, 0.2, 0.1]))
        probabilities = probabilities * [3, 1, 0.4]
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        rule = fit_conformal(probabilities, truth, CLASSES, 0.2, "class-conditional")
        new, said = simulate(rng, 1500, 3)
        said = said * [3, 1, 0.4]
        said /= said.sum(axis=1, keepdims=True)
        inside = rule.sets(said, CLASSES)[np.arange(1500), new]
        run[:] = [inside[new == k].mean() for k in range(3)]
    assert (covered.mean(axis=0) > 0.79).all()


def test_sets_are_those_of_mapie(simulate):
    classification = pytest.importorskip("mapie.classification", reason="MAPIE is an oracle of the dev extra")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Known(ClassifierMixin, BaseEstimator):
        """Says the probabilities it is given."""

        classes_ = np.arange(3)

        def fit(self, X, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, X):
            return X

        def predict(self, X):
            return X.argmax(axis=1)

    rng = np.random.default_rng(2)
    truth, probabilities = simulate(rng, 137, 3)
    _, said = simulate(rng, 300, 3)
    mapie = classification.SplitConformalClassifier(Known(), confidence_level=0.9, conformity_score="lac", prefit=True)
    mapie.conformalize(probabilities, truth)
    theirs = mapie.predict_set(said)[1][:, :, 0]
    rule = fit_conformal(probabilities, truth, CLASSES, 0.1, "marginal")
    assert np.array_equal(rule.sets(said, CLASSES), theirs)


def test_too_few_samples_give_sets_of_all_classes_and_it_is_said(simulate):
    assert conformal_threshold(np.arange(8.0), 0.1) is None
    truth, probabilities = simulate(np.random.default_rng(3), 8, 3)
    rule = fit_conformal(probabilities, truth, CLASSES, 0.1, "marginal")
    shares = Shares(np.arange(8), False, 0.95)
    block = conformal_block(rule, CLASSES, truth, probabilities, 8, 8, shares.figure)
    assert block["coverage"]["value"] == 1
    assert block["sizes"] == [0, 0, 0, 8]
    assert "too few" in block["note"]
    assert (block["expected_low"], block["expected_high"]) == (1.0, 1.0)


def test_clustered_samples_weaken_the_promise(simulate):
    rng = np.random.default_rng(4)
    truth, probabilities = simulate(rng, 300, 3)
    rule = fit_conformal(probabilities, truth, CLASSES, 0.1, "marginal")
    shares = Shares(np.arange(300) // 10, True, 0.95)
    block = conformal_block(rule, CLASSES, truth, probabilities, 300, 30, shares.figure)
    assert "300 validation samples are of 30 groups" in block["note"]
    assert (block["expected_low"], block["expected_high"]) == expected_coverage(30, 0.1)
    assert block["coverage"]["method"].startswith("Wilson over 30 groups (design effect ")
    assert sum(block["sizes"]) == 300
