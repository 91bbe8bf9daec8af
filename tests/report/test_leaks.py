"""What the page says when the test part is not clean, and what leakage was worth."""

import json
import re
from xml.etree import ElementTree

import pytest

from clearmargin.errors import RunFolderError
from clearmargin.files import read_table, write_json, write_table
from clearmargin.report import write_report

# Sections about the data and the networks themselves, which leak nothing.
UNCONCERNED = {"data", "audit", "leakage", "image", "networks", "reproduce"}


def figure(value, reach=0.03):
    return {"value": value, "low": value - reach, "high": value + reach, "method": "bootstrap"}


def price(**more):
    free = {"split": "leak-free", "accuracy": figure(0.872), "n_test": 327, "with_copy": None}
    leaking = {
        "split": "random", "accuracy": figure(0.921), "n_test": 326, "with_copy": {"n": 180, "accuracy": figure(0.968)},
        "without_copy": {"n": 146, "accuracy": figure(0.861)},
    }  # fmt: skip
    sentence = "A random split looks 4.9 points better than it is."
    return {
        "format": 1, "features": "VGG16", "classifier": "logistic regression", "seeds": [0, 1, 2],
        "splits": [leaking, {**free, "without_copy": {"n": 327, "accuracy": figure(0.872)}}],
        "difference": {"first": "random", "second": "leak-free", "value": 0.049, "low": 0.02, "high": 0.07,
                       "sentence": sentence},
        "control": {"accuracy": figure(0.26), "chance": 0.25, "holds": True, "sentence": "At chance, as it must be."},
        "sentences": [sentence, "Most of it is memory."], **more,
    }  # fmt: skip


def leak(run_folder, groups=2):
    """Put test images into groups of training images, as given parts that were accepted with their leaks do."""
    rows = read_table(run_folder / "split.csv", text=("name", "label", "group", "part"))
    tested, trained = (rows.index[rows["part"] == part][:groups] for part in ("test", "train"))
    rows.loc[tested, "group"] = rows.loc[trained, "group"].to_numpy()
    write_table(run_folder / "split.csv", rows)
    split = json.loads((run_folder / "split.json").read_text())
    write_json(run_folder / "split.json", {**split, "given": True, "crossing_groups": groups})


def drawn_titles(path):
    """Of every pair of axes in a figure, all its text."""
    root = ElementTree.parse(path).getroot()
    axes = [group for group in root.iter() if re.fullmatch(r"axes_\d+", group.get("id", ""))]
    used = [group for group in axes if any(element.tag.endswith("text") for element in group.iter())]
    return [" ".join("".join(one.itertext()) for one in group.iter() if one.tag.endswith("text")) for group in used]


def assert_all_leaky(run_folder, reading):
    reading.assert_inert(run_folder)
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    for name, section in re.findall(r'(?s)<section id="([\w-]+)"(.*?)</section>', page):
        if name in UNCONCERNED:
            continue
        for title in re.findall(r"(?s)<(?:h[2-4]|caption|figcaption|summary)\b[^>]*>(.*?)</", section):
            assert "leaky" in title, (name, title)
        for picture in re.findall(r'<svg class="plot".*?</svg>', section):
            assert re.search(r">leaky\b", picture), name
            assert 'aria-label="leaky: ' in picture
        assert not re.findall(r'alt="(?!leaky: )', section), name
        assert '<caption class="unseen"' not in section
        sentences = re.findall(r'<p class="(?:said|lede)(?: alone)?">(.{0,30})', section)
        assert all(sentence.startswith('<b class="leaky">leaky</b> ') for sentence in sentences), name
    for path in (run_folder / "figures").glob("*.svg"):
        if path.name != "leakage.svg":
            titles = drawn_titles(path)
            assert titles
            assert all("leaky" in title for title in titles), path.name


@pytest.mark.parametrize("classes", [("no", "yes"), tuple(f"kind {k}" for k in range(14))], ids=["two", "many"])
@pytest.mark.rendered
def test_every_figure_of_a_leaky_run_says_so(synthetic_run, noise_pictures, keep, reading, classes):
    run_folder = synthetic_run(classes=classes, n_test=42)
    keep(run_folder, "VGG16")
    leak(run_folder)
    write_report(run_folder, noise_pictures)
    assert_all_leaky(run_folder, reading)
    text = reading.words(reading.read_page(run_folder))
    assert (
        "Leaky: the test part is not clean. 2 groups in more than one part and 2 tested images of a group also " in text
    )
    assert (
        "On 42 images of the test part, of which 2 belong to a group also learned from (leaks were accepted)." in text
    )
    assert "Leaks were accepted: of 42 test images, 2 belong to a group also learned from." in text
    assert "0 tested images seen before" not in text
    assert "had seen" not in text
    assert "Image-level split: optimistic if related images (of one patient) are in both parts." in text
    assert "leaky: Brain tumour: plain CNN against VGG16" in text


def test_a_clean_run_never_says_leaky(synthetic_run, noise_pictures, reading):
    run_folder = synthetic_run(patients=True)
    write_report(run_folder, noise_pictures)
    assert "leaky" not in reading.words(reading.read_page(run_folder)).lower()
    assert not any("leaky" in path.read_text(encoding="utf-8") for path in (run_folder / "figures").glob("*.svg"))


@pytest.mark.rendered
def test_an_evaluation_that_says_leaky_is_believed(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    write_json(run_folder / "evaluation.json", {**evaluation, "leaky": True})
    write_report(run_folder)
    assert_all_leaky(run_folder, reading)
    assert "evaluation.json says leaky" in reading.words(reading.read_page(run_folder))


def test_the_data_and_sentences_carry_the_word_once(synthetic_run, reading):
    run_folder = synthetic_run()
    leak(run_folder)
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    for pair in evaluation["comparisons"]:
        pair["sentence"] = f"Leaky split: {pair['sentence']}"
    write_json(run_folder / "evaluation.json", {**evaluation, "leaky": True})
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder))
    assert "Leaky split:" not in text
    assert f"leaky {evaluation['comparisons'][0]['sentence'].removeprefix('Leaky split: ')}" in text
    assert "leaky 600 images found" not in text


def test_the_first_box_says_what_the_split_knows(synthetic_run, reading):
    evidence = {"pairs": [], "clusters": 41, "largest": 3}
    near = {"kind": "near-copies", "severity": "note", "message": "m", "samples": [], "evidence": evidence}
    write_report(run_folder := synthetic_run(skills={"VGG16": 2.5}, findings=[near]))
    text = reading.words(reading.read_page(run_folder))
    assert "Image-level split: optimistic if related images (of one patient) are in both parts." in text
    assert "41 clusters of near-duplicates: copies were kept together in one part." in text


def test_with_patients_the_first_box_says_so(synthetic_run, reading):
    write_report(run_folder := synthetic_run(skills={"VGG16": 2.5}, patients=True))
    text = reading.words(reading.read_page(run_folder))
    assert "Split by patient or group: none is in more than one part. 150 were placed." in text
    assert "Image-level" not in text


@pytest.mark.parametrize("kind", ["exact-copies", "near-copies"])
def test_a_pair_in_two_parts_is_found_whatever_its_groups(synthetic_run, reading, kind):
    found = {"kind": kind, "severity": "note", "message": "m", "samples": []}
    run_folder = synthetic_run(classes=("no", "yes"), skills={"VGG16": 2.5}, findings=[found])
    rows = read_table(run_folder / "split.csv", text=("name", "label", "group", "part"))
    tested, trained, other = (rows["name"][rows["part"] == part].iloc[at]
                              for part, at in (("test", 0), ("train", 0), ("train", 1)))  # fmt: skip
    audit = json.loads((run_folder / "audit.json").read_text())
    for pairs, apart in (([(trained, other)], 0), ([(trained, other), (tested, trained)], 1)):
        evidence = {"pairs": [{"first": first, "second": second} for first, second in pairs]}
        names = sorted({name for pair in pairs for name in pair})
        audit["findings"][0].update(evidence=evidence, samples=names)
        write_json(run_folder / "audit.json", audit)
        write_report(run_folder)
        text = reading.words(reading.read_page(run_folder))
        assert f"{apart} set{'s' if apart != 1 else ''} of copies split up" in text
        assert ("Leaky" in text) == bool(apart)


@pytest.mark.rendered
def test_the_price_of_leakage_is_a_section(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_json(run_folder / "leakage.json", price())
    write_report(run_folder)
    page = reading.assert_inert(run_folder)
    text = reading.words(page)
    assert text.count("A random split looks 4.9 points better than it is.") == 2, "on the first screen, and there"
    assert "Most of it is memory." in text
    rows = ["".join(row.split()) for row in page.rows]
    assert "arandomsplit326testimages0.968(0.938–0.998)180images0.861(0.831–0.891)146images" in rows
    assert "theleak-freesplit327testimagesnone0.872(0.842–0.902)327images" in rows
    assert "0.260 (0.230–0.290) against 0.250 by chance" in text
    assert "Features: VGG16; classifier: logistic regression; over 3 seeds; intervals: bootstrap." in text
    introduced = (
        "measured with a simple classifier (logistic regression on features of VGG16) and not with the contenders"
    )
    assert text.index(introduced) < text.index("A random split looks 4.9 points")
    said = drawn_titles(run_folder / "figures" / "leakage.svg")[0]
    assert all(words in said for words in ("0.921", "0.872", "+4.9 points (+2.0 to +7.0)"))


@pytest.mark.rendered
def test_a_third_split_and_no_control_are_shown(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    found = price(control=None)
    third = {"split": "copies together", "accuracy": figure(0.9), "n_test": 326, "with_copy": None}
    found["splits"].insert(1, {**third, "without_copy": {"n": 326, "accuracy": figure(0.9)}})
    found["sentences"].append("No control was possible.")
    write_json(run_folder / "leakage.json", found)
    write_report(run_folder)
    page = reading.assert_inert(run_folder)
    assert "onlycopiestogether326testimagesnone0.900(0.870–0.930)326images" in ["".join(r.split()) for r in page.rows]
    assert "No control was possible." in reading.words(page)
    assert "The control" not in reading.words(page)
    drawn = drawn_titles(run_folder / "figures" / "leakage.svg")[0]
    assert "only copies together" in drawn
    assert "+4.9 points (+2.0 to +7.0)" in drawn  # from random to leak-free, past the row between


@pytest.mark.rendered
def test_every_interval_of_the_price_is_named_and_a_missing_one_explained(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    given = {"split": "given", "accuracy": {**figure(0.9), "method": "Wilson score"}, "n_test": 40,
             "with_copy": {"n": 35, "accuracy": {"value": 1.0, "low": None, "high": None,
                                                 "method": "no interval: the resamples show no spread"}}}  # fmt: skip
    together = {"split": "copies together", "accuracy": figure(0.88), "n_test": 326}
    content = price()
    control = {**content["control"], "accuracy": {**figure(0.26), "method": "Student's t"}}
    said = [*content["sentences"], control["sentence"]]
    splits = [given, together, *content["splits"]]
    write_json(run_folder / "leakage.json", {**content, "control": control, "sentences": said, "splits": splits})
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    assert "intervals: Wilson score for the given parts; bootstrap for only copies together, a random split, " in text
    assert "; Student's t for the control." in text
    assert "1.000 (no interval: the resamples show no spread)" in " ".join(text.split())
    assert text.count(control["sentence"]) == 1
    drawn = drawn_titles(run_folder / "figures" / "leakage.svg")[0]
    assert all(words in drawn for words in ("the given parts", "copies together", "a random split", "0.880"))


def test_a_price_with_gaps_is_shown_all_the_same(synthetic_run, reading):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    free = {"split": "leak-free", "accuracy": {"value": None}}
    write_json(
        run_folder / "leakage.json", {"format": 1, "splits": [{"split": "given", "accuracy": figure(1.0)}, free]}
    )
    write_report(run_folder)
    text = reading.words(reading.assert_inert(run_folder))
    assert "The price of leakage" in text
    assert "The control" not in text


@pytest.mark.parametrize(("change", "place"), [
    ({"splits": []}, "splits"),
    ({"splits": [{"split": "random"}]}, "splits.0.accuracy"),
    ({"control": {"accuracy": {"value": 0.2}}}, "control.chance"),
    ({"sentences": [3]}, "sentences.0"),
])  # fmt: skip
def test_a_damaged_price_is_refused(synthetic_run, change, place):
    run_folder = synthetic_run(skills={"VGG16": 2.5})
    write_json(run_folder / "leakage.json", price(**change))
    with pytest.raises(RunFolderError, match=re.escape(f"leakage.json is damaged ({place}: ")):
        write_report(run_folder)
