"""Folds, split files and leaks in whole runs, and the command that needs no run."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import clearmargin as cm
from clearmargin import allotment
from clearmargin.errors import RecipeError, RunFolderError, SourceError
from clearmargin.evaluation.repeats import METHOD
from clearmargin.preparation import audit_inputs, divide, read_inputs
from clearmargin.recipe import load_recipe
from clearmargin.split import check_division, read_split

pytestmark = pytest.mark.usefixtures("without_figures")

TABLE = """
task = "regression"
[data]
target = "y"
[[contender]]
name = "net"
layers = [{ conv = 2, kernel = 2, activation = "relu" }, { flatten = true }, { dense = 2 }]
[training]
epochs = 1
[evaluation]
resamples = 200
"""


def silent(*_):
    return None


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)).round(3), columns=["a", "b", "c"])
    frame["y"] = frame["a"] + rng.normal(size=60).round(2)
    frame["patient"] = [f"g{row // 2}" for row in range(60)]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.toml").write_text(TABLE)
    return tmp_path


def run_rows(folder: Path, name: str, *changes: str, resume: bool = False):
    return cm.run(
        folder / "rows.toml",
        data=folder / "rows.csv",
        out=folder / name,
        overrides=changes,
        resume=resume,
        progress=silent,
    )


# --- folds --------------------------------------------------------------------------------------------------


def test_folds_of_a_run_test_every_row_once_a_seed_and_are_summed_up(rows: Path) -> None:
    run = run_rows(rows, "run", "split.folds=3", "evaluation.repeats=2")
    places = [run.folder, *(run.folder / "repeats" / f"seed-{s}" / f"fold-{f}" for s in (0, 1) for f in (1, 2, 3))]
    places.pop(1)  # the first fold of the first seed is the run itself
    splits = [read_split(place) for place in places]
    assert [(split.folds, split.fold) for split in splits] == [(3, f) for f in (1, 2, 3)] * 2
    for three in (splits[:3], splits[3:]):
        tested = Counter(name for split in three for name in split.names[split.rows("test")])
        assert len(tested) == 60
        assert set(tested.values()) == {1}
    found = run.evaluation["repeats"]
    assert (found["unit"], found["rounds"], found["folds"], found["seeds"]) == ("fold", 6, 3, [0, 1])
    learned = np.mean([len(split.rows("train")) for split in splits])  # not the validation part
    assert 20 < learned < 40
    assert (found["n_train"], found["n_test"]) == (round(learned), 20)
    frame = pd.read_csv(run.folder / "repeats.csv")
    assert list(frame.columns[:3]) == ["seed", "fold", "contender"]
    values = frame[frame["contender"] == "net"]["rmse"].to_numpy()
    error = np.sqrt(values.var(ddof=1) * (1 / 6 + 20 / learned))  # Nadeau & Bengio; Bouckaert & Frank
    figures = found["contenders"]["net"]["rmse"]
    assert figures["method"] == METHOD
    np.testing.assert_allclose(
        [figures["low"], figures["high"]], stats.t.interval(0.95, 5, values.mean(), error), rtol=1e-6
    )
    page = (run.folder / "report.html").read_text()
    assert "Over 6 folds" in page
    assert "seeds better" not in page.lower()


def test_an_interrupted_run_over_folds_goes_on_where_it_was(rows: Path) -> None:
    whole = run_rows(rows, "whole", "split.folds=3")

    def stop(what: str, done: int, total: int, note: str) -> None:
        if "fold 3" in note:
            raise KeyboardInterrupt

    settings = {"data": rows / "rows.csv", "out": rows / "again", "overrides": ["split.folds=3"]}
    with pytest.raises(KeyboardInterrupt):
        cm.run(rows / "rows.toml", **settings, progress=stop)
    kept = rows / "again" / "repeats" / "seed-0" / "fold-2" / "contenders" / "net" / "predictions.csv"
    written = kept.stat().st_mtime_ns
    again = run_rows(rows, "again", "split.folds=3", resume=True)
    assert kept.stat().st_mtime_ns == written
    assert (again.folder / "repeats.csv").read_bytes() == (whole.folder / "repeats.csv").read_bytes()


def test_initialisations_are_nested_in_splits_and_resumed(rows: Path, clearmargin) -> None:
    asked = ("evaluation.repeats=3", "evaluation.initialisations=2")
    whole = run_rows(rows, "whole", *asked)

    def stop(what: str, done: int, total: int, note: str) -> None:
        if note.startswith("seed 1, initialisation 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cm.run(rows / "rows.toml", data=rows / "rows.csv", out=rows / "again", overrides=asked, progress=stop)
    again = run_rows(rows, "again", *asked, resume=True)
    assert (again.folder / "repeats.csv").read_bytes() == (whole.folder / "repeats.csv").read_bytes()
    frame = pd.read_csv(whole.folder / "repeats.csv")
    net = frame[frame["contender"] == "net"]
    assert net[["seed", "initialisation"]].to_numpy().tolist() == [[s, i] for s in range(3) for i in (1, 2)]
    assert net["rmse"].nunique() == 6
    repeats = whole.folder / "repeats"
    assert not (repeats / "seed-0" / "split.csv").exists()  # that is the run itself
    for first, other in ((whole.folder, repeats / "seed-0"), (repeats / "seed-1", repeats / "seed-1")):
        same = [(place / "split.csv").read_bytes() for place in (first, other / "init-2")]
        assert same[0] == same[1]
    found = whole.evaluation["repeats"]
    assert (found["rounds"], found["initialisations"]) == (3, 2)
    values = net["rmse"].to_numpy().reshape(3, 2)
    np.testing.assert_allclose(found["contenders"]["net"]["rmse"]["values"], values.mean(axis=1), rtol=1e-6)
    page = (whole.folder / "report.html").read_text()
    assert "Rings: initialisations of one split" in page
    assert "from the initialisation (3 splits × 2 initialisations" in page
    with_seeds = run_rows(rows, "seeds", "evaluation.repeats=3")
    assert with_seeds.evaluation["contenders"] == whole.evaluation["contenders"]
    one = pd.read_csv(with_seeds.folder / "repeats.csv")
    kept = frame[frame["initialisation"] == 1].drop(columns="initialisation").reset_index(drop=True)
    pd.testing.assert_frame_equal(one, kept)


def test_repeats_are_an_option_of_the_command(rows: Path, clearmargin) -> None:
    words = ("--data", rows / "rows.csv", "--repeats", "2", "--set", "training.epochs=1")
    status, out, _ = clearmargin("run", rows / "rows.toml", *words, "--out", rows / "run")
    assert status == 0
    assert "over 2 seeds" in out
    assert "Split and initialisation change together here" in out
    status, _, err = clearmargin("run", rows / "rows.toml", "--repeats", "0", "--out", rows / "none")
    assert status == 2
    assert "'repeats' setting must be at least 1, got 0" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["split.folds=1"], "'folds' = 1 would leave nothing to learn from"),
        (["split.folds=5", "split.use_given=true"], "'folds' makes parts anew, and use_given = true keeps"),
        (["split.folds=5", "split.file=s.csv"], "'folds' makes parts anew, and 'file' gives them"),
        (["split.use_given=true", "split.file=s.csv"], "'file' gives the parts, and use_given = true takes"),
        (["split.accept_leaks=true"], "'accept_leaks' is about given parts"),
        (["split.folds=101"], "'folds' setting must be at most 100"),
    ],
)
def test_settings_of_the_split_that_do_not_go_together(rows: Path, changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(rows / "rows.toml", changes)


# --- split files --------------------------------------------------------------------------------------------


def test_a_run_takes_its_parts_from_a_file_beside_the_recipe(rows: Path) -> None:
    parts = [("test" if row >= 50 else "validation" if row >= 40 else "train") for row in range(60)]
    names = [sample.name for sample in prepared(rows)[1].samples]
    pd.DataFrame({"name": names, "part": parts}).to_csv(rows / "who.csv", index=False)
    (rows / "rows.toml").write_text(TABLE + '[split]\nfile = "who.csv"\n')
    run = run_rows(rows, "second")
    split = read_split(run.folder)
    assert dict(zip(split.names, split.parts, strict=True)) == dict(zip(names, parts, strict=True))
    assert split.from_file
    assert 'file = "split.csv"' in (run.folder / "recipe.toml").read_text()
    assert str(rows) not in (run.folder / "recipe.toml").read_text()
    parts[0], parts[-1] = parts[-1], parts[0]  # patients g0 and g29 are torn
    pd.DataFrame({"name": names, "part": parts}).to_csv(rows / "who.csv", index=False)
    with pytest.raises(SourceError, match=r"The parts in who\.csv leak.*: 2, with 4 rows"):
        run_rows(rows, "third")
    assert not (rows / "third").exists()


def test_a_run_with_a_split_file_is_repeated_as_its_report_says(
    rows: Path, clearmargin, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [sample.name for sample in prepared(rows)[1].samples]
    parts = ["test" if row >= 50 else "train" for row in range(60)]  # a validation part is cut
    groups = [f"h{row // 10}" for row in range(60)]
    pd.DataFrame({"name": names, "part": parts, "group": groups}).to_csv(rows / "who.csv", index=False)
    (rows / "rows.toml").write_text(TABLE + '[split]\nfile = "who.csv"\n')
    run = run_rows(rows, "first")
    said = re.search(r"clearmargin (run recipe\.toml[^<]*)", (run.folder / "report.html").read_text())
    assert said
    (rows / "rows.csv").rename(run.folder / "rows.csv")
    (rows / "who.csv").unlink()
    monkeypatch.chdir(run.folder)
    status, _, err = clearmargin(*shlex.split(said[1]))
    assert status == 0, err
    for name in ("split.csv", "contenders/net/predictions.csv"):
        assert (Path("another-folder") / name).read_bytes() == Path(name).read_bytes(), name
    assert cm.open_run("another-folder").recipe == run.recipe
    (Path("another-folder") / "report.html").unlink()
    status, _, err = clearmargin(*shlex.split(said[1]), "--resume")
    assert status == 0, err
    assert (Path("another-folder") / "report.html").is_file()


def test_a_split_edited_in_the_run_folder_is_refused_when_resuming(rows: Path) -> None:
    run = run_rows(rows, "run")
    (run.folder / "report.html").unlink()
    path = run.folder / "split.csv"
    text = path.read_text()
    for edited in (text.replace('"test"', '"train"', 1), text.replace('"g1"', '"g0"')):
        path.write_text(edited)
        with pytest.raises(RunFolderError, match=r"does not hold|do not belong together"):
            run_rows(rows, "run", resume=True)
    path.write_text(text)
    run_rows(rows, "run", resume=True)


# --- leaks --------------------------------------------------------------------------------------------------


def test_every_figure_of_an_accepted_leak_is_called_leaky(rows: Path, clearmargin) -> None:
    frame = pd.read_csv(rows / "rows.csv")
    frame["part"] = [("test" if row >= 49 else "validation" if row >= 40 else "train") for row in range(60)]
    frame.loc[0, "patient"] = "g29"
    frame.to_csv(rows / "rows.csv", index=False)
    with pytest.raises(SourceError, match="The given parts leak"):
        run_rows(rows, "refused", "split.use_given=true")
    asked = ["--set", "split.use_given=true", "--set", "split.accept_leaks=true", "--set", "evaluation.repeats=2"]
    status, out, _ = clearmargin("run", rows / "rows.toml", "--data", rows / "rows.csv", "--out", rows / "r", *asked)
    assert status == 0
    titles = [line for line in out.splitlines() if "test rows" in line or "mean ±" in line]
    assert len(titles) == 2
    assert all("leaky split" in line for line in titles)
    evaluation = json.loads((rows / "r" / "evaluation.json").read_text())
    assert evaluation["leaky"] is True
    assert evaluation["repeats"]["leaky"] is True
    assert evaluation["comparisons"]
    assert all(comparison["sentence"].startswith("Leaky split: ") for comparison in evaluation["comparisons"])
    assert all(said["leaky"] is True for said in evaluation["contenders"].values())
    assert json.loads((rows / "r" / "contenders" / "net" / "model.json").read_text())["leaky"] is True
    entries = [json.loads(line) for line in (rows / "r" / "ledger.jsonl").read_text().splitlines()]
    assert len(entries) == 2
    assert all(entry["leaky"] is True for entry in entries)
    status, out, err = clearmargin("predict", rows / "r", rows / "rows.csv", "--csv")
    assert (status, "the split of this run leaks" in err, "leaks" in out) == (0, True, False)
    summary = json.loads((rows / "r" / "split.json").read_text())
    assert summary["crossing_groups"] == 2
    assert summary["crossing_test_samples"] == 3  # g24 is torn between 48 and 49, g29 between 0 and 58, 59


def test_a_clean_run_is_not_called_leaky(rows: Path, clearmargin) -> None:
    run = run_rows(rows, "run")
    assert run.evaluation["leaky"] is False
    assert "eaky" not in json.dumps([run.evaluation["comparisons"], run.evaluation["contenders"]])
    assert json.loads((rows / "run" / "contenders" / "net" / "model.json").read_text())["leaky"] is False
    assert "leaky" not in (rows / "run" / "ledger.jsonl").read_text()
    assert "leaks" not in clearmargin("predict", run.folder, rows / "rows.csv")[2]


def prepared(rows: Path):
    recipe = load_recipe(rows / "rows.toml", data=str(rows / "rows.csv"))
    inputs, source = read_inputs(recipe.data, silent)
    return recipe, inputs, divide(inputs, audit_inputs(inputs, source).copies, recipe.split, 0)[1]


def test_the_door_of_training_refuses_splits_made_by_hand(rows: Path) -> None:
    _, inputs, split = prepared(rows)
    check_division(split, inputs)
    shuffled = split.parts.copy()
    np.random.default_rng(0).shuffle(shuffled)
    with pytest.raises(SourceError, match="Groups in more than one part"):
        check_division(replace(split, parts=shuffled), inputs)
    alone = replace(split, parts=shuffled, groups=split.names)  # groups that hide the patients
    with pytest.raises(SourceError, match="the same patient in more than one part"):
        check_division(alone, inputs)
    facts = inputs.facts.assign(pixel_sha256=["same"] * 60)
    with pytest.raises(SourceError, match="identical samples in more than one part"):
        check_division(split, replace(inputs, facts=facts))
    with pytest.raises(SourceError, match="not one of these samples"):
        check_division(replace(split, names=split.names[::-1]), inputs)
    check_division(replace(alone, given=True, leaks_accepted=True), inputs)


def test_training_passes_that_door(rows: Path) -> None:
    from clearmargin.contest import first_network, train_contender
    from clearmargin.task import task_of

    recipe, inputs, split = prepared(rows)
    torn = replace(split, parts=np.roll(split.parts, 1), groups=split.names)
    contender, task = recipe.contender[0], task_of(torn, "y")
    network, _ = first_network(contender, inputs.preprocessing.shape, task.outputs, 0)
    with pytest.raises(SourceError, match="The split leaks"):
        train_contender(contender, network, None, task, inputs, torn, rows / "door", 0, recipe.evaluation, silent)
    assert not (rows / "door").exists()


def test_a_bug_in_the_allotment_is_noticed(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts drawn without regard to groups, as a mistake in the drawing would."""
    from clearmargin.split import drawing

    def careless(samples, fractions, parts, rng):
        return np.array([parts[row % len(parts)] for row in range(len(samples.labels))], dtype=object)

    assert drawing.allot is allotment.allot
    monkeypatch.setattr("clearmargin.split.new_parts", careless)
    with pytest.raises(SourceError, match="Groups in more than one part: 30, expected 0"):
        run_rows(rows, "run")


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def patients(tmp_path: Path, draw_images) -> Path:
    folder = draw_images(tmp_path / "images", {"a": 24, "b": 24})
    for path in sorted(folder.rglob("*.png")):
        number = int(path.stem)
        path.rename(path.with_name(f"{path.parent.name}{number // 3}_slice{number % 3}.png"))
    return folder


def test_patients_are_found_by_a_pattern_and_stay_whole(patients: Path, clearmargin) -> None:
    out = patients.parent / "who.csv"
    status, told, _ = clearmargin("split", patients, "--out", out, "--fractions", "0.5,0.25,0.25")
    assert status == 0
    assert "image-level split: optimistic if related images (of one patient) are in both parts" in told
    out.unlink()
    status, told, _ = clearmargin(
        "split", patients, "--out", out, "--fractions", "0.5,0.25,0.25", "--group-pattern", r"(\w\d+)_slice"
    )
    assert status == 0
    assert "image-level" not in told
    part_of: dict[str, set[str]] = {}
    for row in csv.DictReader(io.StringIO(out.read_text())):
        part_of.setdefault(row["group"], set()).add(row["part"])
    assert len(part_of) == 16
    assert all(len(parts) == 1 for parts in part_of.values())
    assert clearmargin("split", patients, "--check", out, "--group-pattern", r"(\w\d+)_slice")[0] == 0
    status, told, _ = clearmargin("audit", patients, "--group-pattern", r"(\w\d+)_slice", "--json")
    assert status == 0
    assert "image-level" not in told


def test_no_file_is_lost_to_a_split(patients: Path, clearmargin, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = patients / "a" / "a0_slice0.png"
    link = patients.parent / "link"
    link.symlink_to(patients)
    before = picture.read_bytes()
    for out in (picture, patients / "new.csv", link / "new.csv", link / "a" / "a0_slice0.png"):
        status, _, said = clearmargin("split", patients, "--out", out)
        assert (status, "lies inside the data" in said) == (2, True), said
    assert picture.read_bytes() == before
    assert not (patients / "new.csv").exists()
    monkeypatch.chdir(patients.parent)
    assert clearmargin("split", patients)[0] == 0
    made = Path("split.csv").read_text()
    assert clearmargin("split", patients)[0] == 0  # the same again is nothing lost
    Path("split.csv").write_text(made.replace('"test"', '"train"', 1))
    edited = Path("split.csv").read_text()
    status, _, said = clearmargin("split", patients)
    assert (status, "split.csv exists already and holds another split" in said) == (2, True), said
    assert "--check split.csv" in said
    assert Path("split.csv").read_text() == edited
    Path("notes.json").write_text("{}")
    status, _, said = clearmargin("split", patients, "--out", "notes.json")
    assert (status, "notes.json exists already and is no split" in said) == (2, True), said
    assert Path("notes.json").read_text() == "{}"


def test_a_check_without_dropped_copies_says_how_they_were_dropped(patients: Path, clearmargin) -> None:
    (patients / "a" / "copy.png").write_bytes((patients / "a" / "a0_slice0.png").read_bytes())
    out = patients.parent / "kept.csv"
    assert clearmargin("split", patients, "--out", out, "--near-duplicates", "drop")[0] == 0
    status, _, said = clearmargin("split", patients, "--check", out)
    assert status == 2
    assert "if they are copies that were dropped, give --near-duplicates drop too" in said
    assert clearmargin("split", patients, "--check", out, "--near-duplicates", "drop")[0] == 0


def test_a_torn_patient_is_found_by_the_check(patients: Path, clearmargin) -> None:
    out, pattern = patients.parent / "who.csv", ("--group-pattern", r"(\w\d+)_slice")
    assert clearmargin("split", patients, "--out", out, "--fractions", "0.5,0.25,0.25", *pattern)[0] == 0
    lines = out.read_text().splitlines()
    torn = next(i for i, line in enumerate(lines) if line.endswith('"train"'))
    lines[torn] = lines[torn].replace('"train"', '"test"')
    out.write_text("\n".join(lines))
    status, told, said = clearmargin("split", patients, "--check", out, *pattern)
    assert (status, told) == (2, "")
    assert "The parts in who.csv leak" in said
    assert lines[torn].split('"')[1] in said
    assert "leave --check out" in said
    assert "give --accept-leaks to go on" in said
    told = clearmargin("split", patients, "--check", out, *pattern, "--accept-leaks")[1]
    assert told.endswith(f"{out} leaks, as accepted.\n")
    assert "holds" not in told
    status, told, _ = clearmargin("split", patients, "--check", out, *pattern, "--accept-leaks", "--json")
    assert status == 0
    facts = json.loads(told)
    assert (facts["leaky"], facts["crossing_groups"], facts["crossing_test_samples"]) == (True, 1, 1)


def test_folds_are_written_with_their_repeats(patients: Path, clearmargin) -> None:
    out = patients.parent / "folds.csv"
    words = ("--out", out, "--folds", "3", "--repeats", "2", "--group-pattern", r"(\w\d+)_slice", "--json")
    status, told, _ = clearmargin("split", patients, *words)
    assert status == 0
    assert len(json.loads(told)["splits"]) == 6
    frame = pd.read_csv(out)
    assert list(frame.columns) == ["repeat", "fold", "name", "label", "group", "part"]
    tested = frame[frame["part"] == "test"].groupby(["repeat", "name"]).size()
    assert len(tested) == 96
    assert set(tested) == {1}
    pattern = words[-3:-1]
    status, told, _ = clearmargin("split", patients, "--check", out, *pattern)
    assert (status, told.splitlines()[-1]) == (0, f"{out} holds.")
    again = patients.parent / "again.csv"  # as it was read, it is written
    assert clearmargin("split", patients, "--check", out, *pattern, "--out", again)[0] == 0
    assert again.read_bytes() == out.read_bytes()
    test = (frame["repeat"] == 2) & (frame["fold"] == 3) & (frame["part"] == "test")
    moved = frame.index[test][0]  # its patient is then in two parts of one fold, and tested in two folds
    frame.loc[moved, "part"] = "train"
    other = frame[(frame["repeat"] == 2) & (frame["fold"] == 1) & (frame["name"] == frame.loc[moved, "name"])].index[0]
    frame.loc[other, "part"] = "test"
    frame.to_csv(out, index=False)
    status, told, said = clearmargin("split", patients, "--check", out, *pattern)
    assert (status, told) == (2, "")
    assert "The parts in folds.csv (repeat 2, fold 1) leak" in said
    facts = json.loads(clearmargin("split", patients, "--check", out, *pattern, "--accept-leaks", "--json")[1])
    assert (facts["leaky"], facts["crossing_groups"], facts["folds"]) == (True, 1, 3)
    assert len(facts["splits"]) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fractions", "0.5,0.5"], "at least 3 items|three"),
        (["--fractions", "a,b,c"], "--fractions must be three numbers"),
        (["--fractions", "0.5,0.5,0.5"], "--fractions must sum to 1"),
        (["--folds", "1"], "--folds = 1"),
        (["--folds", "9"], "at least 9 independent groups"),
        (["--repeats", "2"], "--repeats goes with --folds"),
        (["--use-given"], "--use-given needs a part for every sample"),
        (["--use-given", "--folds", "3"], "--folds makes parts anew, and --use-given keeps those"),
        (["--accept-leaks"], "--accept-leaks is about given parts"),
        (["--near-duplicates", "keep"], "together, drop"),
        (["--group-by", "site"], "no column 'site' to group by (--group-by)"),
        (["--check", "nowhere.csv"], "There is no file"),
        (["--group-pattern", "("], "is not a regular expression"),
        (["--group-pattern", "x", "--target", "y"], "leave one out"),
    ],
)
def test_options_that_can_not_be_are_refused_in_words(patients: Path, clearmargin, words, message) -> None:
    out = [] if "--check" in words else ["--out", patients.parent / "who.csv"]
    pattern = [] if "--group-pattern" in words else ["--group-pattern", r"(\w\d+)_slice"]
    status, told, said = clearmargin("split", patients, *out, *pattern, *words)
    assert (status, told) == (2, "")
    assert any(one in said for one in message.split("|"))
    assert "set use_given" not in said
    assert "[split]" not in said
    assert not (patients.parent / "who.csv").exists()
