"""Temperature, reliability bins and calibration errors, against the reference values and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from clearmargin.evaluation.calibration import (
    HIGHEST,
    Temperature,
    brier_score,
    calibration_block,
    classwise_error,
    error_if_perfect,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    uncalibrated,
)


def drawn(rng, n, classes=4, scale=1.0):
    """Logits whose softmax is right, times a scale, and truth drawn from them."""
    logits = rng.normal(0, 1.5, (n, classes))
    truth = (special.softmax(logits, axis=1).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits * scale, truth


def test_calibrated_logits_times_two_and_a_half_give_that_temperature():
    logits, truth = drawn(np.random.default_rng(0), 20_000, scale=2.5)
    fitted = fit_temperature(logits, truth)
    assert fitted.outcome == "fitted"
    assert fitted.value == pytest.approx(2.5, rel=0.03)
    assert (special.softmax(logits / fitted.value, axis=1).argmax(axis=1) == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_the_temperature_is_the_minimum_of_the_log_loss(scale):
    logits, truth = drawn(np.random.default_rng(1), 300, scale=scale)

    def loss(log_temperature):
        return -special.log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(300), truth].mean()

    best = optimize.minimize_scalar(loss, bounds=(-2.3, 2.3), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(logits, truth).value == pytest.approx(np.exp(best.x), rel=1e-4)
    probabilities = special.softmax(logits, axis=1)
    assert fit_temperature(np.log(probabilities), truth).value == pytest.approx(fit_temperature(logits, truth).value)


def test_where_validation_can_not_tell_the_temperature_stays_and_it_is_said():
    logits = np.eye(3)[np.arange(60) % 3]
    assert fit_temperature(logits, np.arange(60) % 3) == Temperature(1.0, "all-right")
    assert fit_temperature(logits[:19], np.arange(19) % 3) == Temperature(1.0, "few")
    assert fit_temperature(logits, (np.arange(60) + 1) % 3) == Temperature(HIGHEST, "highest")
    nearly = np.arange(60) % 3
    nearly[0] = 1
    assert fit_temperature(logits * 1e-3, nearly).outcome == "lowest"


def test_what_was_said_before_scaling_comes_back():
    logits, _ = drawn(np.random.default_rng(2), 50)
    back = uncalibrated(special.softmax(logits / 1.7, axis=1), 1.7)
    np.testing.assert_allclose(back, special.softmax(logits, axis=1), rtol=1e-12)


def test_bins_and_error_against_brute_force():
    rng = np.random.default_rng(3)
    confidences, right = np.concatenate([rng.random(500), [0.0, 1.0, 0.2, 1 / 15]]), rng.random(504) < 0.6
    bins, error = reliability_bins(confidences, right), 0.0
    for one in bins:
        inside = (confidences > one["low"]) & (confidences <= one["high"]) | ((confidences == 0) & (one["low"] == 0))
        assert one["n"] == inside.sum()
        assert one["accuracy"] == pytest.approx(right[inside].mean())
        assert one["confidence"] == pytest.approx(confidences[inside].mean())
        error += inside.sum() / 504 * abs(right[inside].mean() - confidences[inside].mean())
    assert expected_calibration_error(confidences, right) == pytest.approx(error)


@pytest.mark.parametrize(("n", "expected"), [(200, 0.045), (1000, 0.020)])
def test_a_perfect_model_has_an_error_of_that_size_all_the_same(n, expected):
    rng = np.random.default_rng(4)
    confidences = rng.uniform(0.7, 1.0, n)
    mean, high = error_if_perfect(confidences)
    assert mean == pytest.approx(expected, abs=0.004)
    found = [expected_calibration_error(confidences, rng.random(n) < confidences) for _ in range(400)]
    assert mean == pytest.approx(np.mean(found), rel=0.05)
    assert np.mean(np.array(found) > high) == pytest.approx(0.05, abs=0.03)


def test_brier_and_classwise_error_by_hand():
    probabilities, truth = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0, 1])
    assert brier_score(truth, probabilities) == pytest.approx((0.5 + (0.81 + 0.81)) / 2)
    assert classwise_error(truth, probabilities) == pytest.approx((0.5 + 0.9) / 2)


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**31))
def test_blocks_of_anything_hold_finite_numbers(n, classes, seed):
    rng = np.random.default_rng(seed)
    logits, truth = drawn(rng, n, classes)
    block = calibration_block(
        truth, special.softmax(logits * 20, axis=1), Temperature(0.5, "fitted"), n, 0, clustered=False
    )
    assert sum(one["n"] for one in block["bins"]) == n
    assert 0 <= block["ece"] <= 1
    assert np.isfinite([block["log_loss"], block["brier"], block["uncalibrated"]["log_loss"]]).all()


def test_what_chance_explains_is_not_said_of_samples_in_groups():
    rng = np.random.default_rng(8)
    probabilities = rng.dirichlet([1, 1], 40)
    truth = (rng.random(40) < probabilities[:, 1]).astype(np.int64)
    apart, together = (
        calibration_block(truth, probabilities, Temperature(1.0, "fitted"), 40, 0, clustered=clustered)
        for clustered in (False, True)
    )
    assert (together["ece_if_perfect"], together["ece_if_perfect_high"]) == (None, None)
    assert together["ece"] == apart["ece"] < 1
    assert apart["ece_if_perfect_high"] > 0
