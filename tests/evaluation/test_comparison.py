"""The decision between contenders, and that its sentence agrees with its figures."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clearmargin.evaluation.alignment import align
from clearmargin.evaluation.assessment import evaluate
from clearmargin.evaluation.bootstrap import bootstrap
from clearmargin.evaluation.comparison import compare
from clearmargin.evaluation.sample_size import samples_for_difference
from clearmargin.evaluation.verdict import sentence, single_sentence, two_digits
from clearmargin.records import Predictions


def _compare(contenders, confidence=0.95, resamples=400, seed=0):
    aligned = align(contenders)
    return compare(aligned, bootstrap(aligned, resamples, seed), confidence=confidence, seed=seed)


def _one_hot(answers, n_classes):
    return np.eye(n_classes)[answers]


def _answering(truth, right, n_classes):
    """Certain answers that are right where ``right`` says and name the next class elsewhere."""
    return _one_hot(np.where(right, truth, (truth + 1) % n_classes), n_classes)


def test_a_clear_winner(predictions_of):
    truth = np.arange(300) % 3
    good = predictions_of(truth, _answering(truth, np.arange(300) >= 15, 3))
    poor = predictions_of(truth, _answering(truth, np.arange(300) % 10 >= 3, 3))
    (record,) = _compare({"plain CNN": poor, "VGG16": good})
    assert (record["first"], record["second"]) == ("VGG16", "plain CNN")
    assert record["difference"]["value"] == pytest.approx(0.25)
    assert record["accuracy_difference"]["value"] == pytest.approx(0.25)
    assert record["difference"]["low"] < 0.25 < record["difference"]["high"]
    assert record["difference"]["method"] == "Student's t over 300 images, class by class"
    assert record["accuracy_difference"]["method"] == "paired bootstrap"
    assert (record["only_first_right"], record["only_second_right"]) == (84, 9)
    assert record["p_method"] == (
        "the larger p of two tests of balanced accuracy over 300 images: flipped signs, and Student's t by class"
    )
    assert record["flip_p"] == 1 / 401  # none of 400 patterns reaches that far
    assert record["p_holm"] == record["p_value"] == max(record["flip_p"], record["class_p"])
    assert record["mcnemar_holm"] == record["mcnemar_mid_p"] < 1e-10
    assert record["distinguishable"] is True
    assert re.fullmatch(
        r"VGG16 is better than plain CNN \(difference 25\.0 points in balanced accuracy, "
        r"95 % interval \d+\.\d to \d+\.\d, sign flips and Student's t, larger p = 0\.002; "
        r"McNemar mid-p of accuracy < 0\.0001\)\.",
        record["sentence"],
    )


def test_the_same_contender_twice_differs_by_nothing(simulate, predictions_of):
    same = predictions_of(*simulate(np.random.default_rng(0), 60, 3))
    (record,) = _compare({"one": same, "two": same})
    alike = record["accuracy_difference"]
    assert (alike["value"], alike["low"], alike["high"]) == (0, 0, 0)
    assert alike["method"] == "paired bootstrap; the resamples show no spread"
    # On 20 samples of a class, that both answer alike, says no more than that they differ little.
    assert record["difference"]["value"] == 0
    assert -0.08 < record["difference"]["low"] == -record["difference"]["high"] < -0.03
    assert record["p_holm"] == 1
    assert record["p_other_at_least_as_good"] == pytest.approx(0.5)
    assert record["distinguishable"] is False
    assert record["sentence"] == (
        "one and two can't be told apart on 60 images: each image is answered rightly by both or by neither."
    )


def test_equal_balanced_accuracy_is_not_a_difference_of_rounding(predictions_of):
    truth = np.repeat([0, 1, 2], [3, 7, 11])
    one = predictions_of(truth, _answering(truth, truth == 0, 3))
    other = predictions_of(truth, _answering(truth, truth == 1, 3))
    (record,) = _compare({"one": one, "other": other})
    assert record["first"] == "one"
    assert record["difference"]["value"] == 0
    assert record["distinguishable"] is False


def test_a_perfect_contender_is_told_from_a_constant_one(predictions_of):
    truth = np.arange(200) % 2
    perfect = predictions_of(truth, _one_hot(truth, 2))
    constant = predictions_of(truth, _one_hot(np.zeros(200, dtype=int), 2))
    (record,) = _compare({"perfect": perfect, "constant": constant})
    assert record["distinguishable"] is True
    assert re.search(r"difference 50\.0 points in balanced accuracy, 95 % interval 48\.\d to 51\.", record["sentence"])


def test_no_winner_when_the_other_gets_more_right(predictions_of):
    """All of a rare class against many of a frequent one: the two measures contradict each other."""
    truth = np.repeat([0, 1], [1000, 60])
    many = np.concatenate([np.ones(1000, bool), np.zeros(60, bool)])
    few = np.concatenate([np.arange(1000) % 10 >= 2, np.ones(60, bool)])
    (record,) = _compare(
        {
            "many": predictions_of(truth, _answering(truth, many, 2)),
            "few": predictions_of(truth, _answering(truth, few, 2)),
        }
    )
    assert record["first"] == "few"
    assert record["difference"]["low"] > 0
    assert record["p_holm"] < 0.05
    assert record["accuracy_difference"]["high"] < 0
    assert record["distinguishable"] is False
    assert "few and many can't be ranked on 1,060 images: few has the higher balanced accuracy" in record["sentence"]
    assert record["sentence"].endswith("but many the higher accuracy, by 13.2 points.")


def test_clustered_samples_are_flipped_by_group(predictions_of):
    """Ten patients of 30 slices: McNemar's test is certain, the patients are not."""
    truth, groups = np.arange(300) % 2, np.arange(300) // 30
    one = predictions_of(truth, _answering(truth, groups != 0, 2), groups=groups)
    other = predictions_of(truth, _answering(truth, (groups != 1) & (groups != 2), 2), groups=groups)
    (record,) = _compare({"one": one, "other": other}, resamples=2000)
    assert record["mcnemar_mid_p"] < 0.01
    assert record["p_value"] > 0.5
    assert "over 10 groups: flipped signs, and Student's t by class; McNemar's test assumes" in record["p_method"]
    assert record["difference"]["method"] == "Student's t over 10 groups, class by class"
    assert record["brier_difference"]["method"].startswith("paired bootstrap over 10 groups (fewer than 35")
    assert record["distinguishable"] is False
    assert "can't be told apart on 300 images in 10 groups" in record["sentence"]
    assert "sign flips and Student's t over 10 groups, larger p = " in record["sentence"]


def test_a_clear_winner_over_groups(predictions_of):
    truth, groups = np.arange(300) % 2, np.arange(300) // 10
    one = predictions_of(truth, _answering(truth, np.arange(300) % 10 != 0, 2), groups=groups)
    other = predictions_of(truth, _answering(truth, np.arange(300) % 10 >= 4, 2), groups=groups)
    (record,) = _compare({"one": one, "other": other})
    assert record["distinguishable"] is True
    assert "sign flips and Student's t over 30 groups, larger p = 0.002)" in record["sentence"]


def test_every_pair_is_compared_and_adjusted_together(simulate, predictions_of):
    rng = np.random.default_rng(0)
    truth, _ = simulate(rng, 200, 3)
    contenders = {
        f"skill {skill}": predictions_of(*simulate(rng, 200, 3, skill=skill, truth=truth)) for skill in (0, 1, 1.2, 3)
    }
    records = _compare(contenders)
    assert len(records) == 6
    assert len({frozenset((record["first"], record["second"])) for record in records}) == 6
    ascending = sorted(records, key=lambda record: record["p_value"])
    assert ascending[0]["p_holm"] == pytest.approx(6 * ascending[0]["p_value"])
    assert all(one["p_holm"] <= other["p_holm"] for one, other in pairwise(ascending))
    assert all(record["difference"]["value"] >= 0 for record in records)
    assert all("adjusted for 6 comparisons" in record["sentence"] for record in records)


def test_one_contender_alone_has_no_comparison(simulate, predictions_of):
    assert _compare({"only": predictions_of(*simulate(np.random.default_rng(0), 20, 2))}) == []


def test_equally_good_contenders_are_seldom_told_apart(simulate, predictions_of):
    """Under the null, independent and clustered, with few groups: at most one in twenty."""
    rng = np.random.default_rng(0)
    told_apart = {False: 0, True: 0}
    for clustered in told_apart:
        groups = np.arange(120) // 10 if clustered else None
        for _ in range(150):
            truth = rng.integers(0, 3, 120)
            contenders = {}
            for name in ("one", "other"):
                right = rng.random(120) < 0.8
                if clustered:  # whole groups are hard for one contender and easy for the other
                    right = rng.random(120) < rng.beta(1.6, 0.4, 12)[groups]
                contenders[name] = predictions_of(truth, _answering(truth, right, 3), groups=groups)
            told_apart[clustered] += _compare(contenders, resamples=200)[0]["distinguishable"]
    assert all(count <= 0.08 * 150 for count in told_apart.values())


def test_equal_balanced_accuracy_has_no_winner_however_accuracies_differ(predictions_of):
    """Five contenders of balanced accuracy .80, accuracies .72 to .88: any winner in at most one study of twenty."""
    rng = np.random.default_rng(0)
    truth, studies, winners, by_accuracy = np.repeat([0, 1], [270, 30]), 60, 0, 0
    specificity = np.array([0.7, 0.75, 0.8, 0.85, 0.9])
    for _ in range(studies):
        hard = rng.normal(size=truth.size)
        contenders = {}
        for name, share in enumerate(specificity):
            skill = np.where(truth == 0, share, 1.6 - share)
            right = stats.norm.cdf(0.6 * hard + 0.8 * rng.normal(size=truth.size)) < skill
            contenders[f"{name}"] = predictions_of(truth, _answering(truth, right, 2))
        records = _compare(contenders, resamples=200)
        winners += any(record["distinguishable"] for record in records)
        by_accuracy += any(
            record["mcnemar_holm"] < 0.05
            and (record["difference"]["low"] or 0) > 0
            and record["only_first_right"] > record["only_second_right"]
            for record in records
        )
    assert winners <= 0.05 * studies + 2 * np.sqrt(0.05 * 0.95 * studies)
    assert by_accuracy >= 0.1 * studies  # what McNemar's test alone would let through


def test_a_better_balanced_accuracy_alone_is_not_called_better(predictions_of):
    """The rare class decides balanced accuracy, and says nothing of accuracy."""
    truth = np.repeat([0, 1], [400, 40])
    first = np.concatenate([np.arange(400) % 10 > 0, np.arange(40) % 10 > 0])
    second = np.concatenate([np.arange(400) % 10 < 9, np.arange(40) % 10 > 4])
    (record,) = _compare(
        {name: predictions_of(truth, _answering(truth, right, 2)) for name, right in (("A", first), ("B", second))}
    )
    assert record["difference"]["low"] > 0
    assert record["p_holm"] < 0.05 < record["mcnemar_holm"]
    assert record["distinguishable"] is False
    assert re.search(
        r"\(95 % interval .*, but sign flips and Student's t, larger p = 0\.0\d+; McNemar mid-p of accuracy = 0\.",
        record["sentence"],
    )


def test_the_sentence_says_how_many_images_a_difference_of_two_points_needs(predictions_of):
    truth = np.arange(300) % 3
    one = predictions_of(truth, _answering(truth, np.arange(300) % 10 >= 2, 3))
    other = predictions_of(truth, _answering(truth, np.arange(300) % 10 < 8, 3))
    (record,) = _compare({"one": one, "other": other})
    assert record["n_to_see_2_points"] == samples_for_difference(0.4) == 7847
    assert record["sentence"].startswith("one and other can't be told apart on 300 images: balanced accuracy differs")
    needed = "7,800 images would be needed to see a difference of 2 points in accuracy."
    assert record["sentence"].endswith(f" About {needed}")
    on_more = sentence(record, 9000, None, 1, 0.95)
    assert on_more.endswith(" About 7,800 images are enough to see a difference of 2 points in accuracy.")


def test_groups_that_agree_within_need_more_images(predictions_of):
    truth, groups = np.arange(600) % 2, np.arange(600) // 10
    one = _answering(truth, groups % 5 != 0, 2)
    other = _answering(truth, groups % 5 != 1, 2)
    alone, together = (
        _compare({"one": predictions_of(truth, one, groups=by), "other": predictions_of(truth, other, groups=by)})[0]
        for by in (None, groups)
    )
    assert together["n_to_see_2_points"] / alone["n_to_see_2_points"] == pytest.approx(10, rel=0.25)
    assert "images in groups like these would be needed to see" in together["sentence"]
    on_more = sentence(together, 10**7, 60, 1, 0.95)
    assert "images in groups like these are enough to see" in on_more


def test_one_contender_alone_is_set_beside_the_commonest_class(predictions_of):
    truth = np.arange(200) % 2
    good = predictions_of(truth, _answering(truth, np.arange(200) % 20 > 1, 2), classes=("a", "b"))
    record = evaluate({"only": good}, train_labels=np.array(["b"], dtype=object), resamples=200)
    assert re.fullmatch(
        r"only reaches a balanced accuracy of 0\.900 \(0\.8\d\d to 0\.9\d\d\) on 200 test images\. For comparison: "
        r"always answering “b” would reach 0\.500\.",
        single_sentence(record),
    )
    poor = predictions_of(truth, _answering(truth, np.arange(200) % 4 > 1, 2), classes=("a", "b"))
    record = evaluate({"only": poor}, train_labels=np.array(["b"], dtype=object), resamples=200)
    assert single_sentence(record).endswith("That cannot be told apart from always answering “b”, which reaches 0.500.")


@given(st.integers(1, 10**7))
def test_two_digits_are_near_the_number(number):
    rounded = two_digits(number)
    assert rounded == float(f"{number:.2g}")
    assert len(str(rounded).rstrip("0")) <= 2


figures = st.floats(-1, 1, allow_nan=False)


@st.composite
def records(draw):
    """Records as the rule would make them, with figures as close to its thresholds as floats go."""
    near_zero = st.sampled_from([0.0, 1e-9, -1e-9, 0.0004, -0.0004])
    low, value, high = sorted(draw(st.one_of(near_zero, figures)) for _ in range(3))
    some_p = st.one_of(st.floats(1e-12, 1), st.sampled_from([0.05, 0.0499999, 0.0500001, 0.00004, 1.0]))
    p, mid_p = draw(some_p), draw(some_p)
    if low <= 0:  # the larger p is no smaller than that of the test that goes with the interval
        p = max(p, 0.0500001)
    b, c = draw(st.integers(0, 50)), draw(st.integers(0, 50))
    return {
        "first": "A",
        "second": "B",
        "difference": {"value": abs(value), "low": low, "high": high},
        "accuracy_difference": {"value": (b - c) / 100},
        "only_first_right": b,
        "only_second_right": c,
        "p_value": p,
        "p_holm": p,
        "mcnemar_mid_p": mid_p,
        "mcnemar_holm": mid_p,
        "distinguishable": low > 0 and p < 0.05 and mid_p < 0.05 and b >= c,
    }


@settings(max_examples=300)
@given(records())
def test_the_sentence_never_contradicts_what_it_prints(record):
    level = 1 - 0.95
    text = sentence(record, 327, None, 1, 0.95)
    found = re.search(r"interval (\S+) to (\S+?)[;,] (?:but )?sign flips", text)
    assert ("is better" in text) == record["distinguishable"]
    if not found:
        assert "answered rightly by both or by neither" in text
        assert record["only_first_right"] == record["only_second_right"] == 0
        return
    printed_p = re.search(r"larger p [<=] ([\d.]+(?:e-\d+)?)", text)
    printed_mid_p = re.search(r"accuracy [<=] ([\d.]+(?:e-\d+)?)", text)
    assert (float(found[1]) > 0) == (record["difference"]["low"] > 0)
    assert (float(printed_p[1]) < level) == (record["p_holm"] < level)
    assert (float(printed_mid_p[1]) < level) == (record["mcnemar_holm"] < level)
    if "is better" in text:
        assert float(found[1]) > 0
        assert float(printed_p[1]) < level
        assert float(printed_mid_p[1]) < level


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_contenders_and_of_samples_does_not_change_the_figures(seed):
    rng = np.random.default_rng(seed)
    n = 40
    truth = rng.integers(0, 3, n)
    classes = ("a", "b", "c")
    columns = [np.array([f"{i}" for i in range(n)], dtype=object), np.array(classes, dtype=object)[truth]]
    groups = np.array([f"g{i}" for i in rng.integers(0, 15, n)], dtype=object)
    tables = {name: rng.dirichlet(np.ones(3), n) for name in ("one", "two")}
    tables["two"][np.arange(n), truth] += 0.5
    tables["two"] /= tables["two"].sum(axis=1, keepdims=True)
    shuffled = rng.permutation(n)

    def contenders(rows, names):
        return {
            name: Predictions(columns[0][rows], columns[1][rows], groups[rows], classes, tables[name][rows])
            for name in names
        }

    (record,) = _compare(contenders(np.arange(n), ("one", "two")), resamples=50)
    (other,) = _compare(contenders(shuffled, ("two", "one")), resamples=50)
    if record["difference"]["value"] > 0:
        assert (record["first"], record["second"]) == (other["first"], other["second"])
    assert other["difference"]["value"] == pytest.approx(record["difference"]["value"], abs=1e-12)
    assert other["mcnemar_exact_p"] == record["mcnemar_exact_p"]
