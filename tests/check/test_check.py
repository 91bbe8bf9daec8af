"""The checker: it agrees with every run the program makes, and notices whatever is changed in one."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from scipy.special import log_softmax

import clearmargin as cm
from clearmargin import check
from clearmargin.evaluation import read_predictions, write_predictions
from clearmargin.evaluation.calibration import fit_temperature
from clearmargin.evaluation.intervals import bca_interval, clopper_pearson, share_figure, wilson
from clearmargin.evaluation.paired import holm, mcnemar_exact, mcnemar_mid_p, second_at_least_as_good
from clearmargin.files import write_table, write_text
from clearmargin.records import Predictions

pytestmark = pytest.mark.usefixtures("without_figures")

NUMBERS = """
task = "regression"
[data]
target = "y"
[split]
fractions = [0.6, 0.2, 0.2]
[[contender]]
name = "net"
layers = [{ flatten = true }, { dense = 4 }]
[training]
epochs = 2
[evaluation]
resamples = 200
repeats = 3
references = [{ name = "elsewhere", metric = "rmse", value = 2.5 }]
"""
ABC = ("alpha", "beta", "gamma")
# Runs made without training, by what is special about them.
MADE: dict[str, dict] = {
    "images": {"classes": ABC},
    "two classes": {"skills": (1.0, 1.5, 3.0)},
    "patients": {"classes": ABC, "group_size": 3, "prevalence": {"alpha": 0.1}},
    "few patients": {"classes": ABC, "group_size": 15},
    "one patient": {"group_size": 90},
    "one contender": {"skills": (2.0,)},
    "without mistakes": {"skills": (50.0, 50.0)},
    "sets by class": {"classes": ABC, "asked": {"conformal": "class-conditional", "error_rate": 0.2}},
    "subgroups": {
        "columns": {
            "=sex": lambda row: "fm"[row % 3 == 0],
            "age": lambda row: "" if row % 9 == 0 else str(20 + row * 37 % 60 / 2),
            "scanner": lambda row: ["A", "B", "C", "rare <b>"][
                0 if row < 40 else 1 if row < 75 else 2 if row < 87 else 3
            ],
            "site": lambda row: "one",
        }
    },
    "subgroups of patients": {
        "classes": ABC,
        "group_size": 3,
        "columns": {"sex": lambda row: "fm"[row // 3 % 2], "scanner": lambda row: "AB"[row % 2]},
    },
    "many classes": {"classes": tuple(f"class {k}" for k in range(55)), "n": 165, "skills": (3.0, 4.0)},
}
TRAINED = ["repeats", "folds", "numbers"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, class_folder: Path, tiny_recipe: Path) -> dict[str, Path]:
    """Finished runs, by what is special about them."""
    home = tmp_path_factory.mktemp("checked")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(90, 3)), columns=["a", "b", "c"])
    frame.assign(y=frame["a"] * 3 + rng.normal(size=90)).to_csv(home / "table.csv", index=False)
    write_text(home / "numbers.toml", NUMBERS)
    quick = ["training.epochs=1", "audit.label_suspects=false"]
    asked = {
        "repeats": (tiny_recipe, class_folder, [*quick, "evaluation.repeats=3"]),
        "folds": (tiny_recipe, class_folder, [*quick, "split.folds=3"]),
        "numbers": (home / "numbers.toml", home / "table.csv", []),
    }
    return {
        kind: cm.run(recipe, data=data, out=home / kind, overrides=overrides).folder
        for kind, (recipe, data, overrides) in asked.items()
    }


@pytest.fixture(scope="module")
def images(tmp_path_factory, made_run) -> Path:
    """A run of three classes, made without training."""
    return made_run(tmp_path_factory.mktemp("made") / "images", classes=ABC)


def agrees(run: Path, capsys) -> None:
    status = check.main([str(run), "--all"])
    out = capsys.readouterr().out
    assert status == 0, out
    given = [line for line in out.splitlines() if line.startswith("  given: ")]
    assert len([line for line in given if not line.startswith("  given: external/")]) <= 2
    counted = re.search(r"([\d,]+) numbers re-derived, largest deviation (\S+); (\d+) taken as given", out)
    assert counted is not None
    assert int(counted[1].replace(",", "")) >= 50
    assert float(counted[2]) < 1e-9
    assert int(counted[3]) == len(given)
    assert out.endswith("Everything agrees.\n")


@pytest.mark.parametrize("kind", MADE)
def test_it_agrees_with_the_figures_of_the_program(made_run, tmp_path, kind, capsys):
    run = made_run(tmp_path / "run", **MADE[kind])
    figures = json.loads((run / "evaluation.json").read_text())
    assert figures["clustered"] == ("patient" in kind)
    agrees(run, capsys)


@pytest.mark.parametrize("kind", TRAINED)
def test_it_agrees_with_a_finished_run(runs, kind, capsys):
    agrees(runs[kind], capsys)


def test_the_copy_in_the_run_folder_needs_numpy_alone(runs):
    copy = runs["repeats"] / "check.py"
    assert copy.read_bytes() == Path(check.__file__).read_bytes()
    code = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('clearmargin', 'scipy', 'pandas', 'sklearn', 'torch'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"sys.argv = ['check.py']; runpy.run_path({str(copy)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Everything agrees." in done.stdout


def test_it_imports_the_standard_library_and_numpy():
    tree = ast.parse(Path(check.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def in_json(name: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return edit


def in_text(pattern: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace the first match in the first file of a pattern."""

    def edit(run: Path) -> None:
        path = sorted(run.glob(pattern))[0]
        text = path.read_text()
        changed = re.sub(old, new, text, count=1)
        assert changed != text
        path.write_text(changed)

    return edit


def no_rests_on(run: Path) -> None:
    """As if the forger had also taken out the hashes."""
    in_json("evaluation.json", lambda content: content.pop("rests_on"))(run)


def cut_ledger(run: Path) -> None:
    lines = (run / "ledger.jsonl").read_text().splitlines()
    (run / "ledger.jsonl").write_text("".join(f"{line}\n" for line in lines[:-1]))


def put(*path: str | int, to: object) -> Callable[[Path], None]:
    """Write another value at a place of evaluation.json."""

    def change(content: dict) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = to

    return in_json("evaluation.json", change)


def other_weights(run: Path) -> None:
    sorted(run.glob("contenders/*/model.safetensors"))[0].write_bytes(b"other")


ONE = ("contenders", "model 0")
PREDICTIONS = "contenders/*/predictions.csv"
EDITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a probability": (in_text(PREDICTIONS, r'("test".*?),0\.\d\d', r"\1,0.11"), "SHA-256|sum to one"),
    "a label in the predictions": (in_text(PREDICTIONS, '"test",(".*?"),"alpha"', r'"test",\1,"beta"'), "split.csv"),
    "a split row": (in_text("split.csv", '"train"', '"test"'), "not those of split.csv|is not the file"),
    "a label in the split": (in_text("split.csv", '"alpha"', '"beta"'), "is not the file"),
    "a metric": (put(*ONE, "metrics", "auc", "value", to=0.9912345), "auc > value is 0.9912345"),
    "a limit": (put(*ONE, "metrics", "mcc", "high", to=0.99), "mcc > high"),
    "a limit taken out": (put(*ONE, "metrics", "accuracy", to={"value": 0.5}), "low is missing"),
    "a cell of a confusion matrix": (put(*ONE, "confusion", 0, 0, to=99), "confusion > 0 > 0"),
    "a temperature": (put(*ONE, "calibration", "temperature", to=1.25), "temperature is 1.25"),
    "a point of a curve": (put(*ONE, "abstention", "curve", 0, 1, to=0.77), "curve > 0 > 1 is 0.77"),
    "a conformal threshold": (put(*ONE, "conformal", "threshold", to=0.123), "conformal > threshold is 0.123"),
    "a net benefit": (put(*ONE, "decision_curve", 0, "net_benefit", 3, to=0.9), "net_benefit > 3 is 0.9"),
    "a p-value": (put("comparisons", 0, "p_value", to=0.0123), "p_value is 0.0123"),
    "a verdict": (put("comparisons", 0, "distinguishable", to="yes"), "distinguishable"),
    "a sentence": (put("comparisons", 0, "sentence", to="better by 77.7 points"), "sentence says 77.7"),
    "a number that nothing computes": (put("new", to={"figure": 0.5}), "new > figure was not re-derived"),
    "the number of the evaluation": (put("evaluation_number", to=4), "evaluation_number is 4"),
    "weights": (other_weights, "weights are not those"),
    "model.json": (in_text("contenders/*/model.json", r"\A{", "{ "), "no entry of the models"),
    "a decision": (in_text("contenders/*/model.json", '"error_rate": 0.1', '"error_rate": 0.2'), "was edited"),
    "an entry of the ledger": (in_text("ledger.jsonl", '"number": 1', '"number": 2'), "was edited: entry 1"),
    "the end of the ledger": (cut_ledger, "cut off or replaced"),
    "the whole ledger": (lambda run: (run / "ledger.jsonl").unlink(), "ledger.jsonl is missing"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_kind_of_tampering_is_noticed(images, tmp_path, capsys, edit):
    run = tmp_path / "run"
    shutil.copytree(images, run)
    change, said = EDITS[edit]
    change(run)
    assert check.main([str(run)]) == 1
    assert re.search(said, capsys.readouterr().out)


@pytest.mark.parametrize("edit", ["a probability", "a label in the predictions", "a split row", "a label in the split"])
def test_tampering_is_noticed_without_the_hashes_too(images, tmp_path, capsys, edit):
    run = tmp_path / "run"
    shutil.copytree(images, run)
    EDITS[edit][0](run)
    no_rests_on(run)
    assert check.main([str(run)]) == 1
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_probabilities_that_were_sharpened_or_flattened_are_noticed(images, tmp_path, power):
    """Another temperature than that of least log loss on validation, in all that is said of both parts."""
    run = tmp_path / "run"
    shutil.copytree(images, run)
    path = run / "contenders" / "model-0" / "predictions.csv"
    scaled = {}
    for part, said in read_predictions(path).items():
        raised = said.probabilities**power
        scaled[part] = replace(said, probabilities=raised / raised.sum(axis=1, keepdims=True))
    write_predictions(path, scaled)
    used = json.loads((path.parent / "model.json").read_text())["decision"]["temperature"]
    (told,) = [problem for problem in check.decision_problems(check.Study(run)) if "temperature" in problem]
    assert f"the temperature is {used}" in told
    best = float(told.split(", on the validation part ")[1].split(" ")[0])
    assert best == pytest.approx(used * power, rel=1e-6)


def test_temperatures_are_those_of_an_independent_minimiser():
    rng = np.random.default_rng(4)
    logits, used = rng.normal(0, 3, (150, 4)), 1.7
    truth = np.array([rng.choice(4, p=np.exp(row / 2) / np.exp(row / 2).sum()) for row in logits])
    exact = optimize.minimize_scalar(
        lambda t: float(-log_softmax(logits / t, axis=1)[np.arange(150), truth].mean()),
        bounds=(0.2, 8),
        method="bounded",
        options={"xatol": 1e-10},
    ).x
    columns = [[str(k) for k in range(150)], [str(k) for k in truth], [""] * 150, [""] * 150]
    learned = check.Answers(*columns, list("0123"), np.exp(log_softmax(logits / used, axis=1)))
    assert check.fitted_temperature(learned, used) == pytest.approx(exact, rel=1e-6)
    assert fit_temperature(logits, truth).value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("hits", "members", "right", "n"), [(8, 10, 60, 90), (0, 5, 3, 40), (30, 30, 50, 80), (2, 9, 9, 18)]
)
def test_fishers_exact_test_against_scipy(hits, members, right, n):
    table = [[hits, members - hits], [right - hits, n - right - members + hits]]
    assert check.fisher(hits, members, right, n) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)


def test_an_attribute_that_was_changed_is_noticed(made_run, tmp_path, capsys):
    run = made_run(tmp_path / "run", **MADE["subgroups"])
    in_text("attributes.csv", '"m"', '"f"')(run)
    assert check.main([str(run)]) == 1
    out = capsys.readouterr().out
    assert "attributes.csv is not the file" in out
    assert re.search("subgroups > 0 > .* computed anew", out)


def test_a_distance_and_a_threshold_of_the_gate_are_checked(runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs["repeats"], run)
    in_text("contenders/*/gate.csv", r'("test",".*?",)[\d.]+', r"\g<1>95.5")(run)
    no_rests_on(run)
    assert check.main([str(run)]) == 1
    assert re.search(r"gate > distances > test > \d+ is", capsys.readouterr().out)
    in_text("contenders/*/gate.csv", r'("validation",".*?",)[\d.]+', r"\g<1>95.5")(run)
    assert check.main([str(run)]) == 1
    assert re.search("gate > distances > validation > .* is", capsys.readouterr().out)


def test_a_prediction_of_a_repeat_is_checked(runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs["repeats"], run)
    in_json("evaluation.json", lambda content: content["repeats"]["contenders"]["one layer"]["auc"].update(sd=0.123))(
        run
    )
    assert check.main([str(run)]) == 1
    assert "repeats > contenders > one layer > auc > sd is 0.123" in capsys.readouterr().out


def test_another_figure_in_the_report_is_noticed(runs, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs["repeats"], run)
    text = (run / "report.html").read_text()
    start = text.index('<table class="comparison">')
    place = re.compile(r"<td><b>[01]\.\d\d\d").search(text, start)
    assert place is not None
    (run / "report.html").write_text(f"{text[: place.end() - 5]}0.987{text[place.end() :]}")
    assert check.main([str(run)]) == 1
    assert re.search("report.html: .* has 0.987", capsys.readouterr().out)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: shutil.rmtree(run),
        lambda run: (run / "evaluation.json").write_text("{"),
        lambda run: (run / "evaluation.json").write_text('{"format": 2}'),
        lambda run: (run / "recipe.toml").write_text("= ="),
        lambda run: sorted(run.glob("contenders/*/predictions.csv"))[0].write_text('"part","name"\n"test"\n'),
        lambda run: sorted(run.glob("contenders/*/predictions.csv"))[0].write_text(""),
        lambda run: (run / "split.csv").unlink(),
    ],
)
def test_what_is_no_run_can_not_be_checked(images, tmp_path, capsys, spoil):
    run = tmp_path / "run"
    shutil.copytree(images, run)
    spoil(run)
    assert check.main([str(run)]) == 2
    assert capsys.readouterr().err.startswith("Can't be checked: ")


def test_its_tests_and_intervals_against_scipy():
    for one, other in [(10, 2), (2, 10), (150, 86), (0, 0), (5, 5), (0, 9), (400, 391)]:
        expected = (mcnemar_exact(one, other), mcnemar_mid_p(one, other), second_at_least_as_good(one, other))
        assert check.mcnemar(one, other) == pytest.approx(expected, rel=1e-11)
    assert check.mcnemar(10, 2)[:2] == pytest.approx((0.0386, 0.0225), abs=5e-5)
    for successes, n in [(81, 263), (0, 20), (20, 20), (1, 3)]:
        assert check.wilson(successes, n, 0.95) == pytest.approx(wilson(successes, n), rel=1e-12, abs=1e-15)
    units = np.repeat(np.arange(9), np.arange(1, 10))
    for right in (units % 4 > 0, units > 0, units < 9, units > 8):
        found, expected = check.share(right, units, 0.9, True), share_figure(right, units, 0.9, clustered=True)
        assert (found["low"], found["high"]) == pytest.approx((expected["low"], expected["high"]), rel=1e-10)
    for successes in (0, 20):
        assert check.all_or_none(successes, 20, 0.95) == pytest.approx(clopper_pearson(successes, 20), rel=1e-12)
    for degrees in (1, 2, 9, 49):
        assert check.t_quantile(0.025, degrees) == pytest.approx(stats.t.isf(0.025, degrees), rel=1e-12)
        assert check.t_tail(2.3, degrees) == pytest.approx(stats.t.sf(2.3, degrees), rel=1e-12)
    for a, b, x in [(2, 3, 0.2), (0.5, 8, 0.9), (200, 150, 0.55)]:
        assert check.incomplete_beta(a, b, x) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-11)
    assert check.holm([0.04, 0.01, 0.03, 0.02, 0.02]) == pytest.approx(holm([0.04, 0.01, 0.03, 0.02, 0.02]))
    rng = np.random.default_rng(1)
    resampled, jackknife = rng.gamma(2, size=500), rng.gamma(2, size=40)
    assert check.bca(2.0, resampled, jackknife, 0.9) == pytest.approx(bca_interval(2.0, resampled, jackknife, 0.9))


def test_areas_count_pairs():
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 6, 60) / 7, rng.random(60) < 0.4
    sides = [(up, down) for up in scores[positive] for down in scores[~positive]]
    pairs = [1.0 if up > down else 0.5 if up == down else 0.0 for up, down in sides]
    found = check.area(check.block_numbers(scores), positive, np.ones(60))
    assert found == pytest.approx(np.mean(pairs), rel=1e-12)


def test_hostile_names_are_read_as_they_were_written(tmp_path):
    names = np.array(["=1+1", "'a", 'q"u,o', "two\nlines", "é\udcff", ""], dtype=object)
    classes = ("<img>", "=b")
    labels = np.array(["<img>", "=b"] * 3, dtype=object)
    said = Predictions(names, labels, np.array([None] * 6, dtype=object), classes, np.tile([0.25, 0.75], (6, 1)))
    write_predictions(tmp_path / "predictions.csv", {"test": said})
    read = check.read_answers(tmp_path / "predictions.csv")["test"]
    assert (read.names, read.classes, read.labels) == (names.tolist(), list(classes), labels.tolist())
    assert read.units.tolist() == list(range(6))
    write_table(tmp_path / "table.csv", pd.DataFrame({"name": names}))
    assert check.read_columns(tmp_path / "table.csv")["name"] == names.tolist()
