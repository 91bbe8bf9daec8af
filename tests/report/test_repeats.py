"""Repeats in the report of a classification: a table over the seeds, beside the single split."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clearmargin.evaluation import summarise_repeats
from clearmargin.report import write_report
from clearmargin.report.wording import fitting_digits, measured


@pytest.fixture(scope="module")
def reading():
    """The strict reader of pages of `test_page.py`."""
    spec = importlib.util.spec_from_file_location("reading", Path(__file__).parent / "test_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_repeats(run_folder, same_test, spread=0.02, seeds=5, tested=()):
    rng = np.random.default_rng(0)
    rows = [
        {
            "seed": seed, "contender": name, "kind": "contender", "balanced_accuracy": level + spread * rng.normal(),
            "accuracy": level + spread * rng.normal(), "auc": np.nan, "log_loss": 0.3 + 0.02 * rng.normal(),
            "errors": int(rng.integers(3, 9)),
        }
        for seed in range(seeds)
        for name, level in (("VGG16", 0.95), ("plain CNN", 0.8))
    ]  # fmt: skip
    summary = summarise_repeats(
        pd.DataFrame(rows), n_train=540, n_test=60, same_test=same_test, tested=tested,
        metrics=("balanced_accuracy", "accuracy", "auc", "log_loss", "errors"),
    )  # fmt: skip
    path = run_folder / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repeats": summary}))
    return summary


def test_two_seeds_have_no_interval_and_no_test(synthetic_run, reading):
    run_folder = synthetic_run()
    add_repeats(run_folder, False, seeds=2, tested=[10, 70, 20])
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder))
    assert "(no test: two rounds can't tell how far they would vary, from 3 rounds on there is one)." in text
    assert "Intervals and p: corrected" not in text
    assert "The test parts are very uneven: 10 to 70 samples, 33 on average" in text


@pytest.mark.parametrize(
    ("same_test", "cut", "lede", "step"),
    [
        (False, False, "With each seed the images were split,", "each time split, trained and evaluated anew."),
        (
            True,
            False,
            "The same parts for every seed: the spread is that of training alone,",
            "anew on the same parts.",
        ),
        (
            True,
            True,
            "a validation part cut anew from the given training part each time: the spread is that of training and of "
            "this lot,",
            "each time with the same test part, but validation part cut and contenders trained anew.",
        ),
    ],
)
def test_what_differs_between_the_seeds_is_told(synthetic_run, reading, same_test, cut, lede, step):
    run_folder = synthetic_run()
    add_repeats(run_folder, same_test)
    path = run_folder / "split.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "given": same_test, "validation_cut": cut}))
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder))
    assert lede in text
    assert "The study was done 5 times, with the seeds 0 to 4: " in text
    assert step in text


@pytest.mark.parametrize("spread", [2e-3, 3e-4])
def test_a_small_spread_does_not_read_zero(synthetic_run, reading, spread):
    run_folder = synthetic_run()
    own = add_repeats(run_folder, same_test=True, spread=spread)["contenders"]["VGG16"]["balanced_accuracy"]
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    mean, sd = re.search(r"VGG16 has a mean balanced accuracy of (0\.\d+) ± (0\.\d+)", text).groups()
    assert len(mean) == len(sd) <= 7
    assert float(mean) == pytest.approx(own["mean"], abs=1e-4)
    assert float(sd) == pytest.approx(own["sd"], rel=0.17)


@pytest.mark.parametrize("same_test", [False, True])
def test_a_repeated_classification_shows_its_seeds(synthetic_run, reading, same_test):
    run_folder = synthetic_run()
    summary = add_repeats(run_folder, same_test)
    write_report(run_folder)
    page = reading.assert_inert(run_folder)
    text = reading.words(page)
    own = summary["contenders"]["VGG16"]["balanced_accuracy"]
    spread = f"{own['mean']:.3f} ± {own['sd']:.3f}"
    assert f"Over 5 seeds, VGG16 has a mean balanced accuracy of {spread} (mean ± standard deviation)." in text
    rows = [" ".join(row.split()) for row in page.rows if row.startswith("VGG16")]
    assert sum(spread in row for row in rows) == 1
    assert "– ±" not in text
    assert ("Over 5 splits, VGG16 is better than plain CNN" in text) == (not same_test)
    assert ("says nothing about other images" in text) == same_test
    assert (run_folder / "figures" / "seeds.svg").is_file()


@pytest.mark.parametrize(("values", "digits", "written"), [
    ([3.417, 11.2], 2, "3.42"),
    ([1234.5, 23456.7], 0, "1\u202f234"),
    ([0.00123], 5, "0.00123"),
    ([-4.2e-7], None, "−4.2e−07"),
    ([3e12], None, "3e+12"),
    ([0.0], 2, "0.00"),
    ([None, float("nan")], 2, "–"),
])  # fmt: skip
def test_numbers_in_the_unit_of_a_target(values, digits, written):
    assert fitting_digits(values) == digits
    assert measured(values[0], digits) == written


def test_what_rounds_to_zero_has_no_sign():
    assert measured(-0.0004, 3) == "0.000"
    assert measured(-0.0006, 3) == "−0.001"


def add_folds(run_folder, seeds=1):
    """Folds that contradict what the first of them says: the lead changes from fold to fold."""
    gains = [0.2, -0.1, 0.05]
    rows = [
        {"seed": seed, "fold": fold + 1, "contender": name, "kind": "contender", "balanced_accuracy": 0.7 + own,
         "accuracy": 0.9 + own / 20, "errors": 3}
        for seed in range(seeds)
        for fold, gain in enumerate(gains)
        for name, own in (("VGG16", gain), ("plain CNN", 0.0))
    ]  # fmt: skip
    metrics = ("balanced_accuracy", "accuracy", "errors")
    summary = summarise_repeats(pd.DataFrame(rows), n_train=400, n_test=200, metrics=metrics)
    path = run_folder / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repeats": summary}))
    return summary


def test_the_folds_lead_and_the_first_of_them_is_called_so(synthetic_run, reading):
    run_folder = synthetic_run()
    summary = add_folds(run_folder)
    write_report(run_folder)
    page = reading.assert_inert(run_folder)
    text = " ".join(reading.words(page).replace("\u202f", " ").split())
    before, _, to_paste = text.partition("Methods, to paste into a paper")
    over = summary["comparisons"][0]["sentence"]
    first = json.loads((run_folder / "evaluation.json").read_text())["comparisons"][0]["sentence"]
    assert "can't be told apart" in over
    assert before.count(over) == to_paste.count(over) == 1
    assert text.index(over) < text.index(f"On fold 1 alone: {first}")
    assert before.count(first) == to_paste.count(first) == 1
    assert "600 images tested over 3 folds" in text
    assert "60 test images" not in text[: text.index(over)]
    for title in (
        "On fold 1 of 3, on 60 images of the test part",
        "Nothing leaks from the test part into training fold 1 of 3",
        "Differences, contender by contender fold 1 of 3",
        "Confusion matrices fold 1 of 3",
        "Shown in detail is fold 1 of 3: on 60 images",
    ):
        assert title in text, title
    assert 'class="chip clear"' not in (run_folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("same_test", [False, True])
def test_over_seeds_the_first_seed_is_called_so(synthetic_run, reading, same_test):
    run_folder = synthetic_run()
    summary = add_repeats(run_folder, same_test)
    write_report(run_folder)
    text = " ".join(reading.words(reading.read_page(run_folder)).replace("\u202f", " ").split())
    first = json.loads((run_folder / "evaluation.json").read_text())["comparisons"][0]["sentence"]
    assert f"With seed 0 alone: {first}" in text
    for pair in summary["comparisons"]:
        assert text.index(pair["sentence"]) < text.index(first)
    assert "60 test images · 5 seeds" in text or "60 test images 5 seeds" in text


def test_a_single_split_is_not_numbered(synthetic_run, reading):
    write_report(run_folder := synthetic_run())
    text = reading.words(reading.read_page(run_folder))
    assert "alone:" not in text
    assert "On 60 images of the test part" in text.replace("\u202f", " ")


def test_no_interval_leaves_the_range_of_its_metric(synthetic_run, reading):
    run_folder = synthetic_run()
    summary = add_folds(run_folder)
    own = summary["contenders"]["VGG16"]["balanced_accuracy"]
    assert own["high"] > 1, "else there is nothing to cut off"
    write_report(run_folder)
    text = " ".join(reading.words(reading.read_page(run_folder)).split())
    assert f"({own['low']:.3f} to 1.000)" in text
    assert f"to {own['high']:.3f}" not in text
    assert "intervals are cut off where the metric ends (evaluation.json has them whole)" in text


def test_intervals_within_the_range_are_left_alone(synthetic_run, reading):
    run_folder = synthetic_run()
    add_repeats(run_folder, same_test=False, spread=0.001)
    write_report(run_folder)
    assert "cut off where the metric ends" not in reading.words(reading.read_page(run_folder))
