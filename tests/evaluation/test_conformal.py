"""Conformal sets: the promised coverage by simulation, thresholds against MAPIE and brute force."""

import numpy as np
import pytest
from scipy import stats

from clearmargin.evaluation.conformal import (
    ConformalRule,
    conformal_block,
    conformal_rank,
    conformal_threshold,
    expected_coverage,
    fit_conformal,
    threshold_place,
)
from clearmargin.evaluation.shares import Shares

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (8, 9), (99, 90), (100, 91), (1000, 901)])
def test_the_rank(n, rank):
    assert conformal_rank(n, 0.1) == rank


@pytest.mark.parametrize(("n", "low"), [(100, 0.848), (1000, 0.884)])
def test_the_range_of_coverage(n, low):
    rule = fit_conformal(np.full((n, 3), 1 / 3), np.arange(n) % 3, CLASSES, 0.1, "marginal")
    assert expected_coverage(rule, {})[0] == pytest.approx(low, abs=0.002)


def test_coverage_follows_the_beta_distribution(simulate):
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        truth, probabilities = simulate(rng, 100, 3)
        rule = fit_conformal(probabilities, truth, CLASSES, 0.1, "marginal")
        new, said = simulate(rng, 2000, 3)
        covered.append(rule.sets(said, CLASSES)[np.arange(2000), new].mean())
    assert np.mean(covered) == pytest.approx(91 / 101, abs=0.006)
    low, high = expected_coverage(rule, {})
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
    block = conformal_block(rule, CLASSES, truth, probabilities, 8, 8, "", shares.figure)
    assert block["coverage"]["value"] == 1
    assert block["sizes"] == [0, 0, 0, 8]
    assert "too few" in block["note"]
    assert (block["expected_low"], block["expected_high"]) == (1.0, 1.0)


def test_clustered_samples_weaken_the_promise(simulate):
    rng = np.random.default_rng(4)
    truth, probabilities = simulate(rng, 300, 3)
    groups = np.array([f"g{row // 10}" for row in range(300)], dtype=object)
    rule = fit_conformal(probabilities, truth, CLASSES, 0.1, "marginal", groups)
    shares = Shares(np.arange(300) // 10, True, 0.95)
    block = conformal_block(rule, CLASSES, truth, probabilities, 300, 30, "Beware.", shares.figure)
    assert "300 validation samples are of 30 groups" in block["note"]
    assert block["note"].endswith("Beware.")
    assert (block["expected_low"], block["expected_high"]) == pytest.approx(stats.beta.ppf([0.05, 0.95], 28, 3))
    assert block["coverage"]["method"].startswith("Clopper-Pearson over 30 groups (design effect ")
    assert sum(block["sizes"]) == 300


@pytest.mark.parametrize(
    ("sizes", "alike"),
    [([10] * 6, 1.0), ([10] * 8, 0.9), ([10] * 15, 1.0), ([10] * 25, 0.5), ([30] * 5 + [2] * 40, 1.0)],
)
def test_the_range_holds_nine_of_ten_when_samples_cluster(sizes, alike):
    """Scores are normal; ``alike`` is their correlation within a group."""
    rng, units = np.random.default_rng(5), np.repeat(np.arange(len(sizes)), sizes)
    place = threshold_place(units, 0.1)
    low, high = expected_coverage(ConformalRule(0.1, "marginal", 0.5, {}, place), {})
    covered = []
    for _ in range(1500):
        common, own = rng.normal(size=len(sizes))[units], rng.normal(size=len(units))
        scores = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
        covered.append(stats.norm.cdf(conformal_threshold(scores, 0.1)))
    assert low < 0.9 < high < 1
    assert np.mean(np.array(covered) < low) <= 0.05 + 0.015
    if len(set(sizes)) == 1:  # of very different sizes the coverage may be higher than was said
        assert np.mean(np.array(covered) > high) <= 0.05 + 0.015


def test_the_range_class_by_class_is_that_of_the_mean_over_classes():
    rng, classes = np.random.default_rng(6), ("a", "b", "c", "d")
    truth = np.repeat(np.arange(4), [16, 16, 16, 5])  # of the last there are too few
    rule = fit_conformal(np.full((53, 4), 0.25), truth, classes, 0.1, "class-conditional")
    assert rule.class_places == {"a": (16, 16), "b": (16, 16), "c": (16, 16), "d": None}
    shares = {"a": 0.5, "b": 0.2, "c": 0.2, "d": 0.1}
    low, high = expected_coverage(rule, shares)
    # the coverage of the largest of 16 uniform scores is that score
    drawn = np.array([[rng.random(16).max() for _ in range(3)] for _ in range(4000)]) @ [0.5, 0.2, 0.2] + 0.1
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.05, 0.95]), abs=0.005)


def test_no_range_class_by_class_where_groups_hold_several_classes():
    truth = np.arange(60) % 3
    groups = np.array([f"g{row // 6}" for row in range(60)], dtype=object)
    rule = fit_conformal(np.full((60, 3), 1 / 3), truth, CLASSES, 0.1, "class-conditional", groups)
    shares = Shares(np.arange(60) // 6, True, 0.95)
    block = conformal_block(rule, CLASSES, truth, np.full((60, 3), 1 / 3), 60, 10, "", shares.figure)
    assert (block["expected_low"], block["expected_high"]) == (None, None)
    assert "can't be said" in block["note"]
