"""The rules that turn names of files into classes and parts."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmargin.errors import SourceError
from clearmargin.sources.folder import Folder
from clearmargin.sources.layout import read_layout

PLACES = {
    "plain": (
        ("glioma/a.png", "glioma/deep/er/a.png", "no_tumor/a.JPG"),
        [("glioma", None), ("glioma", None), ("no_tumor", None)],
    ),
    "wrapped": (("x/y/glioma/a.png", "x/y/none/a.png"), [("glioma", None), ("none", None)]),
    "wrapped with a stray image": (("logo.png", "x/glioma/a.png", "x/none/a.png"), [("glioma", None), ("none", None)]),
    "parts": (
        ("Training/a/1.png", "Training/b/1.png", "VALID/a/1.png", "testing/b/deep/1.png"),
        [("a", "train"), ("b", "train"), ("a", "validation"), ("b", "test")],
    ),
    "wrapped parts": (("d/train/a/1.png", "d/test/b/1.png"), [("a", "train"), ("b", "test")]),
    "wrapper in each part": (
        ("train/images/a/1.png", "train/images/b/1.png", "test/img/a/1.png", "test/img/b/1.png"),
        [("a", "train"), ("b", "train"), ("a", "test"), ("b", "test")],
    ),
    "wrapper in one part": (
        ("train/a/1.png", "train/b/1.png", "test/images/a/1.png", "test/images/b/1.png"),
        [("a", "train"), ("b", "train"), ("a", "test"), ("b", "test")],
    ),
    "one class in a part, in folders of patients": (
        ("train/a/1.png", "train/b/1.png", "test/a/p1/1.png", "test/a/p2/1.png"),
        [("a", "train"), ("b", "train"), ("a", "test"), ("a", "test")],
    ),
    "one part": (("train/a/1.png", "train/b/1.png"), [("a", "train"), ("b", "train")]),
    "part inside a wrapper of its name": (
        ("train/train/a/1.png", "train/train/b/1.png"),
        [("a", "train"), ("b", "train")],
    ),
    "wrapper called test": (
        ("test/train/a/1.png", "test/test/b/1.png"),
        [("a", "train"), ("b", "test")],
    ),
    "class first": (
        ("yes/train/1.png", "yes/test/x/1.png", "no/val/1.png"),
        [("yes", "train"), ("yes", "test"), ("no", "validation")],
    ),
    "class first, not everywhere": (("yes/train/1.png", "no/1.png"), [("yes", None), ("no", None)]),
    "class called train": (("train/1.png", "plane/1.png"), [("train", None), ("plane", None)]),
    "one class": (("glioma/1.png", "glioma/2.png"), [("glioma", None), ("glioma", None)]),
}


def layout(*names: str):
    return read_layout(Folder(Path("data"), names))


def kinds(findings) -> list[str]:
    return [finding.kind for finding in findings]


@pytest.mark.parametrize("case", PLACES)
def test_classes_and_parts_follow_from_the_folders(case):
    names, expected = PLACES[case]
    samples, _ = layout(*names)
    assert [(sample.label, sample.part) for sample in samples] == expected
    assert [sample.name for sample in samples] == [name for name in names if "/" in name]


def test_other_files_are_counted_by_extension():
    samples, (finding,) = layout("a/1.png", "a/1.txt", "a/2.TXT", "b/1.png", "b/notes", "c/old.x.bak")
    assert len(samples) == 2
    assert (finding.kind, finding.severity) == ("ignored-files", "note")
    assert finding.message == "Left aside, not images: 4 files (2 .txt, 1 without extension, 1 .bak)."
    assert finding.samples == ("a/1.txt", "a/2.TXT", "b/notes", "c/old.x.bak")


def test_images_in_unread_formats_are_a_warning():
    _, (finding,) = layout("a/1.png", "b/1.png", "b/2.nii")
    assert finding.severity == "warning"
    assert ".nii" in finding.remedy


def test_images_without_a_class_are_left_out_and_counted():
    samples, (finding,) = layout("logo.png", "train/a/1.png", "train/b/1.png", "train/2.png", "test/3.png")
    assert len(samples) == 2
    assert finding.kind == "unlabelled-images"
    assert finding.samples == ("logo.png", "train/2.png", "test/3.png")
    assert "3 images" in finding.message


@pytest.mark.parametrize("names", [("1.png", "2.png"), ("train/1.png", "test/2.png"), ("train/1.png",)])
def test_only_unlabelled_images_is_an_error_that_draws_the_layout(names):
    with pytest.raises(SourceError, match=r"Of \d images? in data, none lies in a class folder") as caught:
        layout(*names)
    assert "data/glioma/a.png" in str(caught.value)


def test_no_image_says_what_is_there():
    with pytest.raises(SourceError, match=r"No images in data: it holds nothing at all.\nExpected one folder"):
        layout()
    with pytest.raises(SourceError, match=r"only other files: 2 \.nii\. If the \.nii files hold images, convert"):
        layout("a/1.nii", "a/2.nii")
    with pytest.raises(SourceError, match=r"There is 'labels\.csv'\. If it is a manifest, give that file"):
        layout("labels.csv", "a/1.nii")
    with pytest.raises(SourceError, match=r"Of 1 image in data, .*There is 'labels\.csv'\. If it is a manifest"):
        layout("1.png", "labels.csv")


@pytest.mark.parametrize(
    "names",
    [
        ("train/Glioma/1.png", "train/no/1.png", "test/glioma/1.png", "test/no/1.png"),
        ("Glioma/1.png", "glioma/1.png"),
        ("Glioma/1.png", "glioma /1.png"),
    ],
)
def test_one_class_in_two_spellings_is_refused(names):
    with pytest.raises(SourceError, match=r"differ only .*'Glioma', 'glioma ?'"):
        layout(*names)


@pytest.mark.parametrize(
    "names",
    [
        ("train/a/1.png", "test/a/1.png", "extra/1.png"),
        ("train/a/1.png", "train/b/1.png", "extra/1.png"),
    ],
)
def test_parts_beside_other_folders_are_refused(names):
    with pytest.raises(SourceError, match=r"folders named like parts beside others \('extra'\)"):
        layout(*names)


def test_odd_classes_are_noticed():
    assert kinds(layout("train/1.png", "plane/1.png")[1]) == ["class-named-like-part"]
    _, (finding,) = layout("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png")
    assert finding.kind == "class-not-in-training"
    assert "'c'" in finding.message


def test_accents_in_one_piece_or_apart_are_one_class():
    composed, apart = (unicodedata.normalize(form, "méningiome") for form in ("NFC", "NFD"))
    samples, findings = layout(f"train/{composed}/1.png", "train/b/1.png", f"test/{apart}/1.png", "test/b/1.png")
    assert findings == ()
    assert {sample.label for sample in samples} == {composed, "b"}
    assert samples[2].name == f"test/{apart}/1.png"


def test_hostile_names_survive():
    names = ("<img src=x onerror=alert(1)>/1.png", "=cmd|x/1\n2.png", "\udcff\udcfe/1.png", "-/..png.png")
    samples, _ = layout(*names)
    assert [sample.name for sample in samples] == list(names)
    assert [sample.label for sample in samples] == [name.partition("/")[0] for name in names]


def test_very_deep_folders_do_not_exhaust_the_stack():
    deep = "/".join(["d"] * 20_000)
    samples, _ = layout(f"{deep}/a/1.png", f"{deep}/b/1.png")
    assert [sample.label for sample in samples] == ["a", "b"]


pieces = st.sampled_from(["train", "test", "val", "a", "b", "images", "Extra"])
paths = st.lists(st.lists(pieces, max_size=4), min_size=1, max_size=12)


@given(paths)
def test_every_image_is_a_sample_or_counted(folders):
    names = sorted({"/".join([*folder, f"{index % 2}.png"]) for index, folder in enumerate(folders)})
    try:
        samples, findings = layout(*names)
    except SourceError:
        return
    left_out = [name for finding in findings if finding.kind == "unlabelled-images" for name in finding.samples]
    assert sorted([sample.name for sample in samples] + left_out) == names
    assert all(sample.label in sample.name.split("/") for sample in samples)
