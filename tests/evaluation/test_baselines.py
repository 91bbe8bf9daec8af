"""Baselines: what they are, that they learn, that they repeat, and that they never see what they predict."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from clearmargin.evaluation import baseline_estimates
from clearmargin.evaluation import baselines as module
from clearmargin.evaluation.baselines import MEAN, RIDGE, TREES


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 5)) * [1, 100, 0.01, 1, 1] + [0, 500, 0, 0, 7]
    targets = 20 + 3 * inputs[:, 0] - 0.02 * inputs[:, 1] + 4 * (inputs[:, 3] > 0) + rng.normal(size=300)
    return inputs[:250], targets[:250], inputs[250:], targets[250:]


def rmse(said, true):
    return np.sqrt(((said - true) ** 2).mean())


def test_the_mean_is_that_of_the_training_rows_and_the_others_learn(table):
    known, targets, asked, true = table
    found = baseline_estimates(known, targets, asked, 0)
    assert list(found) == [MEAN, RIDGE, TREES]
    np.testing.assert_allclose(found[MEAN], targets.mean(), rtol=1e-12)
    assert rmse(found[TREES], true) < rmse(found[RIDGE], true) < 0.7 * rmse(found[MEAN], true)
    assert all(said.dtype == np.float64 and said.shape == (50,) for said in found.values())


def test_ridge_is_the_textbooks_with_a_penalty_from_leaving_one_out(table):
    known, targets, asked, _ = table
    middle, spread = known.mean(axis=0), known.std(axis=0)
    standard = (known - middle) / spread
    left_out = []
    for penalty in module.RIDGE_PENALTIES:
        errors = []
        for row in range(250):
            rest = np.arange(250) != row
            fitted = Ridge(alpha=penalty).fit(standard[rest], targets[rest])
            errors.append(targets[row] - fitted.predict(standard[row : row + 1])[0])
        left_out.append(np.mean(np.square(errors)))
    best = module.RIDGE_PENALTIES[int(np.argmin(left_out))]
    expected = Ridge(alpha=best).fit(standard, targets).predict((asked - middle) / spread)
    np.testing.assert_allclose(baseline_estimates(known, targets, asked, 0)[RIDGE], expected, rtol=1e-9)


def test_the_same_numbers_give_the_same_answers_in_any_unit(table):
    known, targets, asked, _ = table
    first = baseline_estimates(known, targets, asked, 7)
    again = baseline_estimates(known.astype(np.float64), targets, asked, 7)
    scaled = baseline_estimates(known, 2.0**30 * targets, asked, 7)
    for name, said in first.items():
        assert said.tobytes() == again[name].tobytes()
        np.testing.assert_allclose(scaled[name], 2.0**30 * said, rtol=1e-12)


def test_many_rows_take_the_histogram_version_and_repeat(monkeypatch, table):
    known, targets, asked, true = table
    monkeypatch.setattr(module, "MANY_ROWS", 100)
    found, again = (baseline_estimates(known, targets, asked, 1)[TREES] for _ in range(2))
    assert found.tobytes() == again.tobytes()
    assert rmse(found, true) < 0.5 * rmse(np.full(50, targets.mean()), true)


def test_each_row_is_predicted_by_itself(table):
    """What is asked teaches nothing: a row's answer does not depend on the rows beside it."""
    known, targets, asked, _ = table
    whole, alone = baseline_estimates(known, targets, asked, 0), baseline_estimates(known, targets, asked[3:4], 0)
    for name, said in alone.items():
        np.testing.assert_allclose(said, whole[name][3:4], rtol=1e-12)


def test_constant_columns_and_constant_targets():
    known = np.column_stack([np.ones(20), np.arange(20.0)])
    found = baseline_estimates(known, np.full(20, 5.0), known[:3], 0)
    for said in found.values():
        np.testing.assert_allclose(said, 5.0)


def test_trees_see_all_digits_of_large_numbers():
    stamps = 1.7e12 + np.arange(100.0)[:, None]
    targets = (np.arange(100) % 10 < 5).astype(float)  # as float32 all stamps are the same
    said = baseline_estimates(stamps, targets, stamps, 0)["gradient-boosted trees"]
    assert np.abs(said - targets).mean() < 0.2
    assert all(np.isfinite(one).all() for one in baseline_estimates(stamps * 1e87, targets, stamps * 1e87, 0).values())
