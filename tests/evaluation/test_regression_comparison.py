"""The decision between contenders of a regression, and that its sentence agrees with its figures."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.evaluation import evaluate_estimates
from clearmargin.evaluation.regression_verdict import sentence
from clearmargin.records import Estimates


def compare(targets, contenders, baselines=None, groups=None, resamples=400, **settings):
    def made(values):
        rows = range(len(targets))
        units = rows if groups is None else groups
        names, of_group = (np.array([f"{i}" for i in each], dtype=object) for each in (rows, units))
        return Estimates(names, np.asarray(targets, dtype=float), of_group, np.asarray(values, dtype=float))

    return evaluate_estimates(
        {name: made(values) for name, values in contenders.items()},
        baselines={name: made(values) for name, values in (baselines or {}).items()},
        target="y", resamples=resamples, **settings,
    )["comparisons"]  # fmt: skip


def test_a_clear_winner():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=74)
    values = {"ridge": targets + 2 * rng.normal(size=74), "1-D CNN": targets + rng.normal(size=74)}
    (record,) = compare(targets, values)
    rmses = {name: np.sqrt(((said - targets) ** 2).mean()) for name, said in values.items()}
    assert (record["first"], record["second"]) == ("1-D CNN", "ridge")
    assert record["difference"]["value"] == pytest.approx(rmses["ridge"] - rmses["1-D CNN"])
    assert 0 < record["difference"]["low"] < record["difference"]["value"] < record["difference"]["high"]
    assert record["distinguishable"] is True
    assert re.fullmatch(
        r"1-D CNN is better than ridge: RMSE lower by [\d.]+ \(95 % interval [\d.]+ to [\d.]+; "
        r"sign flips over 74 rows, p = 0\.00\d+\)\.",
        record["sentence"],
    )


def test_a_baseline_can_win():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=200)
    (record,) = compare(targets, {"CNN": targets + 3 * rng.normal(size=200)}, {"ridge": targets + rng.normal(size=200)})
    assert record["baseline"] == record["first"] == "ridge"
    assert record["sentence"].startswith("ridge is better than CNN: RMSE lower by")


def test_the_test_is_the_exact_one_over_all_sign_patterns():
    """Ten rows have 1024 sign patterns: all of them, against the random ones."""
    rng = np.random.default_rng(5)
    targets = np.zeros(10)
    one, other = rng.normal(size=10), 1.6 * rng.normal(size=10)
    (record,) = compare(targets, {"one": one, "other": other}, resamples=20_000)
    moved = one**2 - other**2
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ moved) >= abs(moved.sum()) - 1e-12).mean()
    assert record["p_value"] == pytest.approx(exact, abs=0.012)


def test_no_winner_when_most_rows_say_the_opposite():
    """Few large errors decide the RMSE, many small ones the mean absolute error."""
    targets = np.zeros(300)
    steady = np.full(300, 1.0)
    wild = np.where(np.arange(300) % 15 == 0, 6.0, 0.4)
    (record,) = compare(targets, {"wild": wild, "steady": steady})
    assert record["first"] == "steady"
    assert record["difference"]["low"] > 0
    assert record["p_holm"] < 0.05
    assert record["distinguishable"] is False
    assert "steady and wild can't be ranked on 300 rows: steady has the lower RMSE" in record["sentence"]
    assert record["sentence"].endswith("but wild the lower mean absolute error, by 0.23.")


def test_clustered_rows_are_flipped_by_group():
    """Eight patients of 40 rows: rows would be certain, patients are not."""
    rng = np.random.default_rng(0)
    groups = np.arange(320) // 40
    one = np.where(groups < 3, 1.0, 1.2) + 0.1 * rng.normal(size=320)
    other = np.where(groups < 5, 1.2, 1.0) + 0.1 * rng.normal(size=320)
    (by_row,) = compare(np.zeros(320), {"one": one, "other": 1.1 * other})
    (by_group,) = compare(np.zeros(320), {"one": one, "other": 1.1 * other}, groups=groups)
    assert by_row["p_value"] < 0.01 < 0.05 < by_group["p_value"]
    assert by_group["p_method"] == "sign flips over 8 groups on squared errors"
    assert "can't be told apart on 320 rows in 8 groups" in by_group["sentence"]
    assert "sign flips over 8 groups, p = " in by_group["sentence"]


def test_holm_over_all_pairs():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=74)
    made = {name: targets + size * rng.normal(size=74) for name, size in zip("abcd", (1, 1.2, 1.4, 1.3), strict=True)}
    records = compare(targets, {"a": made["a"], "b": made["b"]}, {"c": made["c"], "d": made["d"]})
    assert len(records) == 5
    worst = sorted(record["p_value"] for record in records)
    smallest = min(records, key=lambda record: record["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1, 5 * worst[0]))
    assert all(", adjusted for 5 comparisons" in record["sentence"] for record in records)


def test_without_a_true_difference_few_studies_name_a_winner():
    rng = np.random.default_rng(0)
    rounds, named = 250, 0
    for _ in range(rounds):
        shared = rng.laplace(size=74)
        one, other = shared + rng.laplace(size=(2, 74))
        (record,) = compare(np.zeros(74), {"one": one, "other": other}, resamples=200)
        named += record["distinguishable"]
    assert 0.005 < named / rounds < 0.085


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 1.0, 1e6]), st.floats(0.4, 1.4))
def test_the_sentence_prints_what_decides(seed, unit, share):
    rng = np.random.default_rng(seed)
    targets = unit * rng.normal(size=30)
    one, other = unit * rng.normal(size=(2, 30))
    (record,) = compare(targets, {"one": targets + one, "other": targets + share * other}, resamples=100)
    text = record["sentence"].replace(", but sign", "; sign").replace(", although sign", "; sign")
    found = re.search(r"interval (\S+) to (\S+); sign flips over 30 rows, p = ([\d.]+)\)", text)
    assert found
    assert (float(found[1]) > 0) == (record["difference"]["low"] > 0)
    assert (float(found[3]) < 0.05) == (record["p_holm"] < 0.05)
    assert ("is better" in record["sentence"]) == record["distinguishable"]


def test_a_small_or_a_large_unit_is_printed_in_full():
    figures = {"value": 123456.7, "low": 2345.6, "high": 234567.8}
    record = {
        "first": "a", "second": "b", "difference": figures, "mae_difference": figures, "p_value": 0.01, "p_holm": 0.01,
        "distinguishable": True,
    }  # fmt: skip
    assert "RMSE lower by 123457 (95 % interval 2346 to 234568; " in sentence(record, 74, None, 1, 0.95)
    record["difference"] = {"value": 1.26e-4, "low": 1.1e-6, "high": 2.5e-4}
    assert "RMSE lower by 0.00013 (95 % interval 0.000001 to 0.00025; " in sentence(record, 74, None, 1, 0.95)
    record["difference"] = {"value": 1.26e11, "low": -1e9, "high": 2.5e11}
    record["distinguishable"] = False
    assert "RMSE differs by 1.26e+11 (95 % interval -1e+09 to 2.5e+11, although" in sentence(record, 74, None, 1, 0.95)
