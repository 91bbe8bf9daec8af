"""The page as a whole: complete, offline, inert, and in agreement with the files it was made from."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from clearmargin.evaluation import read_predictions
from clearmargin.files import read_table, write_json, write_table
from clearmargin.recipe import slug
from clearmargin.report import write_report
from clearmargin.report.mistakes import SUREST
from clearmargin.report.overview import METRICS
from clearmargin.report.wording import estimate

EDGES = {"": 0.123, "_low": 0.045, "_high": 0.234}
VOID = {"meta", "link", "br", "img", "wbr", "path", "rect", "circle", "use", "image"}
ACTIVE = {"script", "iframe", "object", "embed", "form", "input", "button", "base", "video", "audio", "foreignobject"}
HOSTILE_CLASSES = (
    "<img src=x onerror=alert(1)>",
    "\u202egnp.exe",
    "a" * 300,
    "$\\frac{",
    "类别\x01",
    "'\"><script>alert(2)</script>",
    "Z\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308",
)


class Page(HTMLParser):
    """Reads a page strictly: unbalanced tags are errors; collects what the tests ask for."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.attributes, self.ids = [], [], [], []
        self.rows, self.text, self.headings = [], [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((tag, name, value or "") for name, value in attrs)
        self.ids.extend(value for name, value in attrs if name == "id")
        if tag == "tr":
            self.rows.append("")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.text.append(data)
            if "tr" in self.stack:
                self.rows[-1] += data


def read_page(run_folder):
    return Page((run_folder / "report.html").read_text(encoding="utf-8"))


def words(page):
    return " ".join("".join(page.text).replace("\u202f", "").split())


def assert_inert(run_folder):
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not ACTIVE & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "src", "xlink:href", "action", "srcset"):
            assert value.startswith(("#", "data:image/")) or (tag, value) == ("link", "data:,"), (tag, value)
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))
    pointed_to = {value[1:] for _, name, value in page.attributes if name == "href" and value.startswith("#")}
    assert pointed_to | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
    return page


@pytest.mark.rendered
@pytest.mark.parametrize(
    "settings",
    [
        {"skills": {"VGG16": 3.0}},
        {"skills": {"VGG16": 3.0}, "classes": ("no", "yes")},
        {"skills": {"VGG16": float("inf")}, "classes": ("no", "yes"), "patients": True},
        {"skills": {"VGG16": 3.6, "plain CNN": 2.2, "wide CNN": 2.0}, "patients": True, "simulated": True},
        {"classes": [f"digit {k}" for k in range(12)], "n_test": 240},
        {"classes": [f"kind {k}" for k in range(40)], "n_test": 400},
    ],
    ids=["one contender", "two classes", "no mistakes", "three contenders", "twelve classes", "forty classes"],
)
def test_every_shape_of_study_gives_an_inert_page(synthetic_run, settings):
    run_folder = synthetic_run(**settings)
    assert write_report(run_folder) == run_folder / "report.html"
    page = assert_inert(run_folder)
    assert page.headings[0] == 1
    assert all(below <= above + 1 for above, below in zip(page.headings, page.headings[1:], strict=False))
    assert "not a medical device" in words(page).lower()
    assert "None" not in words(page).replace("None: all", "")
    assert "nan" not in words(page).split()


@pytest.mark.rendered
def test_hostile_names_are_text(synthetic_run):
    run_folder = synthetic_run(
        name="<script>alert(0)</script>" + "x" * 175,
        classes=HOSTILE_CLASSES,
        skills={"<b>bold</b>" * 9: 3.0, "\u202eמודל": 2.0},
        image_name=lambda k, label: f'{label[:40]}/\udce9\'onload="x{k}" ' + "y" * (k % 200),
        n_test=70,
        findings=[
            {
                "kind": "ignored-files",
                "severity": "note",
                "message": "<svg onload=alert(3)>",
                "remedy": "\u202e",
                "samples": ["</ul><script>", "\u2066x", "caf\udce9"],
            }
        ],
    )
    write_report(run_folder)
    page = assert_inert(run_folder)
    assert "<img src=x onerror=alert(1)>" in words(page)
    assert "\\u202egnp.exe" in words(page)
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", text)
    for figure in (run_folder / "figures").glob("*.svg"):
        assert "<script" not in figure.read_text(encoding="utf-8")


def test_the_printed_numbers_are_those_of_the_evaluation(synthetic_run):
    run_folder = synthetic_run()
    write_report(run_folder)
    page = read_page(run_folder)
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    rows = [" ".join(row.split()) for row in page.rows]
    for contender, result in evaluation["contenders"].items():
        row = next(row for row in rows if row.startswith(contender) and "parameters" in row)
        for metric in METRICS:
            assert estimate(result["metrics"][metric.key]) in row
        for found in result["per_class"]:
            recall = {"value": found["recall"], "low": found["recall_low"], "high": found["recall_high"]}
            printed = [f"{found[key]:.3f}" for key in ("precision", "specificity", "f1", "auc")]
            pattern = f"{found['class']} ?{found['n']}"
            assert any(
                re.match(pattern, row) and estimate(recall) in row and all(number in row for number in printed)
                for row in rows
            )
    assert evaluation["comparisons"][0]["sentence"] in words(page)
    assert f"{evaluation['baseline']['balanced_accuracy']:.3f}" in next(row for row in rows if row.startswith("Always"))


def test_figures_from_elsewhere_stand_in_the_first_table(synthetic_run):
    references = [
        {"name": "published <b>", "metric": "accuracy", "value": 0.97},
        {"name": "theirs", "metric": "log_loss", "value": 0.25},
    ]
    write_report(run_folder := synthetic_run(references=references))
    page = read_page(run_folder)
    rows = [" ".join(row.split()) for row in page.rows]
    assert any(re.fullmatch(r"published <b> ?from elsewhere ?0\.970", row) for row in rows)
    assert any(re.fullmatch(r"theirs ?from elsewhere ?0\.250", row) for row in rows)


def test_fewer_than_five_groups_are_warned_of(synthetic_run):
    write_report(synthetic_run())
    run_folder = synthetic_run(patients=True, n_test=16)
    write_report(run_folder)
    assert "The test part has only 4 groups: " in words(read_page(run_folder))


def test_a_class_of_few_test_images_is_warned_of(synthetic_run):
    write_report(run_folder := synthetic_run(n_test=100))
    counts = [
        row["n"] for row in json.loads((run_folder / "evaluation.json").read_text())["contenders"]["VGG16"]["per_class"]
    ]
    said = words(read_page(run_folder))
    assert f": {min(counts)}, fewer than 35): intervals of macro F1, MCC and AUC are too narrow" in said
    write_report(run_folder := synthetic_run(n_test=400))
    assert "Few test images of a class" not in words(read_page(run_folder))
    write_report(run_folder := synthetic_run(n_test=32))  # few of all, 8 of each: said once
    assert "Few test images of a class" not in words(read_page(run_folder))
    assert "bootstrap intervals are too narrow" in words(read_page(run_folder))


def test_layers_are_listed_with_what_they_see(synthetic_run):
    write_report(run_folder := synthetic_run())
    rows = [" ".join(row.split()) for row in read_page(run_folder).rows]
    assert any(re.search(r"conv 64, 3x3, relu.*8 × 8$", row) for row in rows)


def test_every_mistake_is_shown_with_its_picture(synthetic_run, noise_pictures):
    run_folder = synthetic_run()
    write_report(run_folder, noise_pictures)
    page = read_page(run_folder)
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    alternatives = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    wrong, told = [], set()
    for contender in ("VGG16", "plain CNN"):
        test = read_predictions(run_folder / "contenders" / slug(contender) / "predictions.csv")["test"]
        predicted = np.array(test.classes, dtype=object)[test.probabilities.argmax(axis=1)]
        rows = np.flatnonzero(predicted != test.labels)
        wrong += list(test.names[rows])
        told |= {f"Test image {test.names[k]}: a {test.labels[k]}, taken for {predicted[k]}" for k in rows}
    assert set(alternatives) == told
    shown = [re.fullmatch(r"Test image (.*): a .*", value)[1] for value in alternatives]
    assert set(shown) == set(wrong)
    assert len(pictures) == len(shown)
    for name in set(wrong):  # once among the mistakes of its class, once more when it is one of the surest
        assert wrong.count(name) <= shown.count(name) <= 2 * wrong.count(name)
    assert all(value.startswith("data:image/jpeg;base64,") for value in pictures)
    assert "picture not kept" not in words(page)


def test_without_pictures_the_page_says_so_and_kept_thumbnails_are_used(synthetic_run, noise_pictures):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_report(run_folder)
    assert "picture not kept" in words(read_page(run_folder))
    assert "Some pictures are not here" in words(read_page(run_folder))
    write_report(run_folder, noise_pictures)
    with_pictures = (run_folder / "report.html").read_bytes()
    write_report(run_folder)
    assert (run_folder / "report.html").read_bytes() == with_pictures


def test_a_damaged_thumbnail_is_a_missing_one(synthetic_run, noise_pictures):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_report(run_folder, noise_pictures)
    for kept in (run_folder / "figures" / "mistakes").iterdir():
        kept.write_bytes(b"no picture")
    write_report(run_folder)
    assert "picture not kept" in words(read_page(run_folder))


def test_without_mistakes_no_cell_is_said_to_lead_to_one(synthetic_run):
    write_report(run_folder := synthetic_run(skills={"perfect": np.inf}))
    assert "orange cells mistakes" in words(read_page(run_folder))
    assert "Follow an orange cell" not in words(read_page(run_folder))
    write_report(run_folder := synthetic_run(skills={"VGG16": 2.0}))
    assert "Follow an orange cell to its images." in words(read_page(run_folder))


def test_small_pictures_keep_their_pixels(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 2.0})
    write_report(run_folder, lambda names: {name: np.full((28, 28, 1), 7, dtype=np.uint8) for name in names})
    page = read_page(run_folder)
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert sources
    assert all(value.startswith("data:image/png") for value in sources)


def test_many_mistakes_are_capped_and_the_page_says_so(synthetic_run, noise_pictures):
    run_folder = synthetic_run(skills={"VGG16": 0.1, "plain CNN": 0.0, "wide CNN": 0.2}, n_test=1000)
    path = write_report(run_folder, noise_pictures)
    assert path.stat().st_size < 15_000_000
    said = re.findall(
        r"(\d+) of (\d+) mistakes shown: the most confident ones of each cell; all are in predictions.csv",
        words(read_page(run_folder)),
    )
    assert len(said) == 3
    assert all(int(shown) <= 200 < int(total) for shown, total in said)
    cards = [value for _, name, value in read_page(run_folder).attributes if (name, value) == ("class", "card")]
    assert len(cards) == sum(int(shown) + SUREST for shown, _ in said)


@pytest.mark.rendered
def test_the_same_files_give_the_same_bytes(synthetic_run, noise_pictures):
    run_folder = synthetic_run(skills={"VGG16": 2.5})

    def written():
        write_report(run_folder, noise_pictures)
        files = [run_folder / "report.html", *sorted((run_folder / "figures").rglob("*.*"))]
        return {path.name: path.read_bytes() for path in files}

    first = written()
    assert written() == first
    assert {"comparison.svg", "confusion-vgg16.svg", "learning-curves.svg", "roc.svg"} <= set(first)


@pytest.mark.parametrize(("settings", "banner"), [
    ({"simulated": True}, "Simulated images: no clinical meaning"),
    ({"patients": False}, "Image-level split: optimistic if related images (of one patient) are in both parts."),
])  # fmt: skip
def test_banners(synthetic_run, settings, banner):
    run_folder = synthetic_run(**settings, skills={"VGG16": 2.5})
    write_report(run_folder)
    assert banner in words(read_page(run_folder))


def test_words_of_medicine_are_kept_from_other_studies(synthetic_run):
    run_folder = synthetic_run(classes=("cat", "dog"), patients=True, skills={"plain": 2.5}, name="Cats and dogs")
    write_report(run_folder)
    text = words(read_page(run_folder))
    assert "No decision about a person should rest on what is here." in text
    assert not re.search("care of a patient|tumour|lesion|on the film", text)


def test_the_caption_of_learning_curves_names_what_worsens_training_figures(synthetic_run):
    write_report(run_folder := synthetic_run(skills={"VGG16": 2.5}))
    assert "in the loss with label smoothing and class weights, where they are in use" in words(read_page(run_folder))


def test_no_banner_without_need(synthetic_run):
    run_folder = synthetic_run(patients=True, skills={"VGG16": 2.5})
    write_report(run_folder)
    assert 'class="banner"' not in (run_folder / "report.html").read_text(encoding="utf-8")


def test_a_clean_split_is_proved_and_a_leak_is_shouted(synthetic_run):
    run_folder = synthetic_run(patients=True, skills={"VGG16": 2.5})
    write_report(run_folder)
    clean = words(read_page(run_folder))
    assert "Nothing leaks from the test part into training" in clean
    assert "0 groups in more than one part" in clean

    rows = read_table(run_folder / "split.csv", text=("name", "label", "group", "part"))
    moved = rows.index[rows["part"] == "test"][0]
    rows.loc[moved, "part"] = "train"
    write_table(run_folder / "split.csv", rows)
    write_report(run_folder)
    leaky = words(read_page(run_folder))
    assert "Too good to be true" in leaky
    assert "1 group in more than one part" in leaky
    assert "split.json says 0" in leaky
    assert "1 tested image seen before" in leaky


def test_copies_kept_together_and_copies_left_out(synthetic_run):
    kept = {"kind": "exact-copies", "severity": "note", "message": "m", "remedy": "r"}
    names = [f"no/image ({k}).jpg" for k in (0, 2, 4)]
    settings = {"classes": ("no", "yes"), "skills": {"VGG16": 2.5}}
    run_folder = synthetic_run(**settings, findings=[{**kept, "samples": names}])
    write_report(run_folder)
    assert "0 sets of copies split up" in words(read_page(run_folder))
    assert "3 images have an identical twin; copies share a part." in words(read_page(run_folder))
    run_folder = synthetic_run(**settings, findings=[{**kept, "samples": [*names, "no/dropped.jpg"]}])
    write_report(run_folder)
    assert "4 images have an identical twin; repeats left out: 1." in words(read_page(run_folder))


def test_what_was_found_excluded_and_used_adds_up(synthetic_run):
    broken = [
        {"kind": "unreadable-images", "severity": "warning", "message": "m", "remedy": "r", "samples": ["a", "b"]}
    ]
    run_folder = synthetic_run(skills={"VGG16": 2.5}, findings=broken)
    write_report(run_folder)
    text = words(read_page(run_folder))
    assert "602 images found, 2 excluded, 600 used." in text
    assert "could not be read: 2" in text


def test_no_folder_of_the_machine_is_told(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_report(run_folder)
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "jane" not in text
    assert str(run_folder) not in text
    assert "brain-tumor-mri.zip" in text


def test_a_history_of_one_epoch_and_unfinished_numbers(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    path = run_folder / "contenders" / "vgg16" / "history.csv"
    history = read_table(path).head(1)
    history["validation_loss"] = pd.Series([np.nan])
    write_table(path, history)
    write_report(run_folder)
    assert_inert(run_folder)


def test_importing_the_report_does_not_load_torch():
    code = "import sys, clearmargin.report; print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_predictive_values_at_a_stated_prevalence_stand_with_their_limits(synthetic_run, reading):
    run_folder = synthetic_run()
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    evaluation["prevalence"] = {evaluation["classes"][0]: 0.02}
    for said in evaluation["contenders"].values():
        said["per_class"][0] |= {f"ppv_at_prevalence{end}": value for end, value in EDGES.items()}
        said["per_class"][0] |= {f"npv_at_prevalence{end}": None for end in EDGES}
    write_json(run_folder / "evaluation.json", evaluation)
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder))
    assert "0.123 (0.045–0.234)" in text
