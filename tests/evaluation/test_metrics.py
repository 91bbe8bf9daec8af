"""Every metric against scikit-learn, over a grid that includes absent and never-predicted classes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from clearmargin.errors import UsageError
from clearmargin.evaluation import metrics

GRID = [
    pytest.param(n, n_classes, missing, seed, id=f"{n}-{n_classes}-{missing}-{seed}")
    for n in (1, 2, 7, 60, 400)
    for n_classes in (2, 3, 5)
    for missing in ("nothing", "truth", "predicted", "both")
    for seed in (n + n_classes,)
]


def _draw(n, n_classes, missing, seed):
    """True and predicted classes; the last class is missing where ``missing`` says."""
    rng = np.random.default_rng(seed)
    in_truth = n_classes - (missing in ("truth", "both"))
    in_predicted = n_classes - (missing in ("predicted", "both"))
    truth = rng.integers(0, in_truth, n)
    predicted = np.where(rng.random(n) < 0.5, truth % in_predicted, rng.integers(0, in_predicted, n))
    return truth, predicted, metrics.confusion_matrix(truth, predicted, n_classes)


@pytest.mark.parametrize(("n", "n_classes", "missing", "seed"), GRID)
def test_confusion_metrics_equal_scikit_learns(n, n_classes, missing, seed):
    truth, predicted, confusion = _draw(n, n_classes, missing, seed)
    labels = list(range(n_classes))
    assert confusion.dtype == np.int64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of the very cases that are tested here
        np.testing.assert_array_equal(confusion, sk.confusion_matrix(truth, predicted, labels=labels))
        expected = {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
            "macro_f1": sk.f1_score(truth, predicted, average="macro"),
            "mcc": sk.matthews_corrcoef(truth, predicted),
            "kappa": sk.cohen_kappa_score(truth, predicted),
        }
        scored = sk.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=np.nan)
        # scikit-learn's specificity is the recall of "the rest"
        rest = [sk.recall_score(truth != k, predicted != k, zero_division=np.nan) for k in labels]
        npv = [sk.precision_score(truth != k, predicted != k, zero_division=np.nan) for k in labels]
    counts = metrics.tally(confusion)
    for name, metric in metrics.TALLY_METRICS.items():
        assert float(metric(counts)) == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name
    np.testing.assert_allclose(metrics.precision(counts), scored[0], atol=1e-12)
    np.testing.assert_allclose(metrics.recall(counts), scored[1], atol=1e-12)
    np.testing.assert_allclose(metrics.f1(counts), scored[2], atol=1e-12)
    np.testing.assert_allclose(metrics.specificity(counts), rest, atol=1e-12)
    np.testing.assert_allclose(metrics.negative_predictive_value(counts), npv, atol=1e-12)


@pytest.mark.parametrize("name", metrics.TALLY_METRICS)
def test_a_stack_of_matrices_gives_what_each_matrix_gives(name):
    stack = np.random.default_rng(0).integers(0, 4, (5, 6, 3, 3))
    metric = metrics.TALLY_METRICS[name]
    alone = [[metric(metrics.tally(matrix)) for matrix in row] for row in stack]
    np.testing.assert_array_equal(metric(metrics.tally(stack)), np.array(alone, dtype=float))


def test_undefined_figures_are_not_numbers():
    confusion = metrics.tally(
        np.array([[3, 0, 1], [0, 0, 0], [0, 0, 0]])
    )  # two classes absent, the third one predicted
    np.testing.assert_array_equal(np.isnan(metrics.recall(confusion)), [False, True, True])
    np.testing.assert_array_equal(np.isnan(metrics.precision(confusion)), [False, True, False])
    np.testing.assert_array_equal(np.isnan(metrics.specificity(confusion)), [True, False, False])
    np.testing.assert_array_equal(np.isnan(metrics.f1(confusion)), [False, True, False])
    everything = metrics.tally(np.array([[4, 0], [0, 0]]))
    np.testing.assert_array_equal(np.isnan(metrics.negative_predictive_value(everything)), [True, False])
    assert np.isnan(metrics.kappa(everything))
    assert metrics.balanced_accuracy(confusion) == 0.75
    assert metrics.macro_f1(confusion) == pytest.approx((6 / 7 + 0) / 2)
    assert metrics.mcc(confusion) == 0
    nothing = metrics.tally(np.zeros((3, 3), dtype=int))
    assert all(np.isnan(metric(nothing)) for metric in metrics.TALLY_METRICS.values())


def test_matthews_coefficient_and_kappa_of_a_published_table():
    counts = metrics.tally(np.array([[20, 5], [10, 15]]))
    assert float(metrics.mcc(counts)) == pytest.approx(0.408, abs=5e-4)
    assert float(metrics.kappa(counts)) == pytest.approx(0.400, abs=5e-4)


def test_counts_too_large_for_64_bit_products_do_not_overflow():
    huge = np.array([[20, 5], [10, 15]]) * 10**8
    for metric in (metrics.mcc, metrics.kappa):
        small = metric(metrics.tally(huge // 10**8))
        assert float(metric(metrics.tally(huge))) == pytest.approx(float(small), rel=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 8])
def test_log_loss_equals_scikit_learns(simulate, n_classes):
    rng = np.random.default_rng(n_classes)
    truth, probabilities = simulate(rng, 300, n_classes, skill=2)
    expected = sk.log_loss(truth, probabilities, labels=range(n_classes))
    assert metrics.log_loss(truth, probabilities) == pytest.approx(expected, rel=1e-12)


def test_log_loss_of_certain_answers():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    right = metrics.sample_losses(np.array([0, 1]), probabilities)
    np.testing.assert_array_equal(right, [0.0, 0.0])
    assert not np.signbit(right).any()
    wrong = metrics.log_loss(np.array([1, 0]), probabilities)
    assert wrong == pytest.approx(sk.log_loss([1, 0], probabilities), rel=1e-12)
    assert np.isnan(metrics.log_loss(np.array([], dtype=int), np.empty((0, 2))))


@pytest.mark.parametrize("n_classes", [2, 3, 8])
def test_brier_score_equals_scikit_learns(simulate, n_classes):
    truth, probabilities = simulate(np.random.default_rng(n_classes), 300, n_classes, skill=2)
    one_sided = [sk.brier_score_loss(truth == k, probabilities[:, k]) for k in range(n_classes)]
    assert metrics.brier(truth, probabilities) == pytest.approx(sum(one_sided), rel=1e-12)
    certain = np.eye(n_classes)[truth]
    assert metrics.brier(truth, certain) == 0
    assert metrics.brier(truth, np.roll(certain, 1, axis=1)) == 2
    assert np.isnan(metrics.brier(np.array([], dtype=int), np.empty((0, n_classes))))


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), st.integers(1, 30))
def test_predictive_values_at_the_prevalence_of_a_table_are_those_of_the_table(hits, missed, alarms, rest, times):
    prevalence = times * (hits + missed) / (times * (hits + missed) + alarms + rest)
    found = metrics.at_prevalence(hits / (hits + missed), rest / (alarms + rest), prevalence)
    assert found[0] == pytest.approx(times * hits / (times * hits + alarms))
    assert found[1] == pytest.approx(rest / (rest + times * missed))


def test_a_screening_test_of_a_rare_class():
    assert metrics.at_prevalence(0.9, 0.9, 0.01) == pytest.approx((0.0833, 0.9989), abs=5e-5)
    assert np.isnan(metrics.at_prevalence(0.0, 1.0, 0.1)[0])
    assert np.isnan(metrics.at_prevalence(1.0, 0.0, 0.1)[1])


def test_a_tie_goes_to_the_first_class():
    tied = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    np.testing.assert_array_equal(metrics.predicted_index(tied), [0, 1])


def test_an_unknown_label_is_named():
    with pytest.raises(UsageError, match=r"1 unknown class\(es\): 'cyst'. Expected one of 'NA', 'glioma'"):
        metrics.label_index(np.array(["NA", "cyst", "cyst"], dtype=object), ("NA", "glioma"))


answers = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(answers, st.permutations(range(4)), st.randoms(use_true_random=False))
def test_order_of_samples_and_of_classes_does_not_matter(pairs, order, random):
    truth, predicted = np.array(pairs).T
    confusion = metrics.tally(metrics.confusion_matrix(truth, predicted, 4))
    shuffled = random.sample(pairs, len(pairs))
    renamed = np.array(order)[np.array(shuffled)].T
    other = metrics.tally(metrics.confusion_matrix(renamed[0], renamed[1], 4))
    for name, metric in metrics.TALLY_METRICS.items():
        assert float(metric(other)) == pytest.approx(float(metric(confusion)), abs=1e-12, nan_ok=True), name
    np.testing.assert_array_equal(metrics.recall(other)[list(order)], metrics.recall(confusion))
