"""The record of a regression: its shape, its figures, its intervals, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from clearmargin.errors import UsageError, WorkError
from clearmargin.evaluation import evaluate_estimates
from clearmargin.evaluation.bootstrap import draw_weights
from clearmargin.evaluation.intervals import bca_interval, percentile_interval, too_few_groups
from clearmargin.evaluation.regression_metrics import error_sums, rmse
from clearmargin.records import Estimates


def estimates_of(targets, values, groups=None):
    rows = range(len(targets))
    return Estimates(
        names=np.array([f"row {i}" for i in rows], dtype=object),
        targets=np.asarray(targets, dtype=np.float64),
        groups=np.array([f"g{i}" for i in (rows if groups is None else groups)], dtype=object),
        values=np.asarray(values, dtype=np.float64),
    )


@pytest.fixture
def study():
    rng = np.random.default_rng(0)
    targets = 22 + 9 * rng.normal(size=74)
    errors = {"1-D CNN": 3.0, "wide CNN": 3.2, "ridge regression": 4.5, "mean": 9.0}
    made = {name: estimates_of(targets, targets + size * rng.standard_t(5, 74)) for name, size in errors.items()}
    return dict(list(made.items())[:2]), dict(list(made.items())[2:])


def test_the_record(study):
    contenders, baselines = study
    record = evaluate_estimates(contenders, baselines=baselines, target="medv", resamples=400, seed=3)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    head = {key: record[key] for key in ("format", "task", "part", "target", "n", "groups", "clustered", "resamples")}
    assert head == {
        "format": 1, "task": "regression", "part": "test", "target": "medv", "n": 74, "groups": 74,
        "clustered": False, "resamples": 400,
    }  # fmt: skip
    assert list(record["contenders"]) == ["1-D CNN", "wide CNN"]
    assert list(record["baselines"]) == ["ridge regression", "mean"]
    for name, estimates in {**contenders, **baselines}.items():
        figures = {**record["contenders"], **record["baselines"]}[name]["metrics"]
        assert list(figures) == ["rmse", "mae", "mse", "r2"]
        assert figures["rmse"]["value"] == pytest.approx(
            sk.root_mean_squared_error(estimates.targets, estimates.values)
        )
        assert figures["r2"]["value"] == pytest.approx(sk.r2_score(estimates.targets, estimates.values))
        for figure in figures.values():
            assert figure["low"] < figure["value"] < figure["high"]
            assert figure["method"] == "BCa bootstrap"
        for end in ("value", "low", "high"):
            assert figures["rmse"][end] ** 2 == pytest.approx(figures["mse"][end])
    pairs = [{pair["first"], pair["second"]} for pair in record["comparisons"]]
    assert len(pairs) == 5
    assert {"ridge regression", "mean"} not in pairs
    assert {pair["baseline"] for pair in record["comparisons"]} == {None, "ridge regression", "mean"}


def test_the_same_seed_gives_the_same_record(study):
    contenders, baselines = study
    first = evaluate_estimates(contenders, baselines=baselines, target="y", resamples=100)
    assert evaluate_estimates(contenders, baselines=baselines, target="y", resamples=100) == first
    other = evaluate_estimates(contenders, baselines=baselines, target="y", resamples=100, seed=1)
    assert other["contenders"]["1-D CNN"] != first["contenders"]["1-D CNN"]


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1e9])
def test_the_unit_of_the_target_changes_nothing_but_the_unit(study, unit):
    contenders, baselines = study
    scaled = [
        {name: estimates_of(one.targets * unit, one.values * unit) for name, one in group.items()}
        for group in (contenders, baselines)
    ]
    plain = evaluate_estimates(contenders, baselines=baselines, target="y", resamples=200)
    other = evaluate_estimates(scaled[0], baselines=scaled[1], target="y", resamples=200)
    for name, figures in plain["contenders"].items():
        for metric, power in (("rmse", 1), ("mse", 2), ("r2", 0)):
            for end in ("value", "low", "high"):
                expected = figures["metrics"][metric][end] * unit**power
                assert other["contenders"][name]["metrics"][metric][end] == pytest.approx(expected, rel=1e-6)
    for one, two in zip(plain["comparisons"], other["comparisons"], strict=True):
        assert [one[key] for key in ("first", "second", "p_value", "distinguishable")] == [
            two[key] for key in ("first", "second", "p_value", "distinguishable")
        ]


def test_a_baseline_that_is_called_like_a_contender_is_refused():
    targets = np.arange(10.0)
    made = estimates_of(targets, targets + 1)
    with pytest.raises(UsageError, match=r"must have different names, got 'ridge' twice"):
        evaluate_estimates({"ridge": made}, baselines={"ridge": made}, target="y", resamples=100)


def test_equal_errors_are_said_to_be_equal():
    targets = np.arange(10.0)
    made = estimates_of(targets, targets + 1)
    record = evaluate_estimates({"net": made}, baselines={"ridge": made}, target="y", resamples=100)
    assert record["comparisons"][0]["sentence"] == (
        "net and ridge can't be told apart on 10 rows: their errors are of the same size."
    )


def test_perfect_and_constant_figures_claim_no_interval():
    targets = np.full(40, 3.0)
    record = evaluate_estimates({"one": estimates_of(targets, targets)}, baselines={}, target="y", resamples=100)
    figures = record["contenders"]["one"]["metrics"]
    assert figures["r2"] == {"value": None, "low": None, "high": None, "method": "undefined in this part"}
    assert figures["rmse"]["value"] == 0
    assert figures["rmse"]["low"] is None
    assert record["comparisons"] == []


def test_a_single_group_has_no_interval():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=30)
    one, other = (estimates_of(targets, targets + rng.normal(size=30) * size, np.zeros(30)) for size in (1, 2))
    record = evaluate_estimates({"one": one, "other": other}, baselines={}, target="y", resamples=100)
    for figure in record["contenders"]["one"]["metrics"].values():
        assert (figure["low"], figure["high"], figure["method"]) == (None, None, "no interval: a single group")
    comparison = record["comparisons"][0]
    assert (comparison["difference"]["low"], comparison["mae_difference"]["high"]) == (None, None)
    assert comparison["difference"]["value"] > 0
    assert re.fullmatch(
        r"one and other can't be told apart on 30 rows in 1 group: RMSE differs by [\d.]+ "
        r"\(no interval: a single group; sign flips over 1 group, p = 1.000\).",
        comparison["sentence"],
    )
    assert too_few_groups(record).startswith("The test part has only 1 group: ")


def test_clustered_rows_are_resampled_by_group():
    """Ten measurements a patient with an error of the patient's own: rows alone would be far too sure."""
    rng = np.random.default_rng(0)
    targets = rng.normal(size=400)
    values = targets + np.repeat(rng.normal(size=40), 10)
    alone = evaluate_estimates({"one": estimates_of(targets, values)}, baselines={}, target="y", resamples=400)
    grouped = evaluate_estimates(
        {"one": estimates_of(targets, values, np.arange(400) // 10)}, baselines={}, target="y", resamples=400
    )
    assert (grouped["groups"], grouped["clustered"]) == (40, True)
    figures = [record["contenders"]["one"]["metrics"]["rmse"] for record in (alone, grouped)]
    assert figures[1]["method"] == "BCa bootstrap over groups"
    widths = [figure["high"] - figure["low"] for figure in figures]
    assert widths[1] > 2 * widths[0]


def test_the_bca_interval_is_scipys():
    rng = np.random.default_rng(0)
    errors = rng.standard_t(5, 74)
    sums = error_sums(errors, np.zeros(74), np.arange(74), 74)
    resampled = rmse(sums.weighted(draw_weights(rng, 40_000, 74)))
    found = bca_interval(float(rmse(sums.total())), resampled, rmse(sums.without_each()))
    expected = stats.bootstrap(
        (errors,), lambda x, axis: np.sqrt((x**2).mean(axis=axis)), n_resamples=40_000, method="BCa", rng=1
    ).confidence_interval
    assert found == pytest.approx(tuple(expected), abs=0.015)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_bca_interval_does_not_hang_on_the_last_digits_of_equal_values(scale):
    rng = np.random.default_rng(0)
    jackknife, value = scale * rng.normal(size=9), scale * 0.7
    others = value + scale * rng.normal(size=180)
    above, equal, below = (
        bca_interval(value, np.concatenate([others, np.full(20, value * (1 + off))]), jackknife)
        for off in (4e-16, 0.0, -4e-16)
    )
    assert above == pytest.approx(equal, rel=1e-12)
    assert below == pytest.approx(equal, rel=1e-12)
    further = bca_interval(value, np.concatenate([others, np.full(20, value * 1.001)]), jackknife)
    assert further != pytest.approx(equal, rel=1e-6)  # and a difference that is one counts


def test_one_resample_far_away_makes_no_others_equal():
    rng = np.random.default_rng(1)
    resampled, jackknife = rng.random(2000), rng.normal(size=9)
    for outlier in (-1e9, -1e15, -np.inf):
        resampled[0] = outlier
        near = np.where(np.arange(2000) == 0, -1.0, resampled)
        found, expected = (bca_interval(0.45, values, jackknife) for values in (resampled, near))
        assert found == pytest.approx(expected, rel=1e-9)
        assert expected != pytest.approx(percentile_interval(near), rel=1e-3)


def test_the_bca_interval_without_its_correction_is_the_percentile_interval():
    resampled = np.array([1.0, 2.0, 3.0, np.nan])
    for value, jackknife in ((0.0, np.arange(3.0)), (9.0, np.arange(3.0)), (2.0, np.ones(3)), (2.0, np.empty(0))):
        assert bca_interval(value, resampled, jackknife) == percentile_interval(resampled)
    assert np.isnan(bca_interval(1.0, np.array([np.nan]), np.ones(2))).all()


@pytest.mark.parametrize(("draw", "true", "least"), [
    (lambda rng: rng.normal(size=74), 1.0, 0.91),
    (lambda rng: rng.laplace(size=74), np.sqrt(2), 0.88),
    (lambda rng: rng.standard_t(5, size=74), np.sqrt(5 / 3), 0.86),
], ids=["normal", "Laplace", "Student's t"])  # fmt: skip
def test_the_interval_of_the_rmse_covers_what_the_module_says(draw, true, least):
    """About 94, 90 and 88 % of 95 % intervals hold the truth, more than of percentile intervals."""
    rng = np.random.default_rng(0)
    rounds, hits = 600, np.zeros(2)
    for _ in range(rounds):
        sums = error_sums(draw(rng), np.zeros(74), np.arange(74), 74)
        value, resampled = float(rmse(sums.total())), rmse(sums.weighted(draw_weights(rng, 500, 74)))
        for k, (low, high) in enumerate(
            (bca_interval(value, resampled, rmse(sums.without_each())), percentile_interval(resampled))
        ):
            hits[k] += low <= true <= high
    assert least < hits[0] / rounds < 0.97
    assert hits[0] >= hits[1] - 0.01 * rounds


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"values": np.full(10, np.nan)}, WorkError, "estimates of 'one' must be finite numbers, got nan for 'row 0'"),
    ({"values": np.zeros(9)}, WorkError, r"must have shape \(10,\), got \(9,\)"),
    ({"values": np.full(10, 1e200)}, UsageError, r"can be squared, got 1e\+200.*power of ten"),
], ids=["nan", "shape", "huge"])  # fmt: skip
def test_what_cant_be_evaluated_is_refused(change, error, message):
    targets = np.arange(10.0)
    made = replace(estimates_of(targets, targets), **change)
    with pytest.raises(error, match=message):
        evaluate_estimates({"one": made}, baselines={}, target="y", resamples=100)


def test_other_rows_no_rows_and_no_contender_are_refused():
    targets = np.arange(10.0)
    one, other = estimates_of(targets, targets), estimates_of(targets + 1, targets)
    with pytest.raises(UsageError, match="their targets differ in 10 row"):
        evaluate_estimates({"one": one}, baselines={"mean": other}, target="y")
    with pytest.raises(UsageError, match="There is no row to evaluate on"):
        evaluate_estimates({"one": estimates_of([], [])}, baselines={}, target="y")
    with pytest.raises(UsageError, match="There is no contender"):
        evaluate_estimates({}, baselines={"mean": one}, target="y")
    with pytest.raises(UsageError, match="'resamples' of the bootstrap must be at least 40"):
        evaluate_estimates({"one": one}, baselines={}, target="y", resamples=10)
