"""What a finished study prints."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from clearmargin.evaluation import evaluate, evaluate_estimates, summarise_repeats
from clearmargin.files import sealed, write_json
from clearmargin.outcome import print_audit, print_outcome
from clearmargin.records import Estimates, Predictions


def printed(figures, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_outcome(SimpleNamespace(evaluation=figures, report=Path("report.html")))
    return [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]


def test_the_price_of_leakage_is_one_line_and_none_that_was_edited(regression, capsys, tmp_path):
    def told(content) -> list[str]:
        write_json(tmp_path / "leakage.json", content)
        print_outcome(SimpleNamespace(evaluation=regression, report=tmp_path / "report.html"))
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Price of leakage")]

    found = sealed({"difference": {"value": 0.1, "sentence": "10 points of it are leakage."}})
    assert told(found) == ["Price of leakage: 10 points of it are leakage."]
    for edited in ({**found, "difference": {"value": 0.0, "sentence": "None."}}, {}, []):
        assert told(edited) == [f"Price of leakage: {tmp_path / 'leakage.json'} was edited or damaged."]


def names(n: int, each: int = 1) -> np.ndarray:
    return np.array([f"g{k // each}" for k in range(n)], dtype=object)


@pytest.fixture
def regression() -> dict:
    """Two contenders on 12 rows in three groups, and a baseline."""
    rng = np.random.default_rng(0)
    targets = rng.normal(size=12)
    said = [Estimates(names(12), targets, names(12, 4), targets + rng.normal(size=12)) for _ in range(3)]
    contenders, baselines = {"one": said[0], "two": said[1]}, {"mean predictor": said[2]}
    return {**evaluate_estimates(contenders, baselines=baselines, target="y", resamples=200), "references": []}


def repeats(values: dict[str, list[float]], tested: tuple[int, ...] = ()) -> dict:
    rows = [
        {"seed": seed, "contender": name, "kind": "contender", "rmse": value, "mae": 1.0, "r2": np.nan}
        for name, own in values.items()
        for seed, value in enumerate(own)
    ]
    return summarise_repeats(pd.DataFrame(rows), n_train=9, n_test=3, metrics=("rmse", "mae", "r2"), tested=tested)


def test_very_uneven_folds_are_told(regression, capsys):
    lines = printed({**regression, "repeats": repeats({"one": [1.0, 2.0]}, (1, 1, 9))}, capsys)
    assert any("The test parts are very uneven: 1 to 9 samples" in line for line in lines)


def test_an_undefined_figure_is_said_to_be_undefined(regression, capsys):
    lines = printed({**regression, "repeats": repeats({"one": [1.0, 2.0], "two": [3.0, np.nan]})}, capsys)
    table = lines[next(row for row, line in enumerate(lines) if line.startswith("mean ± standard deviation")) :]
    one, two = (next(line for line in table if line.startswith(name)) for name in ("one", "two"))
    assert one == "one 1.500 ± 0.707 (1.000–2.000) 1.000 ± 0.000 (1.000–1.000) undefined"
    assert two == "two 3.000 (3.000–3.000) 1.000 ± 0.000 (1.000–1.000) undefined"


def test_it_says_what_baselines_learned_from_and_warns_of_few_groups(regression, capsys):
    lines = printed(regression, capsys)
    assert "The baselines learned from training and validation part together." in lines
    careful = next(line for line in lines if line.startswith("Careful"))
    assert careful.startswith("Careful: The test part has only 3 groups: ")


def test_references_of_a_classification_are_printed(capsys):
    probabilities = np.random.default_rng(0).dirichlet([1, 1], size=40)
    labels = np.array(["a", "b"] * 20, dtype=object)
    said = Predictions(names(40), labels, names(40), ("a", "b"), probabilities)
    references = [
        {"name": "published", "metric": "accuracy", "value": 0.97},
        {"name": "theirs", "metric": "log_loss", "value": 0.25},
    ]
    figures = evaluate({"net": said}, train_labels=labels, resamples=100)
    lines = printed({**figures, "references": references}, capsys)
    assert "published 0.970" in lines
    assert "For reference: theirs, log loss 0.250" in lines
    assert not any(line.startswith("Careful") for line in lines)


def test_folds_lead_and_the_first_of_them_is_called_so(capsys):
    rng = np.random.default_rng(1)
    labels = np.array(["a", "b"] * 20, dtype=object)
    good, bad = (rng.dirichlet([1, 1], size=40) for _ in range(2))
    good[np.arange(40), np.arange(40) % 2] += 2
    said = {
        name: Predictions(names(40), labels, names(40), ("a", "b"), odds / odds.sum(axis=1, keepdims=True))
        for name, odds in (("net", good), ("plain", bad))
    }
    figures = evaluate(said, train_labels=labels, resamples=100)
    rows = [
        {"seed": 0, "fold": fold, "contender": name, "kind": "contender", "balanced_accuracy": 0.7 + own,
         "accuracy": 0.7, "errors": 3}
        for fold, gain in enumerate((0.2, -0.1, 0.05), start=1)
        for name, own in (("net", gain), ("plain", 0.0))
    ]  # fmt: skip
    metrics = ("balanced_accuracy", "accuracy", "errors")
    over = summarise_repeats(pd.DataFrame(rows), n_train=80, n_test=40, metrics=metrics)
    text = "\n".join(printed({**figures, "references": [], "repeats": over}, capsys))
    verdict, first = over["comparisons"][0], figures["comparisons"][0]
    assert first["distinguishable"]
    assert not verdict["distinguishable"]
    assert text.index(verdict["sentence"]) < text.index("fold 1 of 3: 40 test images")
    assert text.index("fold 1 of 3: 40 test images") < text.index(f"On fold 1 alone: {first['sentence']}")
    assert text.count(first["sentence"]) == 1


def audited(classes):
    return SimpleNamespace(
        counts={"found": 3, "decoded": 3}, source_kind="folder", classes=dict.fromkeys(classes, 3), findings=()
    )


@pytest.mark.parametrize(("classes", "words"), [(("a",), "in 1 class."), (("a", "b"), "in 2 classes.")])
def test_classes_are_counted_in_words(classes, words, capsys):
    print_audit(audited(classes), None)
    assert f"3 of 3 images can be used, {words}" in capsys.readouterr().out
