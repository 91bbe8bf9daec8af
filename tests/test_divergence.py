"""A contender that diverges is stopped and named, has no figures, and does not stop the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import clearmargin as cm
from clearmargin.check import main as check
from clearmargin.entrants import Learner
from clearmargin.errors import DivergenceError, RecipeError
from clearmargin.runs import Run

pytestmark = pytest.mark.usefixtures("without_figures")
SETTINGS = ("learning_rate=1000", "weight_decay=10", 'schedule="constant"')
TOO_FAST = f'contender."two layers".training={{{", ".join(SETTINGS)}}}'
FEW = ["training.epochs=4", "evaluation.resamples=200"]
Command = Callable[..., tuple[int, str, str]]


def silent(what: str, done: int, total: int, note: str) -> None:
    """Progress that nobody sees."""


@pytest.fixture(scope="module")
def diverged(class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of which one contender diverged, stopped in between and gone on with."""
    out = tmp_path_factory.mktemp("runs") / "diverged"

    def stop(what: str, done: int, total: int, note: str) -> None:
        if what == "Evaluating":
            raise KeyboardInterrupt

    def no_training(what: str, done: int, total: int, note: str) -> None:
        assert "training" not in what

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        asked = {"data": class_folder, "out": out, "overrides": [*FEW, TOO_FAST]}
        with pytest.raises(KeyboardInterrupt):
            cm.run(tiny_recipe, progress=stop, **asked)
        return cm.run(tiny_recipe, progress=no_training, resume=True, **asked)


def test_it_has_no_figures_and_the_others_have(diverged: Run) -> None:
    assert list(diverged.contenders) == ["one layer"]
    assert list(diverged.evaluation["contenders"]) == ["one layer"]
    assert diverged.evaluation["comparisons"] == []
    reason = diverged.evaluation["diverged"]["two layers"]
    assert re.match(r"Training diverged in epoch \d: (train|validation) loss is (nan|inf)\. ", reason)
    assert "The learning rate, 1000 with adamw, is probably too high: try a tenth of it." in reason
    left = [path.name for path in (diverged.folder / "contenders" / "two-layers").iterdir()]
    assert left == ["diverged.json"]
    assert f"'two layers' has no result: {reason}" in (diverged.folder / "run.log").read_text()


def test_every_page_says_so(diverged: Run) -> None:
    for page in ("report.html", "methods.txt", "MODEL_CARD.md"):
        assert "two layers diverged in training and has no result." in (diverged.folder / page).read_text()


def test_the_checker_agrees_and_notices_when_it_is_hidden(diverged: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert check([str(diverged.folder)]) == 0, capsys.readouterr().out
    path = diverged.folder / "evaluation.json"
    content = path.read_bytes()
    hidden = json.loads(content)
    del hidden["diverged"]
    path.write_text(json.dumps(hidden))
    try:
        assert check([str(diverged.folder)]) == 1
    finally:
        path.write_bytes(content)
    assert "diverged" in capsys.readouterr().out


def test_the_command_says_so(diverged: Run, clearmargin: Command, class_folder: Path) -> None:
    status, _, err = clearmargin("predict", diverged.folder, class_folder, "--contender", "two layers")
    assert (status, "'two layers' in" in err, "has no result: Training diverged" in err) == (2, True, True)
    with pytest.raises(RecipeError, match="has no result"):
        diverged.contender("two-layers")


def test_the_outcome_names_it(diverged: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from clearmargin.outcome import print_outcome

    print_outcome(diverged)
    assert "two layers: diverged, no result. Training diverged in epoch" in capsys.readouterr().out


def test_when_all_diverge_there_is_one_message(
    clearmargin: Command, class_folder: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    words = ["run", tiny_recipe, "--data", class_folder, "--out", tmp_path / "run"]
    words += [word for setting in (*SETTINGS, "epochs=4") for word in ("--set", f"training.{setting}")]
    for resumed in ([], ["--resume"]):
        status, _, err = clearmargin(*words, *resumed)
        assert status == 1
        assert err.count("error: ") == 1
        assert "error: No contender has a result, for all diverged. 'one layer': Training diverged in epoch" in err
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_one_that_diverges_in_a_round_has_no_figures_over_the_rounds(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contend, trained = Learner.contend, []

    def sometimes(self: Learner, *words: object) -> None:
        trained.append((self.contender.name, self.seed))
        if trained[-1] == ("two layers", 1):
            raise DivergenceError("Training diverged in epoch 1: train loss is nan.")
        contend(self, *words)

    monkeypatch.setattr(Learner, "contend", sometimes)
    overrides = [*FEW, "evaluation.repeats=3"]
    run = cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", overrides=overrides, progress=silent)
    assert trained[-1] == ("one layer", 2)  # not once more
    repeats = run.evaluation["repeats"]
    assert list(run.evaluation["contenders"]) == ["one layer", "two layers"]
    assert list(repeats["contenders"]) == ["one layer"]
    assert list(repeats["diverged"]) == ["two layers"]
    assert "two layers diverged in a round and has no result over the rounds." in run.report.read_text()
    assert check([str(run.folder)]) == 0


def test_answers_that_are_no_numbers_are_no_result(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearmargin import deciding

    forward, calls = deciding.forward, []

    def spoilt(*words: object) -> object:
        calls.append(forward(*words))
        return calls[-1] * float("nan") if len(calls) == 3 else calls[-1]  # the test part of the first contender

    monkeypatch.setattr(deciding, "forward", spoilt)
    run = cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", overrides=FEW, progress=silent)
    assert list(run.contenders) == ["two layers"]
    assert run.evaluation["diverged"]["one layer"].startswith("After training, some of its answers are no numbers")
