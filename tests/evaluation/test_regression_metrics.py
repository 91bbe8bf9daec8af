"""Metrics of a regression against scikit-learn, on rows and on weightings of groups."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from clearmargin.evaluation.bootstrap import draw_weights
from clearmargin.evaluation.regression_metrics import REGRESSION_METRICS, error_sums

ORACLES = {
    "mse": sk.mean_squared_error,
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "r2": lambda true, said: sk.r2_score(true, said, force_finite=False),
}


def test_every_metric_has_an_oracle():
    assert set(ORACLES) == set(REGRESSION_METRICS)


@pytest.mark.parametrize("n", [2, 5, 74, 1000])
@pytest.mark.parametrize(("level", "unit"), [(0.0, 1.0), (1e6, 1.0), (-3.0, 1e-9), (22.5, 1e7)])
def test_agrees_with_scikit_learn(n, level, unit):
    rng = np.random.default_rng(n)
    targets = level + unit * rng.normal(size=n)
    values = targets + unit * rng.standard_t(4, size=n)
    sums = error_sums(targets, values).total()
    for name, metric in REGRESSION_METRICS.items():
        assert metric(sums) == pytest.approx(ORACLES[name](targets, values), rel=1e-9), name


@pytest.mark.parametrize(("n", "n_groups"), [(40, 40), (60, 9), (30, 2)])
def test_weights_are_repeated_rows_and_the_jackknife_leaves_groups_out(n, n_groups):
    rng = np.random.default_rng(n)
    targets, values = 50 + rng.normal(size=(2, n))
    units = rng.permutation(np.arange(n) % n_groups)
    sums = error_sums(targets, values, units, n_groups)
    weights = draw_weights(rng, 25, n_groups)
    drawn = [np.repeat(np.arange(n), row[units].astype(int)) for row in weights]
    left = [np.flatnonzero(units != group) for group in range(n_groups)]
    for name, metric in REGRESSION_METRICS.items():
        for found, rows in ((metric(sums.weighted(weights)), drawn), (metric(sums.without_each()), left)):
            expected = [ORACLES[name](targets[row], values[row]) for row in rows]
            np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e15])
def test_constant_targets_have_no_r2(constant):
    targets = np.full(7, constant)
    sums = error_sums(targets, targets + 1.0)
    assert np.isnan(REGRESSION_METRICS["r2"](sums.total()))
    assert np.isnan(REGRESSION_METRICS["r2"](sums.weighted(np.array([[3.0]])))).all()
    assert REGRESSION_METRICS["mae"](sums.total()) == pytest.approx(1.0)


def test_a_resample_of_one_row_has_no_r2():
    sums = error_sums(np.array([1.3, 2.7, 9.1]), np.zeros(3), np.arange(3), 3)
    assert np.isnan(REGRESSION_METRICS["r2"](sums.weighted(3 * np.eye(3)))).all()


def test_the_mean_of_the_part_has_an_r2_of_zero_and_the_truth_one():
    targets = np.random.default_rng(0).normal(size=20)
    assert REGRESSION_METRICS["r2"](error_sums(targets, np.full(20, targets.mean())).total()) == pytest.approx(0)
    assert REGRESSION_METRICS["r2"](error_sums(targets, targets).total()) == 1


def test_without_rows_nothing_is_defined():
    sums = error_sums(np.empty(0), np.empty(0)).total()
    assert all(np.isnan(metric(sums)) for metric in REGRESSION_METRICS.values())
