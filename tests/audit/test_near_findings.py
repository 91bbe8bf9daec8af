"""What the audit says of near-duplicates, and what a study does with them: from image files on."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from clearmargin.pixels import open_pixels
from clearmargin.preparation import audit_inputs, divide
from clearmargin.recipe import SplitSettings
from clearmargin.records import Preprocessing
from clearmargin.sources import open_source


def texture(seed: int, side: int = 120) -> Image.Image:
    random = np.random.default_rng(seed)
    values = sum(width * gaussian_filter(random.standard_normal((side, side)), width) for width in (2, 5, 10))
    return Image.fromarray(np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Twelve strangers in two given parts; of the test part one identical copy, two near ones, one of another class."""
    place = tmp_path / "data"
    for part in ("Training", "Testing"):
        for label in ("glioma", "no_tumor"):
            (place / part / label).mkdir(parents=True)
    train = {k: texture(k) for k in range(10)}
    for k, image in train.items():
        image.save(place / "Training" / ("glioma" if k < 5 else "no_tumor") / f"train{k}.png")
    test = {
        "glioma/same.png": train[0],
        "glioma/smaller.jpg": train[1].resize((80, 80)),
        "no_tumor/mirrored.png": ImageOps.mirror(train[6]),
        "no_tumor/other_class.png": ImageEnhance.Brightness(train[2]).enhance(0.85),
        "glioma/new.png": texture(100),
        "no_tumor/new.png": texture(101),
    }
    for name, image in test.items():
        image.save(place / "Testing" / name)
    return place


def audited(folder):
    source = open_source(str(folder))
    inputs = open_pixels(source, Preprocessing(32))
    return inputs, audit_inputs(inputs, source)


def of_kind(found, kind):
    return [finding for finding in found.findings if finding.kind == kind]


def test_copies_in_the_test_part_are_counted_by_class_and_by_kind(folder):
    _, found = audited(folder)
    (finding,) = of_kind(found, "copies-across-parts")
    assert finding.severity == "serious"
    assert "4 of 6 images in the given test part have a copy in the training part (1 identical, 3 nearly so)" in (
        finding.message
    )
    assert finding.evidence["by_class"] == {
        "glioma": {"tested": 3, "with_copy": 2, "identical": 1},
        "no_tumor": {"tested": 3, "with_copy": 2, "identical": 0},
    }
    pairs = {
        frozenset((pair["first"].split("/")[-1], pair["second"].split("/")[-1])): pair
        for pair in finding.evidence["pairs"]
    }
    assert pairs[frozenset(("mirrored.png", "train6.png"))]["how"] == "mirrored"
    assert pairs[frozenset(("same.png", "train0.png"))]["similarity"] == 1
    assert {pair["first_part"] for pair in pairs.values()} | {pair["second_part"] for pair in pairs.values()} == {
        "train",
        "test",
    }


def test_near_copies_with_different_labels_are_worth_a_look(folder):
    _, found = audited(folder)
    (finding,) = of_kind(found, "copies-with-different-labels")
    assert finding.severity == "warning"
    assert "'Testing/no_tumor/other_class.png'" in finding.message
    assert "'Training/glioma/train2.png'" in finding.message
    assert len(finding.samples) == 2


def test_near_copies_stay_together_in_a_new_split(folder):
    inputs, found = audited(folder)
    (finding,) = of_kind(found, "near-copies")
    assert "6 of 16 images show nearly the same picture as another one" in finding.message
    for seed in range(5):
        _, split = divide(inputs, found.copies, SplitSettings(fractions=[0.4, 0.3, 0.3]), seed)
        part = dict(zip(split.names, split.parts, strict=True))
        for pair in finding.evidence["pairs"]:
            assert part[pair["first"]] == part[pair["second"]]


def test_dropping_keeps_the_largest_of_a_set_and_both_of_two_labels(folder):
    inputs, found = audited(folder)
    kept, _ = divide(inputs, found.copies, SplitSettings(fractions=[0.4, 0.3, 0.3], near_duplicates="drop"), 0)
    names = {sample.name.split("/")[-1] for sample in kept.samples}
    assert "smaller.jpg" not in names
    assert "train1.png" in names
    assert len({"same.png", "train0.png"} & names) == 1
    assert {"other_class.png", "train2.png"} <= names


def test_the_size_a_recipe_asks_for_does_not_matter(folder):
    source = open_source(str(folder))
    by_size = [
        audit_inputs(open_pixels(source, how), source).copies
        for how in (Preprocessing(16, "crop", "gray"), Preprocessing(64, "stretch", "rgb"))
    ]
    assert (by_size[0] == by_size[1]).all()


def test_few_near_copies_among_many_are_a_warning(folder):
    for k in range(200):
        texture(1000 + k, 40).save(folder / "Testing" / "glioma" / f"further{k}.png")
    (folder / "Testing" / "glioma" / "same.png").unlink()
    for name in ("mirrored", "other_class"):
        (folder / "Testing" / "no_tumor" / f"{name}.png").unlink()
    _, found = audited(folder)
    (finding,) = of_kind(found, "copies-across-parts")
    assert "1 of 203 images" in finding.message
    assert finding.severity == "warning"
