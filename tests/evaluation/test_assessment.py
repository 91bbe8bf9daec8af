"""The whole evaluation: its layout, its figures, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from clearmargin.errors import UsageError
from clearmargin.evaluation import evaluate
from clearmargin.evaluation.bootstrap import HEADLINE
from clearmargin.evaluation.intervals import too_few_groups, wilson


@pytest.fixture
def study(simulate, predictions_of):
    """Two contenders on 120 samples of three classes, and the labels of a training part."""

    def make(groups=None, n=120):
        rng = np.random.default_rng(0)
        truth, probabilities = simulate(rng, n, 3, skill=3)
        weaker = simulate(rng, n, 3, skill=0.5, truth=truth)[1]
        contenders = {
            "plain CNN": predictions_of(truth, weaker, groups=groups),
            "VGG16": predictions_of(truth, probabilities, groups=groups),
        }
        return contenders, np.array(["class 1"] * 5 + ["class 0"] * 4, dtype=object)

    return make


def test_layout(study):
    contenders, train_labels = study()
    result = evaluate(contenders, train_labels=train_labels, resamples=200, seed=7)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {key: result[key] for key in list(result)[:10]} == {
        "format": 1,
        "task": "classification",
        "part": "test",
        "classes": ["class 0", "class 1", "class 2"],
        "n": 120,
        "groups": 120,
        "clustered": False,
        "confidence": 0.95,
        "resamples": 200,
        "seed": 7,
    }
    assert list(result)[10:] == ["baseline", "prevalence", "sample_size", "contenders", "comparisons", "subgroups"]
    assert list(result["contenders"]) == ["plain CNN", "VGG16"]
    one = result["contenders"]["VGG16"]
    assert list(one) == ["metrics", "per_class", "confusion", "errors"]
    assert list(one["metrics"]) == list(HEADLINE)
    assert all(list(figure) == ["value", "low", "high", "method"] for figure in one["metrics"].values())
    (comparison,) = result["comparisons"]
    assert comparison["distinguishable"] is True
    assert comparison["sentence"].startswith("VGG16 is better than plain CNN (difference ")


def test_figures_equal_scikit_learns(study):
    contenders, train_labels = study()
    result = evaluate(contenders, train_labels=train_labels, resamples=200)
    for name, predictions in contenders.items():
        truth = np.array([predictions.classes.index(label) for label in predictions.labels])
        predicted = predictions.probabilities.argmax(axis=1)
        found = result["contenders"][name]
        values = {metric: figure["value"] for metric, figure in found["metrics"].items()}
        assert values == pytest.approx(
            {
                "accuracy": sk.accuracy_score(truth, predicted),
                "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
                "macro_f1": sk.f1_score(truth, predicted, average="macro"),
                "mcc": sk.matthews_corrcoef(truth, predicted),
                "kappa": sk.cohen_kappa_score(truth, predicted),
                "auc": sk.roc_auc_score(truth, predictions.probabilities, multi_class="ovr"),
                "log_loss": sk.log_loss(truth, predictions.probabilities),
                "brier": ((predictions.probabilities - np.eye(3)[truth]) ** 2).sum(axis=1).mean(),
            },
            abs=1e-12,
        )
        assert found["confusion"] == sk.confusion_matrix(truth, predicted).tolist()
        assert found["errors"] == (truth != predicted).sum()
        for k, row in enumerate(found["per_class"]):
            assert row["n"] == (truth == k).sum()
            assert row["recall"] == pytest.approx((predicted[truth == k] == k).mean())
            assert (row["recall_low"], row["recall_high"]) == wilson(int((predicted[truth == k] == k).sum()), row["n"])
            rest = predicted[truth != k] != k
            assert row["specificity"] == pytest.approx(rest.mean())
            assert (row["specificity_low"], row["specificity_high"]) == wilson(int(rest.sum()), len(rest))
            assert row["npv"] == pytest.approx((truth[predicted != k] != k).mean())
            assert all(value is None for key, value in row.items() if "at_prevalence" in key)
            assert row["auc"] == pytest.approx(sk.roc_auc_score(truth == k, predictions.probabilities[:, k]))
        for figure in found["metrics"].values():
            assert figure["low"] < figure["value"] < figure["high"]
        assert found["metrics"]["accuracy"]["method"] == "Wilson score"
        assert found["metrics"]["mcc"]["method"] == "bootstrap"


def test_predictive_values_at_a_stated_prevalence(study):
    contenders, train_labels = study()
    stated = {"class 1": 0.01}
    result = evaluate(contenders, train_labels=train_labels, resamples=50, prevalence=stated)
    assert result["prevalence"] == stated
    row = result["contenders"]["VGG16"]["per_class"][1]
    hits, alarms = row["recall"] * 0.01, (1 - row["specificity"]) * 0.99
    assert row["ppv_at_prevalence"] == pytest.approx(hits / (hits + alarms))
    assert row["ppv_at_prevalence"] < row["precision"]
    assert result["contenders"]["VGG16"]["per_class"][0]["ppv_at_prevalence"] is None


def test_subgroups_and_sample_size_are_part_of_it(study):
    contenders, train_labels = study()
    columns = {"sex": ["f", "m", None] * 40}
    result = evaluate(contenders, train_labels=train_labels, resamples=50, columns=columns)
    json.dumps(result, allow_nan=False)
    (column,) = result["subgroups"]
    assert [(value["value"], value["n"]) for value in column["values"]] == [("f", 40), ("m", 40), ("not stated", 40)]
    assert list(column["values"][0]["contenders"]) == ["plain CNN", "VGG16"]
    assert result["sample_size"]["contender"] == "plain CNN"  # the less accurate one needs more


def test_the_baseline_answers_the_most_frequent_training_class(study):
    contenders, train_labels = study()
    labels = contenders["VGG16"].labels
    baseline = evaluate(contenders, train_labels=train_labels, resamples=50)["baseline"]
    assert baseline == {
        "class": "class 1",
        "accuracy": pytest.approx((labels == "class 1").mean()),
        "balanced_accuracy": pytest.approx(1 / 3),
    }


def test_clustered_samples_are_resampled_by_group(study):
    contenders, train_labels = study(groups=np.arange(120) // 3)
    result = evaluate(contenders, train_labels=train_labels, resamples=200)
    assert (result["groups"], result["clustered"]) == (40, True)
    figures = result["contenders"]["VGG16"]["metrics"]
    assert figures["accuracy"]["method"].startswith("Clopper-Pearson over 40 groups (design effect ")
    assert figures["mcc"]["method"] == "bootstrap over groups"
    contenders, train_labels = study(groups=np.arange(120) // 12)
    result = evaluate(contenders, train_labels=train_labels, resamples=200)
    method = result["contenders"]["VGG16"]["metrics"]["mcc"]["method"]
    assert method == "bootstrap over 10 groups (fewer than 35: the interval is too narrow)"


def test_an_absent_class_is_null_and_nothing_breaks(simulate, predictions_of):
    rng = np.random.default_rng(0)
    truth, probabilities = simulate(rng, 40, 3, skill=4, truth=rng.integers(0, 2, 40))
    contenders = {"only": predictions_of(truth, probabilities)}
    labels = np.array(["class 2", "class 2", "class 0"], dtype=object)
    result = evaluate(contenders, train_labels=labels, resamples=100)
    json.dumps(result, allow_nan=False)
    absent = result["contenders"]["only"]["per_class"][2]
    assert absent["n"] == 0
    assert absent["recall"] is absent["auc"] is absent["recall_low"] is absent["recall_high"] is None
    assert result["baseline"] == {"class": "class 2", "accuracy": 0.0, "balanced_accuracy": 0.0}
    assert result["comparisons"] == []


def test_one_class_only_has_no_area(predictions_of):
    contenders = {"only": predictions_of([0] * 10, [[0.9, 0.1]] * 9 + [[0.2, 0.8]])}
    labels = np.array(["class 0"], dtype=object)
    figures = evaluate(contenders, train_labels=labels, resamples=100)["contenders"]["only"]["metrics"]
    assert figures["auc"] == {"value": None, "low": None, "high": None, "method": "undefined in this part"}
    assert figures["accuracy"]["value"] == 0.9


def test_a_single_group_has_no_interval(study):
    contenders, train_labels = study(groups=np.zeros(120, dtype=int))
    result = evaluate(contenders, train_labels=train_labels, resamples=100)
    assert (result["groups"], result["clustered"]) == (1, True)
    for figure in result["contenders"]["VGG16"]["metrics"].values():
        assert (figure["low"], figure["high"]) == (None, None)
        assert figure["method"] == "no interval: a single group"
    comparison = result["comparisons"][0]
    assert comparison["distinguishable"] is False
    assert (comparison["difference"]["low"], comparison["difference"]["high"]) == (None, None)
    assert "on 120 images in 1 group: " in comparison["sentence"]
    assert (
        "(no interval: a single group; sign flips and Student's t over 1 group, larger p = 1.000)"
        in comparison["sentence"]
    )


@pytest.mark.parametrize(("groups", "size"), [(4, 30), (5, 24)])
def test_fewer_than_five_groups_are_warned_of(study, groups, size):
    contenders, train_labels = study(groups=np.arange(120) // size)
    said = too_few_groups(evaluate(contenders, train_labels=train_labels, resamples=100))
    assert said.startswith("The test part has only 4 groups: ") if groups < 5 else said == ""


def test_a_perfect_contender_on_one_sample(predictions_of):
    contenders = {name: predictions_of([1], [[0.0, 1.0]]) for name in ("one", "two")}
    result = evaluate(contenders, train_labels=np.array(["class 0"], dtype=object), resamples=50)
    json.dumps(result, allow_nan=False)
    assert result["contenders"]["one"]["metrics"]["accuracy"]["low"] == pytest.approx(0.2065, abs=5e-5)


def test_the_seed_decides(study):
    contenders, train_labels = study()
    first, again, other = (
        evaluate(contenders, train_labels=train_labels, resamples=100, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["contenders"]["VGG16"]["metrics"]["mcc"] != other["contenders"]["VGG16"]["metrics"]["mcc"]


def test_a_higher_confidence_gives_wider_intervals(study):
    contenders, train_labels = study()
    narrow, wide = (
        evaluate(contenders, train_labels=train_labels, resamples=400, confidence=confidence)
        for confidence in (0.8, 0.99)
    )
    for name in ("accuracy", "balanced_accuracy", "auc", "log_loss"):
        inner, outer = (result["contenders"]["VGG16"]["metrics"][name] for result in (narrow, wide))
        assert outer["low"] < inner["low"] < inner["high"]
        assert inner["high"] < outer["high"] or outer["high"] == 1.0
    assert "99 % interval" in wide["comparisons"][0]["sentence"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": 1.0}, "'confidence' of intervals must lie between 0 and 1, got 1.0"),
        ({"confidence": 95}, "must lie between 0 and 1, got 95"),
        ({"resamples": 10}, "'resamples' of the bootstrap must be at least 40 for 0.95 intervals, got 10"),
        ({"seed": -1}, "'seed' must be 0 or larger, got -1"),
        ({"prevalence": {"class 9": 0.1}}, "the class 'class 9', which the data don't have"),
        (
            {"prevalence": {"class 1": 1.0}},
            "'prevalence' of 'class 1' must lie between 0 and 1, both excluded, got 1.0",
        ),
        ({"columns": {"sex": ["f"]}}, "column 'sex' must have a cell for each of 120 samples, got 1"),
        ({"train_labels": np.array([], dtype=object)}, "training part has no labels"),
        ({"train_labels": np.array(["cyst"], dtype=object)}, "unknown class"),
    ],
)
def test_settings_out_of_range_are_refused(study, settings, message):
    contenders, train_labels = study()
    with pytest.raises(UsageError, match=message):
        evaluate(contenders, **{"train_labels": train_labels, **settings})


def test_statistics_need_no_torch():
    code = "import sys, clearmargin.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
