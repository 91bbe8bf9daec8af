"""What lies beside the report for authors: checklist, methods text, model card."""

from __future__ import annotations

import json
import re

import pytest

from clearmargin.files import write_json
from clearmargin.language import using
from clearmargin.report import write_report
from clearmargin.report.checklist import checklist
from clearmargin.report.folder import read_run
from clearmargin.report.model_card import neutral

HOSTILE = "<img src=x onerror=alert(1)> | [a](http://x.y) `b` # www.z.org\n# heading"


def companions(folder):
    write_report(folder)
    return (folder / "methods.txt").read_text(), (folder / "MODEL_CARD.md").read_text()


def test_the_checklist_is_filled_in_where_software_can_know(synthetic_run):
    run = read_run(synthetic_run(patients=True))
    items = checklist(run, run.contenders)
    told = {item.topic: item for item in items}
    assert 28 <= len(items) <= 48
    assert all(item.text and (item.tripod or item.claim) for item in items)
    assert 10 <= sum(not item.done for item in items) <= len(items) - 10
    assert "480 / 60 / 60 images" in told["Parts"].text
    assert told["Level of the parts"].text.startswith("The split is by patient or group")
    assert not told["Reference standard"].done
    assert not told["External test"].done
    assert "Internal test only" in told["External test"].text
    numbers = {number for item in items for number in re.findall(r"\d+", item.tripod)}
    assert numbers <= {str(number) for number in range(1, 28)}
    assert {number for item in items for number in re.findall(r"\d+", item.claim)} <= {str(n) for n in range(1, 45)}


def test_the_methods_text_gives_numbers_and_sources(synthetic_run):
    methods, _ = companions(synthetic_run())
    assert "Wilson 1927" in methods
    assert "McNemar's mid-p test of accuracy (Fagerland, Lydersen and Laake 2013)" in methods
    assert "480 / 60 / 60 images" in methods
    assert "An image-level split is optimistic." in methods
    assert "Internal test only" in methods
    assert "simulated" not in methods
    assert "Holm" not in methods  # a single comparison is not adjusted


def test_what_costs_something_is_said(synthetic_run):
    methods, card = companions(synthetic_run(simulated=True))
    for text in (methods, card):
        assert "The data are simulated: the figures have no clinical meaning." in text


def test_a_leak_is_said(synthetic_run, leaking):
    folder = synthetic_run()
    leaking.leak(folder)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    write_json(folder / "evaluation.json", {**evaluation, "leaky": True})
    methods, card = companions(folder)
    for text in (methods, card):
        assert "The parts are not apart" in text
        assert "(leaky split)" in text


def test_the_text_is_in_the_report_and_in_the_file(synthetic_run, reading):
    folder = synthetic_run()
    methods, _ = companions(folder)
    words = reading.words(reading.read_page(folder))
    for paragraph in methods.strip().split("\n\n"):
        assert " ".join(paragraph.replace("\u202f", "").split()) in words
    assert "author must answer" in words


def test_the_card_has_the_headings_of_mitchell_and_questions(synthetic_run):
    _, card = companions(synthetic_run())
    headings = re.findall(r"^## (.*)$", card, flags=re.M)
    assert headings == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip
    assert card.count("**Author must answer:**") >= 6
    assert "9f86d081884c7d65" in card


def test_no_name_becomes_markup_in_the_card(synthetic_run):
    folder = synthetic_run(classes=(HOSTILE, "b"), name=HOSTILE, skills={HOSTILE: 2.0, "plain": 3.0})
    _, card = companions(folder)
    assert not re.search(r"(?<!\\)<img", card)
    assert not re.search(r"(?<!\\)\[a", card)
    assert "http://" not in card
    assert "www.z" not in card
    assert len(re.findall(r"^# ", card, flags=re.M)) == 1
    rows = [line for line in card.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} <= {5, 6}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a|b", r"a\|b"),
        ("- x", r"\- x"),
        ("1. x", r"1\. x"),
        ("0.5", "0.5"),
        ("a\n# b", r"a\\u000a\# b"),
        ("a_b", r"a\_b"),
    ],
)
def test_neutral(name, written):
    assert neutral(name) == written


def test_the_same_in_another_language(synthetic_run):
    folder = synthetic_run()
    with using("zh"):
        methods, card = companions(folder)
    assert len(methods.strip().split("\n\n")) == 5
    assert card.startswith("# ")
