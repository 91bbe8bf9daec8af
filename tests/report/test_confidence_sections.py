"""Sections on calibration, prediction sets, withheld answers, decision curves and subgroups; the control up front."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from clearmargin.errors import RunFolderError
from clearmargin.evaluation import evaluate, read_predictions
from clearmargin.evaluation.calibration import Temperature
from clearmargin.evaluation.decision import fit_decision
from clearmargin.files import read_table, sealed, write_json
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.report import write_report
from clearmargin.report.calibration import _judged
from clearmargin.report.knowing import _explained

FIGURES = ("calibration.svg", "abstention.svg", "decision-curves.svg")


def add_blocks(run_folder, **asked):
    """Evaluate a synthetic run again, with what is fixed on validation and with columns of a manifest."""
    told = json.loads((run_folder / "evaluation.json").read_text())
    said = {}
    for place in (run_folder / "contenders").iterdir():
        name = json.loads((place / "model.json").read_text())["name"]
        said[name] = read_predictions(place / "predictions.csv")
    said = {name: said[name] for name in told["contenders"]}
    decisions = {
        name: fit_decision(parts["validation"], Temperature(1.25, "fitted"), EvaluationSettings(**asked))
        for name, parts in said.items()
    }
    n = told["n"]
    columns = {"scanner <b>": [("A", "=B")[k % 2] for k in range(n)], "rare": ["x"] + ["y"] * (n - 1)}
    rows = read_table(run_folder / "split.csv", text=("name", "label", "group", "part"))
    evaluation = evaluate(
        {name: parts["test"] for name, parts in said.items()},
        train_labels=rows["label"][rows["part"] == "train"].to_numpy(dtype=object),
        resamples=200,
        decisions=decisions,
        columns=columns,
    )
    write_json(run_folder / "evaluation.json", {**told, **evaluation})
    return evaluation


def test_every_section_opens_with_what_it_means(synthetic_run, reading):
    run_folder = synthetic_run(n_test=120)
    evaluation = add_blocks(run_folder)
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    own = evaluation["contenders"]["VGG16"]
    assert re.search(r"When VGG16 says \d+\s?%, it is right in \d+\s?% \(\d+ answers\)", text)
    assert f"{own['calibration']['ece']:.3f}" in text
    assert f"{own['calibration']['ece_if_perfect']:.3f} (95 % below" in text
    assert "The sets of VGG16 hold the true class in" in text
    assert f"{own['conformal']['coverage']['value']:.3f}" in text
    assert "does more good than treating everybody or nobody (95 % band over all thresholds" in text
    assert "No value of “scanner <b>” stands out" in text
    assert "held by so few that" in text
    needed = evaluation["sample_size"]["n_for_5_points"]
    assert f"±5 points would need {needed} images, ±3 points" in text
    assert "NPV" in text
    for name in FIGURES:
        root = ElementTree.parse(run_folder / "figures" / name).getroot()
        assert root.tag.endswith("svg")


@pytest.mark.parametrize(("n_test", "error", "told"), [
    (120, 0.3, "answers"), (40, 0.05, "withholds nothing: the validation part is too small"),
])  # fmt: skip
def test_withheld_answers_are_told_as_they_are(synthetic_run, reading, n_test, error, told):
    run_folder = synthetic_run(n_test=n_test, skills={"VGG16": 3.6})
    evaluation = add_blocks(run_folder, abstain_error=error)
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    found = evaluation["contenders"]["VGG16"]["abstention"]
    assert f"VGG16 {told}" in text
    assert f"{found['accepted']} of {n_test}" in text


def test_no_confidence_is_good_enough(synthetic_run, reading):
    run_folder = synthetic_run(n_test=200, skills={"coin": 0.0})
    add_blocks(run_folder, abstain_error=0.3)
    write_report(run_folder)
    assert "coin would have to withhold every answer" in reading.words(reading.assert_inert(run_folder))


@pytest.mark.parametrize("settings", [
    {"classes": ("no", "<img src=x onerror=alert(1)>"), "n_test": 40, "skills": {"one": float("inf")}},
    {"classes": tuple(f"kind {k}" for k in range(60)), "n_test": 120, "skills": {"one": 3.0, "two": 2.0}},
    {"n_test": 40, "skills": {f"contender {k}": 2.0 + k / 10 for k in range(20)}},
], ids=["two classes, one contender, no mistake", "many classes", "many contenders"])  # fmt: skip
def test_odd_studies_have_the_sections_too(synthetic_run, reading, settings):
    run_folder = synthetic_run(**settings)
    add_blocks(run_folder)
    write_report(run_folder)
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    reading.assert_inert(run_folder)
    for section in ("calibration", "knowing", "decision", "subgroups"):
        assert page.count(f'<section id="{section}"') == 1
        assert f'<a href="#{section}">' in page


def test_a_run_without_them_has_no_such_section(synthetic_run, reading):
    run_folder = synthetic_run()
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    write_json(run_folder / "evaluation.json", {key: value for key, value in evaluation.items() if key != "subgroups"})
    write_report(run_folder)
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert not any(f'id="{name}"' in page for name in ("calibration", "knowing", "decision", "subgroups"))
    assert "Random-label control" not in page


@pytest.mark.parametrize(("change", "place"), [
    (lambda own: own["calibration"].update(bins=[]), "calibration.bins"),
    (lambda own: own["conformal"].update(coverage=None), "conformal.coverage"),
    (lambda own: own["abstention"]["curve"].append([1.0]), "abstention.curve"),
    (lambda own: own["decision_curve"][0]["net_benefit"].pop(), "decision_curve.0"),
])  # fmt: skip
def test_damaged_blocks_are_refused(synthetic_run, change, place):
    run_folder = synthetic_run(n_test=40, skills={"VGG16": 2.5})
    add_blocks(run_folder)
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    change(evaluation["contenders"]["VGG16"])
    write_json(run_folder / "evaluation.json", evaluation)
    with pytest.raises(RunFolderError, match=re.escape(f"contenders.VGG16.{place}")):
        write_report(run_folder)


def control(**more):
    figure = {"value": 0.262, "low": 0.231, "high": 0.293, "method": "Student's t"}
    return sealed({"format": 1, "accuracy": figure, "chance": 0.25, "holds": True, "reason": None, "crossing": 0,
                   "learned": 540, "tested": 60, "shuffles": 10, **more})  # fmt: skip


def test_the_control_stands_among_the_checks(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_json(run_folder / "control.json", control())
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    assert "Random-label control: accuracy 0.262 (0.231–0.293), chance 0.250 – as it should be." in text
    assert "leaky" not in text.lower()


@pytest.mark.rendered
def test_a_control_that_fails_says_so(synthetic_run, reading, leaking):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    leaking.leak(run_folder, groups=6)
    write_json(run_folder / "control.json", control(holds=False, crossing=6))
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    assert "chance 0.250 – this must be at chance." in text
    leaking.assert_all_leaky(run_folder, reading)


def test_where_no_control_is_possible_it_is_said(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    reason = "there are only 2 groups to test, 5 are needed"
    write_json(run_folder / "control.json", control(holds=None, accuracy=None, chance=None, reason=reason))
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    assert "No random-label control is possible" in text
    assert f"Without it, the counts above are the proof: {reason}." in text


def test_an_edited_control_is_refused(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_json(run_folder / "control.json", {**control(), "holds": False})
    with pytest.raises(RunFolderError, match=r"control\.json was edited or damaged"):
        write_report(run_folder)


def test_rings_tell_initialisations_from_splits():
    from matplotlib.figure import Figure

    from clearmargin.report.figures import Look
    from clearmargin.report.strips import Strip, plot_seeds

    trained = np.array([[0.8, 0.82], [0.9, 0.94], [0.7, 0.7]])
    axes = plot_seeds(Figure().add_subplot(), [Strip("a", Look(0), trained.mean(axis=1), trained)], "title")
    lines = axes.get_lines()
    rings = [line for line in lines if line.get_markerfacecolor() == "none" and line.get_linestyle() == "None"]
    assert [sorted(line.get_xdata()) for line in rings] == [[0.8, 0.82], [0.9, 0.94], [0.7, 0.7]]
    assert len({line.get_ydata()[0] for line in rings}) == 3
    (dots,) = [line for line in lines if len(line.get_xdata()) == 3]
    assert dots.get_ydata().tolist() == [line.get_ydata()[0] for line in rings]


@pytest.mark.parametrize(
    ("share", "least", "told"),
    [
        (0.04, 0.01, ""),
        (0.25, 0.08, "with its interval, this share is in line with it"),
        (0.6, 0.4, "more than a threshold from this validation part explains"),
    ],
)
def test_whether_few_groups_explain_the_false_alarms_is_said(share, least, told):
    figure = {"value": share, "low": least, "high": 0.9}
    found = {"unlike": figure, "false_alarms": 0.05, "expected_low": 0.005, "expected_high": 0.26}
    assert told in _explained(found)
    assert bool(_explained(found)) == bool(told)
    assert not _explained({**found, "expected_low": None, "expected_high": None})


def test_calibration_of_images_in_groups_is_not_compared_with_chance():
    found = {"ece": 0.2, "ece_if_perfect_high": 0.1}
    assert "larger than chance explains" in _judged(found, clustered=False)
    assert "chance" not in _judged(found, clustered=True)
    assert "not compared" in _judged(found, clustered=True)
