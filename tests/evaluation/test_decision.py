"""The decision of a contender: kept in model.json, refused when a figure was changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from clearmargin.errors import RunFolderError
from clearmargin.evaluation import evaluate
from clearmargin.evaluation.calibration import Temperature
from clearmargin.evaluation.decision import caution, fit_decision, read_decision
from clearmargin.evaluation.gate import GateRule
from clearmargin.files import sealed
from clearmargin.recipe import EvaluationSettings

PLACE = Path("contenders/x")


@pytest.fixture
def decided(simulate, predictions_of):
    said = predictions_of(*simulate(np.random.default_rng(0), 200, 3))
    gate = GateRule(0.05, 1.5, "0" * 64)
    return fit_decision(said, Temperature(1.3, "fitted"), EvaluationSettings(), gate), said


def described(decision, said):
    return json.loads(json.dumps({"decision": decision.as_json(), "classes": list(said.classes)}))


def test_it_comes_back_as_it_was(decided):
    assert read_decision(described(*decided), PLACE) == decided[0]
    assert read_decision({"classes": ["a", "b"]}, PLACE) is None


@pytest.mark.parametrize("key", ["n", "temperature", "conformal", "abstention", "gate", "content_sha256"])
def test_a_changed_figure_is_refused(decided, key):
    content = described(*decided)
    content["decision"][key] = {**content["decision"][key], "threshold": 0.5} if key in ("conformal", "gate") else 2
    with pytest.raises(RunFolderError, match=r"was changed since|SHA-256 differs"):
        read_decision(content, PLACE)


@pytest.mark.parametrize("change", [{"temperature": -1}, {"conformal": None}, {"n": "many"}, {"gate": {"x": 1}}])
def test_nonsense_with_a_seal_is_refused_too(decided, change):
    content = described(*decided)
    bare = {key: value for key, value in content["decision"].items() if key != "content_sha256"}
    content["decision"] = sealed({**bare, **change})
    with pytest.raises(RunFolderError, match="does not hold what it should"):
        read_decision(content, PLACE)


def test_evaluate_has_the_blocks_of_who_has_a_decision(decided):
    decision, said = decided
    figures = evaluate({"x": said, "y": said}, train_labels=said.labels, resamples=200, decisions={"x": decision})
    blocks = {"calibration", "conformal", "abstention", "decision_curve"}
    assert blocks <= set(figures["contenders"]["x"])
    assert not blocks & set(figures["contenders"]["y"])
    json.dumps(figures, allow_nan=False)


def test_who_may_have_seen_the_validation_part_is_said(decided):
    trained, said = decided
    published = fit_decision(said, Temperature(), EvaluationSettings())
    for decision, words in ((trained, "also chose the epoch"), (published, "trained on some of these samples")):
        assert words in caution(decision)
        rows = evaluate({"x": said}, train_labels=said.labels, decisions={"x": decision}, resamples=200)
        assert words in rows["contenders"]["x"]["conformal"]["note"]
