import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from clearmargin.audit.evidence import Evidence
from clearmargin.audit.quality import few_groups, image_quality, image_shape, odd_modes, text_suspects
from clearmargin.decoding import prepare
from clearmargin.records import Preprocessing, Sample

REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "brain-mri-yes-no.zip"
GENERATOR = np.random.default_rng(0)
CHECKS = (image_quality, image_shape, odd_modes, text_suspects, few_groups)


def evidence_of(images, labels=None, groups=None):
    facts = [prepare(image, Preprocessing(8)).facts.as_columns() for image in images]
    labels = labels or ["a"] * len(images)
    groups = groups or [None] * len(images)
    samples = [Sample(f"{i}.png", label, group) for i, (label, group) in enumerate(zip(labels, groups, strict=True))]
    return Evidence.gather(samples, pd.DataFrame(facts))


def flags(images, **more):
    evidence = evidence_of(images, **more)
    return {finding.kind: finding for check in CHECKS for finding in check(evidence)}


def usual(side=64, low=20, high=200):
    return GENERATOR.integers(low, high, (side, side)).astype(np.uint8)


def without_groups(found):
    return {kind for kind in found if kind not in ("few-groups", "small-test")}


@pytest.mark.parametrize("high", [60, 120, 255])
def test_a_set_of_one_kind_is_not_flagged_however_dark_or_small(high):
    assert without_groups(flags([usual(28, 0, high) for _ in range(30)])) == set()


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("blank-images", np.full((64, 64), 90, np.uint8)),
        ("dark-images", usual(64, 0, 12)),
        ("bright-images", np.where(np.arange(64 * 64).reshape(64, 64) % 20 == 0, 100, 255).astype(np.uint8)),
        ("low-contrast-images", usual(64, 100, 120)),
        ("odd-proportions", np.tile(usual(64), 3)),
        ("tiny-images", usual(20)),
        ("coloured-images", GENERATOR.integers(0, 255, (64, 64, 3)).astype(np.uint8)),
    ],
)
def test_the_odd_one_is_named_with_its_value(kind, odd):
    finding = flags([*(usual() for _ in range(30)), odd])[kind]
    assert finding.samples == ("30.png",)
    assert list(finding.evidence["values"]) == ["30.png"]
    assert f"{finding.evidence['values']['30.png']:.3g}" in finding.message
    assert "1 of 31 images is" in finding.message
    assert finding.remedy


def test_a_blurred_image_is_named():
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8) + 60
    finding = flags([*(usual() for _ in range(30)), smooth])["blurred-images"]
    assert finding.samples == ("30.png",)
    assert "1 of 31 images is blurred or much softer than usual" in finding.message


def test_an_image_that_is_only_soft_is_not_called_blurred():
    soft = ndimage.gaussian_filter(usual().astype(float), 1.0).astype(np.uint8)
    finding = flags([*(usual() for _ in range(30)), soft])["blurred-images"]
    assert finding.evidence["values"]["30.png"] > 0.04
    assert "1 of 31 images is much softer than usual" in finding.message
    assert "What matters may still be seen." in finding.remedy


def test_one_finding_of_a_kind_however_many_images():
    found = flags([*(usual() for _ in range(30)), *(np.full((64, 64), i, np.uint8) for i in range(10))])
    assert len(found["blank-images"].samples) == 10
    assert "10 of 40 images are" in found["blank-images"].message
    assert "and 7 more" in found["blank-images"].message


def test_more_than_eight_bits_among_eight():
    evidence = evidence_of([usual() for _ in range(4)])
    facts = evidence.facts.assign(mode=["L", "L", "I;16", "L"])
    (finding,) = odd_modes(Evidence.gather([Sample(str(i), "a") for i in range(4)], facts))
    assert (finding.kind, finding.samples) == ("mixed-depths", ("2",))


def test_few_patients_of_a_class_are_told_not_their_many_images():
    facts = pd.DataFrame({"pixel_sha256": [str(i) for i in range(500)]})
    samples = [Sample(str(i), "ab"[i % 2], f"P{i % 2}{i // 2 % (40 if i % 2 else 9)}") for i in range(500)]
    (finding,) = few_groups(Evidence.gather(samples, facts))
    assert finding.kind == "few-groups"
    assert finding.evidence["values"] == {"a": 9}
    assert "Too few patients" in finding.message


def test_copies_count_once():
    facts = pd.DataFrame({"pixel_sha256": [str(i % 10) for i in range(500)]})
    (finding,) = few_groups(Evidence.gather([Sample(str(i), "a") for i in range(500)], facts))
    assert finding.evidence["values"] == {"a": 10}


@pytest.mark.parametrize(("images", "kinds"), [(1380, ["small-test"]), (1390, [])])
def test_a_tenth_must_hold_139(images, kinds):
    facts = pd.DataFrame({"pixel_sha256": [str(i) for i in range(images)]})
    samples = [Sample(str(i), "ab"[i % 2]) for i in range(images)]
    assert [finding.kind for finding in few_groups(Evidence.gather(samples, facts))] == kinds


@pytest.mark.parametrize("number", [0, 1, 2])
def test_hardly_any_images_pass(number):
    facts = [prepare(usual(), Preprocessing(8)).facts.as_columns() for _ in range(number)]
    columns = prepare(usual(), Preprocessing(8)).facts.as_columns()
    evidence = Evidence.gather([Sample(str(i), "a") for i in range(number)], pd.DataFrame(facts, columns=list(columns)))
    assert {finding.kind for check in CHECKS for finding in check(evidence)} <= {"few-groups"}


@pytest.mark.skipif(not REAL_DATA.exists(), reason="needs the yes/no MRI images")
def test_letters_in_real_images():
    """Ten images were looked at and have letters; so were five without."""
    written = ("no/44no.jpg", "no/45 no.jpg", "no/N11.jpg", "yes/Y188.jpg", "yes/Y52.jpg", "yes/Y6.jpg", "yes/Y96.jpg")
    plain = ("no/3 no.jpg", "no/11 no.jpg", "no/13 no.jpg", "yes/Y16.JPG", "yes/Y47.JPG")
    with zipfile.ZipFile(REAL_DATA) as archive:
        evidence = evidence_of([archive.read(name) for name in (*written, *plain)])
    (finding,) = text_suspects(evidence)
    assert finding.samples == tuple(f"{place}.png" for place in range(len(written)))


@pytest.mark.parametrize(
    ("patients", "tied", "called"),
    [
        (["P0", "P1", "P1", "P2"], None, "patients"),
        ([None, "P1", "P1", "P2"], None, "patients and images without one"),
        ([None] * 4, None, "different images"),
        ([None] * 4, np.array([0, 1, 2, 3]), "different images"),
        ([None] * 4, np.array([0, 0, 1, 2]), "independent groups"),
    ],
)
def test_few_groups_are_called_what_they_are(patients, tied, called):
    facts = pd.DataFrame({"pixel_sha256": [str(i) for i in range(4)]})
    samples = [Sample(str(i), "a", patient) for i, patient in enumerate(patients)]
    (finding,) = few_groups(Evidence.gather(samples, facts, None, tied))
    assert finding.message.startswith(f"Too few {called} for an honest test")
    assert f"those that rest on resampling so few {called} too narrow" in finding.remedy
