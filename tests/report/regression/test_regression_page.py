"""The page of a regression: complete, offline, inert, and in agreement with the files it was made from."""

import json
import re

import pytest

from clearmargin.errors import RunFolderError
from clearmargin.evaluation import read_estimates
from clearmargin.files import read_table, write_table
from clearmargin.report import write_report
from clearmargin.report.wording import measured


def edit(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.fixture(scope="module")
def written(tmp_path_factory, build_regression):
    """A run of one contender with its report, for tests that only look."""
    run_folder = build_regression(tmp_path_factory.mktemp("plain"))
    write_report(run_folder)
    return run_folder


HOSTILE = ("<img src=x onerror=alert(1)>", "\u202egnp.exe", "$\\frac{", "'\"><script>alert(2)</script>", "=1+1")


@pytest.mark.rendered
@pytest.mark.parametrize("settings", [
    {},
    {"errors": {"1-D CNN": 3.0, "wide": 3.1, "deep": 2.5}, "seeds": 4},
    {"errors": {"perfect": 0.0}, "seeds": 2, "baselines": False, "references": False},
    {"n": 60, "unit": 1e-8, "seeds": 3},
    {"unit": 1e11, "group_of": 7, "columns": {"medv": "value of a home", "rm": "rooms"}},
    {"n": 3000, "baselines": False},
], ids=["one contender", "three repeated", "perfect", "tiny unit", "huge unit, groups", "many rows"])  # fmt: skip
def test_every_shape_of_study_gives_an_inert_page(synthetic_regression, reading, settings):
    run_folder = synthetic_regression(**settings)
    assert write_report(run_folder) == run_folder / "report.html"
    page = reading.assert_inert(run_folder)
    text = reading.words(page)
    assert page.headings[0] == 1
    assert all(below <= above + 1 for above, below in zip(page.headings, page.headings[1:], strict=False))
    assert "None" not in text
    assert "nan" not in text.split()
    assert not re.search(r"\bimages?\b|\bclass(es)?\b|accuracy", text)
    assert ("test rows on one split prove little" in text) == ("seeds" not in settings and settings.get("n") != 3000)
    assert ("Over the seeds" in text) == bool(settings.get("seeds"))
    assert (run_folder / "figures" / "seeds.svg").is_file() == bool(settings.get("seeds"))


def test_the_printed_numbers_are_those_of_the_evaluation(synthetic_regression, reading):
    run_folder = synthetic_regression(errors={"1-D CNN": 3.0, "wide": 4.0})
    write_report(run_folder)
    page = reading.read_page(run_folder)
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    rows = [" ".join(row.replace("\u202f", "").split()) for row in page.rows]
    for name, result in {**evaluation["contenders"], **evaluation["baselines"]}.items():
        row = next(row for row in rows if row.startswith(name))
        for metric, digits in (("rmse", 2), ("mae", 2), ("mse", 2), ("r2", 3)):
            figure = result["metrics"][metric]
            value, low, high = (measured(figure[key], digits) for key in ("value", "low", "high"))
            assert f"{value} ({low} to {high})" in row
    for pair in evaluation["comparisons"][:1]:
        assert pair["sentence"] in reading.words(page)
    row = next(row for row in rows if row.startswith("tutorial, one split"))
    assert re.fullmatch(r"tutorial, one split ?from elsewhere ?4\.94 ?", row)


def test_repeats_stand_first_and_beside_the_single_split(synthetic_regression, reading):
    run_folder = synthetic_regression(errors={"1-D CNN": 2.2}, seeds=6)
    write_report(run_folder)
    page = reading.read_page(run_folder)
    text = reading.words(page)
    repeats = json.loads((run_folder / "evaluation.json").read_text())["repeats"]
    own = repeats["contenders"]["1-D CNN"]["rmse"]
    spread = f"{measured(own['mean'], 2)} ± {measured(own['sd'], 2)}"
    assert f"Over 6 seeds, 1-D CNN has a mean RMSE of {spread}; the best baseline, " in text
    assert next(row for row in page.rows if row.startswith("1-D CNN") and "parameters" in row).count(spread) == 1
    shown, _, to_paste = text.partition("Methods, to paste into a paper")
    for pair in repeats["comparisons"]:
        assert (shown.count(pair["sentence"]), to_paste.count(pair["sentence"])) == (1, 1)
    assert "75 test rows of one split. For reference: tutorial, one split 4.94." in text
    assert "corrected resampled t (Nadeau & Bengio 2003)" in text


def test_a_baseline_that_wins_is_said_to_win(synthetic_regression, reading):
    write_report(run_folder := synthetic_regression(errors={"1-D CNN": 12.0}))
    assert "ridge regression is better than 1-D CNN: RMSE lower by" in reading.words(reading.read_page(run_folder))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({}, "trained to the least squared error."),
        ({"loss": "absolute"}, "trained to the least absolute error."),
        (
            {"loss": "huber", "huber_delta": 0.5},
            "trained to the least Huber loss (delta 0.5: squared up to 0.5 standard deviations of the target, linear "
            "beyond).",
        ),
    ],
)
def test_the_loss_is_named(synthetic_regression, reading, loss, words):
    write_report(run_folder := synthetic_regression(loss=loss))
    assert words in reading.words(reading.read_page(run_folder))


def test_given_parts_and_what_was_cut_from_them_are_told(synthetic_regression, reading):
    run_folder = synthetic_regression(seeds=2)
    counts = json.loads((run_folder / "split.json").read_text())["counts"]
    train, cut = (counts[part]["rows"] for part in ("train", "validation"))
    edit(run_folder / "split.json", given=True, validation_cut=True)
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    edit(run_folder / "evaluation.json", repeats={**evaluation["repeats"], "same_test": True})
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder))
    held_out = f"Of the {train + cut} given training rows {cut} were held out for validation, by lot from seed 0"
    assert held_out in text
    assert "each time with the same test part, but validation part cut and contenders trained anew." in text
    assert "The baselines were tested on the same rows." in text
    assert "split, trained" not in text


def test_a_network_without_convolution_is_no_cnn(synthetic_regression, reading):
    run_folder = synthetic_regression(errors={"plain": 3.0})
    path = run_folder / "contenders" / "plain" / "model.json"
    edit(path, layers=json.loads(path.read_text())["layers"][2:])
    write_report(run_folder)
    assert "A dense network over the columns of a row, with" in reading.words(reading.read_page(run_folder))


def test_a_table_is_not_said_to_lack_augmentation_nor_its_model_to_be_off(written, reading):
    text = reading.words(reading.read_page(written))
    assert "ugmentation" not in text
    assert "cross-entropy" not in text
    assert "it shows whether the model is off at the ends" in text
    assert "patient" not in text


def test_layers_are_listed_with_what_they_see(written, reading):
    rows = [" ".join(row.split()) for row in reading.read_page(written).rows]
    assert any(re.search(r"conv 64, 2, relu.*2$", row) for row in rows)
    assert any(re.search(r"flatten.*13$", row) for row in rows)


def test_it_says_what_baselines_learned_from(synthetic_regression, reading):
    said = "The baselines learned from training and validation part together"
    for baselines in (True, False):
        write_report(run_folder := synthetic_regression(baselines=baselines))
        assert (said in reading.words(reading.read_page(run_folder))) == baselines


@pytest.mark.parametrize(("group_of", "test_groups"), [(25, 3), (10, 8)])
def test_fewer_than_five_groups_are_warned_of(synthetic_regression, reading, group_of, test_groups):
    write_report(run_folder := synthetic_regression(group_of=group_of))
    text = reading.words(reading.read_page(run_folder))
    assert ("The test part has only 3 groups: " in text) == (test_groups < 5)


def test_a_figure_of_one_seed_has_no_spread(synthetic_regression, reading):
    run_folder = synthetic_regression(seeds=2)
    path = run_folder / "evaluation.json"
    evaluation = json.loads(path.read_text())
    one = evaluation["repeats"]["contenders"]["1-D CNN"]
    for figures in one.values():
        figures["sd"] = None
    one["r2"].update(dict.fromkeys(("mean", "min", "max", "low", "high")))
    path.write_text(json.dumps(evaluation))
    write_report(run_folder)
    rows = [" ".join(row.split()) for row in reading.read_page(run_folder).rows if row.startswith("1-D CNN")]
    assert rows
    assert not any("± –" in row for row in rows)


def test_the_largest_errors_are_listed_with_what_others_say(written, reading):
    run_folder = written
    said = read_estimates(run_folder / "contenders" / "1-d-cnn" / "predictions.csv")["test"]
    ridge = read_estimates(run_folder / "baselines" / "ridge-regression" / "predictions.csv")["test"]
    worst = abs(said.targets - said.values).argsort()[-12:]
    rows = [" ".join(row.split()) for row in reading.read_page(run_folder).rows]
    for row in worst:
        shown = next(text for text in rows if re.match(f"{said.names[row]} ?{said.targets[row]:.2f}", text))
        assert measured(said.targets[row] - said.values[row], 2) in shown
        assert measured(ridge.values[row], 2) in shown


@pytest.mark.rendered
def test_hostile_names_are_text(synthetic_regression, reading):
    run_folder = synthetic_regression(
        name="<script>alert(0)</script>" + "x" * 150,
        target=HOSTILE[0],
        errors={"<b>bold</b>" * 9: 3.0, "\u202eמודל": 2.0},
        row_name=lambda k: f"{HOSTILE[k % len(HOSTILE)]} {k}",
        columns={HOSTILE[0]: HOSTILE[3], "rm": "\u202e"},
        seeds=2,
    )
    write_report(run_folder)
    assert "<img src=x onerror=alert(1)>" in reading.words(reading.assert_inert(run_folder))
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", text)
    assert all("<script" not in path.read_text(encoding="utf-8") for path in (run_folder / "figures").glob("*.svg"))


def test_a_clean_split_is_proved_and_a_leak_is_shouted(synthetic_regression, reading):
    run_folder = synthetic_regression()
    write_report(run_folder)
    clean = reading.words(reading.read_page(run_folder))
    assert "Nothing leaks from the test part into training" in clean
    assert "500 rows or sets of identical rows were placed" in clean
    assert "if some do, they may lie in different parts, and the figures are optimistic" in clean
    rows = read_table(run_folder / "split.csv", text=("name", "label", "group", "part"))
    rows.loc[rows.index[rows["part"] == "test"][0], "part"] = "train"
    write_table(run_folder / "split.csv", rows)
    write_report(run_folder)
    leaky = reading.words(reading.read_page(run_folder))
    assert "Too good to be true" in leaky
    assert "1 tested row seen before" in leaky


def test_what_was_found_excluded_and_used_adds_up(written, reading):
    run_folder = written
    text = reading.words(reading.read_page(run_folder))
    assert "502 rows found, 2 excluded, 500 used." in text
    assert "could not be read: 2" in text
    assert "500 rows of a table (boston.csv): the target medv and 4 input columns." in text
    assert "jane" not in (run_folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.rendered
def test_the_same_files_give_the_same_bytes(synthetic_regression):
    run_folder = synthetic_regression(seeds=3, baselines=False)

    def written():
        write_report(run_folder)
        return {
            path.name: path.read_bytes() for path in [run_folder / "report.html", *(run_folder / "figures").iterdir()]
        }

    first = written()
    assert written() == first
    assert {
        "comparison.svg", "learning-curves.svg", "predicted-against-true.svg", "residuals-1-d-cnn.svg", "seeds.svg",
        "true-and-predicted-1-d-cnn.svg",
    } <= set(first)  # fmt: skip


@pytest.mark.parametrize("name", [
    "recipe.toml", "audit.json", "split.csv", "split.json", "evaluation.json", "contenders/1-d-cnn/history.csv",
    "contenders/1-d-cnn/predictions.csv",
])  # fmt: skip
def test_a_missing_file_is_named_and_nothing_is_written(synthetic_regression, name):
    run_folder = synthetic_regression()
    (run_folder / name).unlink()
    with pytest.raises(RunFolderError, match=name.rpartition("/")[2]):
        write_report(run_folder)
    assert not (run_folder / "report.html").exists()


def test_baselines_whose_predictions_were_not_kept_are_in_the_tables_only(synthetic_regression, reading):
    run_folder = synthetic_regression()
    for path in (run_folder / "baselines").glob("*/predictions.csv"):
        path.unlink()
    write_report(run_folder)
    page = reading.assert_inert(run_folder)
    assert any(row.startswith("ridge regression") for row in page.rows)
    assert "what the others predict" not in reading.words(page)


def test_contradictions_between_files_are_refused(synthetic_regression):
    run_folder = synthetic_regression()
    path = run_folder / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["contenders"]["1-D CNN"]["metrics"]["rmse"]["value"] *= 1.01
    path.write_text(json.dumps(evaluation))
    with pytest.raises(RunFolderError, match="do not belong together"):
        write_report(run_folder)


def test_targets_that_are_no_numbers_are_refused(synthetic_regression):
    run_folder = synthetic_regression()
    rows = read_table(run_folder / "split.csv", text=("name", "label", "group", "part"))
    rows.loc[3, "label"] = "much"
    write_table(run_folder / "split.csv", rows)
    with pytest.raises(RunFolderError, match=r"split\.csv is damaged: a target is not a number"):
        write_report(run_folder)


def test_a_value_of_another_kind_is_named_with_its_place(synthetic_regression):
    run_folder = synthetic_regression()
    path = run_folder / "evaluation.json"
    content = json.loads(path.read_text())
    content["contenders"]["1-D CNN"].pop("metrics")
    path.write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match=r"contenders\.1-D CNN\.metrics: field required"):
        write_report(run_folder)


@pytest.mark.parametrize(
    ("mean", "std", "written"),
    [
        (4.2e-4, 1.1e-4, "crim 0.000420 0.000110"),
        (408237.0, 168537.2, "crim 408237 168537"),
        (3.6, 8.6, "crim 3.60 8.60"),
        (2e-7, 1e-7, "crim 2e−07 1e−07"),
        (5.0, 0.0, "crim 5.00 0.00"),
        (0.0, 0.0, "crim 0.00 0.00"),
    ],
)
def test_input_columns_have_the_digits_that_their_spread_needs(synthetic_regression, reading, mean, std, written):
    run_folder = synthetic_regression()
    path = run_folder / "contenders" / "1-d-cnn" / "model.json"
    model = json.loads(path.read_text())
    model["preprocessing"].update(mean=[mean, 0, 0, 0], std=[std, 1, 1, 1])
    path.write_text(json.dumps(model))
    write_report(run_folder)
    rows = [row.replace("\u202f", "") for row in reading.read_page(run_folder).rows]
    assert written.replace(" ", "") in ["".join(row.split()) for row in rows]
