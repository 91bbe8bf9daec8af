"""Repeated studies: mean and spread, and a test that knows that splits overlap."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clearmargin.errors import UsageError, WorkError
from clearmargin.evaluation import summarise_repeats
from clearmargin.evaluation.repeats import corrected_interval


def table(values, kinds=None, metric="rmse"):
    kinds = kinds or {}
    rows = [
        {"seed": seed, "contender": name, "kind": kinds.get(name, "contender"), metric: figure}
        for name, figures in values.items()
        for seed, figure in enumerate(figures)
    ]
    return pd.DataFrame(rows)


def test_mean_spread_and_the_corrected_interval():
    figures = np.array([3.1, 3.4, 2.9, 3.8, 3.3])
    found = summarise_repeats(table({"CNN": figures}), n_train=432, n_test=74, metrics=["rmse"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    summary = found["contenders"]["CNN"]["rmse"]
    assert found["seeds"] == [0, 1, 2, 3, 4]
    assert summary["values"] == figures.tolist()
    assert (summary["n"], summary["min"], summary["max"]) == (5, 2.9, 3.8)
    assert summary["mean"] == pytest.approx(3.3)
    assert summary["sd"] == pytest.approx(np.std(figures, ddof=1))
    reach = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 74 / 432) * np.var(figures, ddof=1))
    assert (summary["low"], summary["high"]) == pytest.approx((3.3 - reach, 3.3 + reach))
    assert summary["method"] == "corrected resampled t (Nadeau & Bengio 2003)"


def test_without_a_test_part_it_is_the_usual_t_test():
    values = np.random.default_rng(0).normal(0.4, 1, 12)
    low, high, t, p = corrected_interval(values, 0.0, 0.95)
    expected = stats.ttest_1samp(values, 0)
    assert (t, p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_pairs_with_baselines_and_holm():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=20)
    frame = table(
        {"CNN": 3.3 + 0.5 * shared, "wide": 3.31 + 0.5 * shared + 0.3 * rng.normal(size=20), "ridge": 4.7 + 0.5 * shared
         + 0.1 * rng.normal(size=20), "trees": 2.4 + 0.5 * shared + 0.1 * rng.normal(size=20)},
        {"ridge": "baseline", "trees": "baseline"},
    )  # fmt: skip
    found = summarise_repeats(frame, n_train=432, n_test=74, metrics=["rmse"])
    pairs = {(pair["first"], pair["second"]): pair for pair in found["comparisons"]}
    assert set(pairs) == {("CNN", "wide"), ("CNN", "ridge"), ("trees", "CNN"), ("wide", "ridge"), ("trees", "wide")}
    assert pairs["trees", "CNN"]["baseline"] == "trees"
    assert pairs["CNN", "ridge"]["baseline"] == "ridge"
    assert pairs["CNN", "wide"]["baseline"] is None
    assert pairs["trees", "CNN"]["first_better"] == 20
    assert pairs["CNN", "ridge"]["distinguishable"] is True
    assert pairs["CNN", "wide"]["distinguishable"] is False
    assert pairs["CNN", "ridge"]["sentence"].startswith(
        "Over 20 splits, CNN is better than ridge: mean RMSE lower by 1.4 (95 % interval 1."
    )
    assert "adjusted for 5 comparisons" in pairs["CNN", "ridge"]["sentence"]
    assert "can't be told apart: mean RMSE differs by" in pairs["CNN", "wide"]["sentence"]
    assert all(pair["p_holm"] >= pair["p_value"] for pair in pairs.values())


def test_of_accuracies_the_higher_one_is_better():
    frame = table({"low": [0.8, 0.81, 0.82], "high": [0.9, 0.915, 0.92]}, metric="accuracy")
    (pair,) = summarise_repeats(frame, n_train=900, n_test=100, metrics=["accuracy"])["comparisons"]
    assert pair["first"] == "high"
    assert pair["difference"]["value"] == pytest.approx(0.101666, abs=1e-5)
    assert "mean accuracy higher by 0.10" in pair["sentence"]


def test_what_is_undefined_is_left_out_and_counted():
    frame = table({"a": [1.0, np.nan, 2.0], "b": [np.nan] * 3, "c": [1.5, 2.5, 2.5]})
    found = summarise_repeats(frame, n_train=9, n_test=1, metrics=["rmse"])
    assert found["contenders"]["a"]["rmse"]["n"] == 2
    assert found["contenders"]["a"]["rmse"]["values"] == [1.0, None, 2.0]
    assert found["contenders"]["b"]["rmse"]["mean"] is None
    assert [(pair["first"], pair["second"], pair["n"]) for pair in found["comparisons"]] == [("a", "c", 2)]


def test_one_repeat_and_no_spread_claim_no_interval():
    single = summarise_repeats(table({"a": [1.0], "b": [2.0]}), n_train=9, n_test=1, metrics=["rmse"])
    assert single["contenders"]["a"]["rmse"]["sd"] is None
    assert single["contenders"]["a"]["rmse"]["low"] is None
    assert single["comparisons"] == []
    same = summarise_repeats(
        table({"a": [1.0] * 4, "b": [1.0] * 4, "c": [2.0] * 4}), n_train=9, n_test=1, metrics=["rmse"]
    )
    assert same["contenders"]["a"]["rmse"]["method"] == "no interval: the repeats show no spread"
    assert [(pair["first"], pair["second"]) for pair in same["comparisons"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    for pair in same["comparisons"]:
        assert not pair["distinguishable"]
        assert (pair["p_value"], pair["p_holm"], pair["t"]) == (None, None, None)
        assert (pair["difference"]["low"], pair["difference"]["high"]) == (None, None)
        assert "can't be told apart" in pair["sentence"]
        assert "(no test: the repeats show no spread)" in pair["sentence"]


def test_two_rounds_that_happen_to_agree_tell_nothing():
    found = summarise_repeats(table({"a": [1.0, 1.5], "b": [2.0, 2.5]}), n_train=9, n_test=1, metrics=["rmse"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    (pair,) = found["comparisons"]
    assert pair["difference"] == {"value": 1.0, "low": None, "high": None, "method": pair["p_method"]}
    assert not pair["distinguishable"]
    assert pair["p_value"] is None
    assert pair["sentence"] == (
        "Over 2 splits, a and b can't be told apart: mean RMSE differs by 1.0 (no test: two rounds can't tell how far "
        "they would vary, from 3 rounds on there is one)."
    )
    assert found["contenders"]["a"]["rmse"]["low"] is None
    assert found["contenders"]["a"]["rmse"]["sd"] == pytest.approx(np.std([1, 1.5], ddof=1))


def test_pairs_without_a_test_do_not_count_among_the_comparisons():
    frame = table({"a": [1.0, 1.1, 1.2], "b": [1.3, 1.5, 1.4], "c": [2.0, 2.1, 2.2]})  # a and c: always 1 apart
    found = summarise_repeats(frame, n_train=9, n_test=1, metrics=["rmse"])["comparisons"]
    p_values = {(pair["first"], pair["second"]): (pair["p_value"], pair["p_holm"]) for pair in found}
    assert p_values["a", "c"] == (None, None)
    tested = sorted(p for p, _ in p_values.values() if p is not None)
    assert sorted(p for _, p in p_values.values() if p is not None) == pytest.approx(
        [2 * tested[0], max(2 * tested[0], tested[1])]
    )
    assert sum("adjusted for 2 comparisons" in pair["sentence"] for pair in found) == 2


@pytest.mark.parametrize(
    ("tested", "noted"), [([10] * 5, False), ([7, 7, 7, 8, 21], True), ([7, 7, 7, 9, 20], False), ([], False)]
)
def test_very_uneven_test_parts_are_noted(tested, noted):
    frame = table({"a": [1.0, 1.1, 1.2, 1.3, 1.2]})
    note = summarise_repeats(frame, n_train=40, n_test=10, metrics=["rmse"], tested=tested)["note"]
    assert (note is not None) == noted
    if noted:
        assert note.startswith("The test parts are very uneven: 7 to 21 samples, 10 on average")


def test_the_same_test_rows_for_every_seed_give_a_spread_and_no_test():
    frame = table({"a": [0.99, 0.991, 0.992], "b": [0.98, 0.982, 0.981]}, metric="accuracy")
    found = summarise_repeats(frame, n_train=60_000, n_test=10_000, metrics=["accuracy"], same_test=True)
    assert found["comparisons"] == []
    summary = found["contenders"]["a"]["accuracy"]
    assert summary["sd"] == pytest.approx(0.001)
    assert summary["low"] is None
    assert summary["method"] == "no interval: every seed was tested on the same rows"


def test_splits_of_one_data_set_are_not_independent():
    """Two learners of the same quality: the naive paired t-test names a winner far too often, the corrected seldom.

    The learners see one half of the columns each, all equally (un)informative, so that in truth neither is better. The
    data set is drawn anew for each study; its 20 splits overlap.
    """
    rng = np.random.default_rng(0)
    n, n_train, splits, studies = 120, 102, 20, 300
    rejected = {"naive": 0, "corrected": 0}
    for _ in range(studies):
        inputs = rng.normal(size=(n, 6))
        targets = inputs.sum(axis=1) + rng.normal(size=n)
        apart = np.empty(splits)
        for split in range(splits):
            order = rng.permutation(n)
            train, test = order[:n_train], order[n_train:]
            errors = []
            for columns in (slice(0, 3), slice(3, 6)):
                seen = inputs[train, columns]
                weights = np.linalg.solve(seen.T @ seen, seen.T @ targets[train])
                errors.append(np.sqrt(((inputs[test, columns] @ weights - targets[test]) ** 2).mean()))
            apart[split] = errors[0] - errors[1]
        for name, extra in (("naive", 0.0), ("corrected", (n - n_train) / n_train)):
            rejected[name] += corrected_interval(apart, extra, 0.95)[3] < 0.05
    assert rejected["naive"] / studies > 0.25
    assert 0.005 < rejected["corrected"] / studies < 0.1


def test_ten_times_ten_folds_are_not_independent():
    """As above over 10 times 10-fold cross-validation: the usual t-test is wrong in more than half of the studies."""
    rng = np.random.default_rng(0)
    n, studies, rejected = 120, 400, {"usual": 0, "corrected": 0}
    for _ in range(studies):
        inputs = rng.normal(size=(n, 6))
        targets = inputs.sum(axis=1) + rng.normal(size=n)
        tests = np.concatenate([rng.permutation(n).reshape(10, -1) for _ in range(10)])
        errors = []
        for seen in (inputs[:, :3], inputs[:, 3:]):
            held, wanted = seen[tests], targets[tests]
            # what is learned from the other folds: the sums over all rows without those of the fold
            squares = seen.T @ seen - np.einsum("fij,fik->fjk", held, held)
            products = seen.T @ targets - np.einsum("fij,fi->fj", held, wanted)
            weights = np.linalg.solve(squares, products[..., np.newaxis])[..., 0]
            errors.append(((np.einsum("fij,fj->fi", held, weights) - wanted) ** 2).mean(axis=1))
        for name, extra in (("usual", 0.0), ("corrected", 1 / 9)):
            rejected[name] += corrected_interval(errors[0] - errors[1], extra, 0.95)[3] < 0.05
    assert 0.45 < rejected["usual"] / studies < 0.75
    assert 0.005 < rejected["corrected"] / studies < 0.1


def nested_table(values, metric="rmse"):
    """Figures of shape (seeds, initialisations) by contender, as a table."""
    rows = [
        {"seed": seed, "initialisation": which + 1, "contender": name, "kind": "contender", metric: figure}
        for name, figures in values.items()
        for seed, row in enumerate(figures)
        for which, figure in enumerate(row)
    ]
    return pd.DataFrame(rows)


def test_initialisations_are_no_further_splits():
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(0.9, 0.02, (6, 3)), "b": rng.normal(0.85, 0.02, (6, 3))}
    found = summarise_repeats(nested_table(values, "accuracy"), n_train=90, n_test=10, metrics=["accuracy"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["unit"], found["rounds"], found["initialisations"]) == ("seed", 6, 3)
    means = table({name: each.mean(axis=1) for name, each in values.items()}, metric="accuracy")
    alone = summarise_repeats(means, n_train=90, n_test=10, metrics=["accuracy"])
    assert found["comparisons"] == alone["comparisons"]
    own = found["contenders"]["a"]["accuracy"]
    assert own["trained"] == values["a"].tolist()
    assert {key: own[key] for key in alone["contenders"]["a"]["accuracy"]} == alone["contenders"]["a"]["accuracy"]
    assert alone["spread"] == [
        "Split and initialisation change together here: [evaluation] initialisations = 2 tells them apart."
    ]


def test_the_spread_is_told_apart_in_words():
    splits = np.array([0.80, 0.84, 0.88, 0.92, 0.96])[:, None]
    values = {"CNN": splits + np.array([-0.01, 0.01]), "other": np.full((5, 2), 0.5)}
    found = summarise_repeats(nested_table(values, "accuracy"), n_train=90, n_test=10, metrics=["accuracy"])
    sources = found["contenders"]["CNN"]["accuracy"]["sources"]
    assert sources["within"] == pytest.approx(0.0002)
    assert sources["between"] == pytest.approx(np.var(splits, ddof=1) - 0.0001)
    first, second = found["spread"]
    assert first == (
        "Of the spread of CNN's accuracy, about 95 % comes from the split and 5 % from the initialisation (5 splits "
        "× 2 initialisations; 95 % interval of the first share 69 to 99 %, exact if splits were independent "
        "(they share data))."
    )
    assert second == "Where the spread of other's accuracy comes from can't be told: too few values differ."


def test_initialisations_of_one_split_are_rounds_without_a_test():
    frame = nested_table({"a": [[0.9, 0.91, 0.92]], "b": [[0.8, 0.81, 0.79]]}, "accuracy")
    found = summarise_repeats(frame, n_train=90, n_test=10, metrics=["accuracy"])
    assert (found["unit"], found["rounds"], found["initialisations"]) == ("initialisation", 3, 1)
    assert found["comparisons"] == []
    own = found["contenders"]["a"]["accuracy"]
    assert (own["values"], own["low"], own["sd"]) == ([0.9, 0.91, 0.92], None, pytest.approx(0.01))
    assert "There is one split" in found["spread"][0]


def test_given_parts_can_not_vary():
    values = {"a": [[0.9, 0.91], [0.92, 0.93]]}
    settings = {"n_train": 90, "n_test": 10, "metrics": ["accuracy"], "same_test": True}
    found = summarise_repeats(nested_table(values, "accuracy"), **settings, same_parts=True)
    assert (found["rounds"], found["contenders"]["a"]["accuracy"]["values"]) == (4, [0.9, 0.91, 0.92, 0.93])
    assert found["spread"][0].startswith("The parts are given and can't vary")
    cut = summarise_repeats(nested_table(values, "accuracy"), **settings)
    assert "comes from the validation part" in cut["spread"][0]
    seeds = table({"a": [0.9, 0.91, 0.92]}, metric="accuracy")
    assert summarise_repeats(seeds, **settings, same_parts=True)["unit"] == "seed"
    assert summarise_repeats(seeds, **settings)["spread"][0].startswith("Validation part and initialisation change")


@pytest.mark.parametrize(("noise", "trained"), [(0.0, 1), (0.3, 1), (0.3, 2), (0.3, 8), (1.0, 2)])
def test_the_level_holds_with_initialisations_nested_in_splits(noise, trained):
    """Null studies: linear learners of the same quality, whose weights an initialisation disturbs."""
    rng = np.random.default_rng(trained)
    n, n_train, splits, studies = 120, 102, 10, 200
    rejected = 0
    for _ in range(studies):
        inputs = rng.normal(size=(n, 6))
        targets = inputs.sum(axis=1) + rng.normal(size=n)
        apart = np.empty((splits, trained))
        for split in range(splits):
            order = rng.permutation(n)
            train, test = order[:n_train], order[n_train:]
            errors = []
            for columns in (slice(0, 3), slice(3, 6)):
                seen = inputs[train, columns]
                weights = np.linalg.solve(seen.T @ seen, seen.T @ targets[train])
                weights = weights[:, None] + noise * rng.normal(size=(3, trained))
                errors.append(np.sqrt(((inputs[test, columns] @ weights - targets[test, None]) ** 2).mean(axis=0)))
            apart[split] = errors[0] - errors[1]
        extra = (n - n_train) / n_train
        rejected += corrected_interval(apart.mean(axis=1), extra, 0.95)[3] < 0.05
    assert rejected / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize(("frame", "settings", "error", "message"), [
    (table({"a": [1.0]}), {"metrics": ["rmsse"]}, UsageError, r"among rmse, .*got \['rmsse'\]"),
    (table({"a": [1.0]}), {"metrics": []}, UsageError, "got none"),
    (table({"a": [1.0]}), {"n_train": 0}, UsageError, "got 0 to train and 1 to test"),
    (table({"a": [1.0]}), {"metrics": ["mae"]}, WorkError, "lacks mae"),
    (table({"a": [1.0]}).iloc[:0], {}, WorkError, "is empty"),
    (table({"a": [1.0]}, {"a": "model"}), {}, WorkError, r"must be contender or baseline, got \['model'\]"),
    (pd.concat([table({"a": [1.0]})] * 2), {}, WorkError, "holds 'a' twice for seed 0"),
], ids=["metric", "no metric", "rows", "column", "empty", "kind", "twice"])  # fmt: skip
def test_what_cant_be_summed_up_is_refused(frame, settings, error, message):
    with pytest.raises(error, match=message):
        summarise_repeats(frame, **{"n_train": 9, "n_test": 1, "metrics": ["rmse"], **settings})
