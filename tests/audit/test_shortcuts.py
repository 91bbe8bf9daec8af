import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score
from statsmodels.stats.multitest import multipletests

from clearmargin.audit.evidence import Evidence
from clearmargin.audit.permutation import adjusted_by_holm, permutation_test
from clearmargin.audit.shortcuts import MOST_SAMPLES, shortcuts
from clearmargin.audit.told_apart import FOLDS, Categories, Units, balanced_accuracies
from clearmargin.records import Sample


def facts_of(n, generator, **columns):
    """Facts in which nothing depends on a label."""
    plain = {
        "content_sha256": [f"c{i}" for i in range(n)],
        "pixel_sha256": [f"p{i}" for i in range(n)],
        "width_px": generator.choice([512, 256, 300], n),
        "height_px": generator.integers(200, 300, n),
        "mode": generator.choice(["L", "RGB"], n),
        "format": ["JPEG"] * n,
        "bytes": generator.integers(1000, 90000, n),
        "jpeg_quality": generator.choice([75, 90, 95], n),
        "brightness": generator.normal(80, 20, n),
        "contrast": generator.normal(40, 8, n),
        "sharpness": generator.normal(0.5, 0.1, n),
        "edge_level": generator.choice([0.0, 3.0, 40.0], n),
        "colourfulness": [0.0] * n,
        "text_marks": [0] * n,
        "dark_share": [0.2] * n,
        "bright_share": [0.0] * n,
    }
    sides = ("left", "top", "right", "bottom")
    plain |= {f"border_{side}_px": generator.integers(0, 20, n) for side in sides}
    plain |= {f"margin_{side}": generator.uniform(0, 0.2, n) for side in sides}
    return pd.DataFrame(plain | columns)


def evidence_of(labels, facts, groups=None):
    groups = [None] * len(labels) if groups is None else groups
    samples = [Sample(f"{i}.png", label, group) for i, (label, group) in enumerate(zip(labels, groups, strict=True))]
    return Evidence.gather(samples, facts)


def look(labels, facts, groups=None):
    return list(shortcuts(evidence_of(labels, facts, groups)))


def flagged(finding):
    return {row["property"] for row in finding.evidence["properties"] if row["flagged"]}


def test_a_size_of_one_class_is_found_with_its_strength_and_nothing_else():
    generator = np.random.default_rng(1)
    labels = ["glioma"] * 150 + ["none"] * 150
    width = np.where(np.arange(300) < 150, 512, np.where(generator.random(300) < 0.2, 512, 300))
    (finding,) = look(labels, facts_of(300, generator, width_px=width, height_px=width, bytes=width**2))
    assert finding.kind == "shortcuts"
    assert finding.severity == "serious"
    assert flagged(finding) == {"image size"}
    size = finding.evidence["properties"][0]
    truly = balanced_accuracy_score(labels, np.where(width == 512, "glioma", "none"))
    assert size["balanced_accuracy"] == pytest.approx(truly, abs=1e-4)
    assert size["chance"] == 0.5
    assert size["p_value"] == pytest.approx(1 / 1000)
    assert f"from the image size alone {truly:.0%}" in finding.message
    assert "512 × 512: 100% of glioma" in finding.message
    assert "can't come from the disease" in finding.message
    assert 'fit = "pad"' in finding.remedy


def test_brightness_is_a_note_that_says_it_may_be_the_disease():
    generator = np.random.default_rng(2)
    labels = ["a"] * 200 + ["b"] * 200
    brightness = generator.normal(80, 10, 400) + np.where(np.arange(400) < 200, 15, 0)
    (finding,) = look(labels, facts_of(400, generator, brightness=brightness))
    assert finding.severity == "note"
    assert flagged(finding) == {"mean brightness"}
    assert "Mean brightness may belong to what is shown." in finding.message


def test_a_frame_of_one_class_is_named():
    generator = np.random.default_rng(3)
    labels = ["a"] * 60 + ["b"] * 60
    framed = {
        f"border_{side}_px": np.where(np.arange(120) < 60, 3, generator.integers(0, 20, 120))
        for side in ("left", "top", "right", "bottom")
    }
    (finding,) = look(labels, facts_of(120, generator, **framed, edge_level=np.repeat([255.0, 2.0], 60)))
    assert "border" in flagged(finding)
    assert "a frame 3 pixels wide, white: 100% of a, 0% of b" in finding.message


DRAWS = 80  # `benchmarks/shortcuts.py` draws more often
RARELY = binom.ppf(0.99, DRAWS, 0.06)  # a true rate of 6 % exceeds it once in a hundred times


def test_a_rate_of_22_percent_would_be_noticed():
    assert binom.cdf(RARELY, DRAWS, 0.22) < 0.05


def test_data_without_a_shortcut_are_rarely_flagged():
    found = 0
    for seed in range(DRAWS):
        generator = np.random.default_rng(seed)
        n = int(generator.choice([30, 50, 70]))
        labels = generator.choice(["a", "b", "c"], n, p=[0.6, 0.25, 0.15])
        found += bool(look(labels.tolist(), facts_of(n, generator)))
    assert found <= RARELY


def test_copies_do_not_make_chance_significant():
    found = 0
    for seed in range(DRAWS):
        generator = np.random.default_rng(1000 + seed)
        once = facts_of(30, generator)
        facts = pd.concat([once] * 5, ignore_index=True)
        labels = generator.choice(["a", "b"], 30).tolist() * 5
        found += bool(look(labels, facts))
    assert found <= RARELY


def test_patients_count_once_however_many_images_they_have():
    found = 0
    for seed in range(DRAWS):
        generator = np.random.default_rng(2000 + seed)
        patient = np.repeat(np.arange(30), generator.integers(1, 12, 30))
        scanner = facts_of(30, generator).iloc[patient].reset_index(drop=True)
        scanner["pixel_sha256"] = [f"p{i}" for i in range(len(patient))]
        labels = generator.choice(["a", "b"], 30)[patient].tolist()
        found += bool(look(labels, scanner, [f"P{number}" for number in patient]))
    assert found <= RARELY


def test_groups_are_copies_and_patients_joined():
    facts = facts_of(5, np.random.default_rng(0), pixel_sha256=["x", "x", "y", "z", "w"])
    groups = evidence_of(["a"] * 5, facts, ["P", None, "P", None, None]).units
    assert groups.tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    "labels",
    [[], ["a"], ["a", "b"], ["a"] * 50, ["a"] * 50 + ["b"], [1.0, 2.0] * 30],
    ids=["nothing", "one image", "two images", "one class", "a class of one", "regression"],
)
def test_nothing_to_tell_apart_is_no_finding(labels):
    assert look(labels, facts_of(len(labels), np.random.default_rng(0))) == []


def test_a_small_class_is_left_out_and_the_sentence_says_so():
    generator = np.random.default_rng(4)
    labels = ["a"] * 60 + ["b"] * 60 + ["c"]
    (finding,) = look(labels, facts_of(121, generator, mode=["L"] * 60 + ["RGB"] * 61))
    assert "Judged on 120 of 121 images, without c: too few different images or patients to judge." in finding.message
    assert finding.evidence["classes_left_out"] == ["c"]
    assert "L: 100% of a, 0% of b" in finding.message


def test_properties_that_never_vary_are_skipped():
    n, generator = 80, np.random.default_rng(5)
    varied = facts_of(n, generator)
    constant = pd.DataFrame({name: [varied[name][0]] * n for name in varied})
    constant["pixel_sha256"] = varied["pixel_sha256"]
    assert look(["a", "b"] * 40, constant) == []
    constant["format"] = ["JPEG", "PNG"] * 40
    (finding,) = look(["a", "b"] * 40, constant)
    assert [row["property"] for row in finding.evidence["properties"]] == ["file format"]


def test_facts_without_appearance_and_not_a_number_pass():
    generator = np.random.default_rng(6)
    facts = facts_of(100, generator, sharpness=[np.nan] * 100, brightness=[np.nan, 3.0] * 50)
    (finding,) = look(["a", "b"] * 50, facts)
    assert flagged(finding) == {"mean brightness"}
    few = facts[["pixel_sha256", "width_px", "height_px", "mode", "format", "bytes"]]
    assert look(["a", "b"] * 50, few) == []


def test_a_large_set_is_sampled_and_quick():
    n, generator = 40_000, np.random.default_rng(7)
    labels = generator.choice(list("abcdefghij"), n)
    facts = facts_of(n, generator, jpeg_quality=np.where(labels == "a", 60, 90))
    evidence = evidence_of(labels.tolist(), facts)
    started = time.perf_counter()
    (finding,) = shortcuts(evidence)
    assert time.perf_counter() - started < 20
    assert finding.evidence["images"] <= MOST_SAMPLES
    assert "of 40,000 images" in finding.message


@pytest.mark.parametrize(
    "patients_of_rare",
    [np.repeat(np.arange(5), 2), np.concatenate(([0, 1, 2, 3], np.full(1500, 4))), np.zeros(10, int)],
    ids=["10 images of 5 patients", "5 patients, one with nearly all images", "one patient"],
)
def test_a_rare_class_does_not_switch_the_check_off(patients_of_rare):
    generator, rare = np.random.default_rng(11), len(patients_of_rare)
    labels = ["a"] * 10_000 + ["b"] * 10_000 + ["rare"] * rare
    width = np.array([512] * 10_000 + [300] * 10_000 + [400] * rare)
    groups = [None] * 20_000 + [f"P{number}" for number in patients_of_rare]
    (finding,) = look(labels, facts_of(len(labels), generator, width_px=width, height_px=width), groups)
    assert "image size" in flagged(finding)
    left_out = [] if len(set(patients_of_rare)) == 5 else ["rare"]
    assert finding.evidence["classes_left_out"] == left_out
    assert ("without rare" in finding.message) == bool(left_out)
    assert finding.evidence["images"] <= MOST_SAMPLES + 50
    assert finding.evidence["properties"][0]["chance"] == pytest.approx(1 / (3 - len(left_out)), abs=1e-4)


@pytest.mark.parametrize("classes", [10, 400])
def test_memory_does_not_grow_with_the_classes(classes):
    generator = np.random.default_rng(12)
    labels = generator.permutation(np.arange(2500) % classes)
    units = Units.gather(labels, np.arange(2500), generator)
    properties = [Categories(generator.integers(0, 40, 2500), tuple(map(str, range(40)))) for _ in range(10)]
    tracemalloc.start()
    permutation_test(properties, units, generator)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


def test_accuracies_equal_a_plain_classifier():
    """The same rule written out sample by sample."""
    generator = np.random.default_rng(8)
    labels, groups = generator.integers(0, 3, 90), generator.integers(0, 60, 90)
    units = Units.gather(labels, groups, generator)
    properties = [Categories(generator.integers(0, size, 90), tuple(map(str, range(size)))) for size in (2, 5)]
    truth = units.labels[units.of_sample]
    assert np.array_equal(truth, labels)
    scores = np.zeros((2, 90, 3))
    for line, categories in enumerate(properties):
        for row in range(90):
            learned = units.folds != units.folds[row]
            same = learned & (categories.of_sample == categories.of_sample[row])
            share = units.weights[same].sum() / units.weights[learned].sum()
            for number in range(3):
                count = units.weights[same & (labels == number)].sum()
                total = units.weights[learned & (labels == number)].sum()
                scores[line, row, number] = np.log((count + 2 * share + 1e-9) / (total + 2 + 1e-9))
    told = [scores[0].argmax(1), scores[1].argmax(1), scores.sum(0).argmax(1)]
    expected = [balanced_accuracy_score(labels, one, sample_weight=units.weights) for one in told]
    assert balanced_accuracies(properties, units, units.labels[:, None])[:, 0] == pytest.approx(expected, abs=1e-6)


def test_a_group_is_in_one_fold_and_shuffling_keeps_the_classes():
    generator = np.random.default_rng(9)
    labels, groups = generator.integers(0, 3, 300), generator.integers(0, 80, 300)
    units = Units.gather(labels, groups, generator)
    assert set(units.folds) == set(range(FOLDS))
    assert all(len(set(units.folds[groups == group])) == 1 for group in set(groups))
    assert np.bincount(units.of_sample, units.weights) == pytest.approx(1)
    shuffled = units.shuffled(3, generator)
    assert all(np.array_equal(np.bincount(column), np.bincount(units.labels)) for column in shuffled.T)


def test_holm_as_statsmodels():
    p_values = np.random.default_rng(10).random(9) ** 3
    assert adjusted_by_holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert adjusted_by_holm(np.array([0.01, 0.02, 0.03, 0.04])) == pytest.approx([0.04, 0.06, 0.06, 0.06])
