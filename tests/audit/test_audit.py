import json
import time

import pandas as pd
import pytest

from clearmargin.audit import audit
from clearmargin.records import Finding, Sample


def facts_of(pixels, **columns):
    """One row of facts for each sample; ``pixels`` are its hashes."""
    n = len(pixels)
    plain = {
        "content_sha256": [f"content {i}" for i in range(n)],
        "pixel_sha256": list(pixels),
        "width_px": [64] * n,
        "height_px": [48] * n,
        "mode": ["L"] * n,
        "format": ["PNG"] * n,
        "bytes": [1000] * n,
    }
    return pd.DataFrame(plain | columns)


def look(samples, pixels=None, findings=(), found=None, **columns):
    pixels = range(len(samples)) if pixels is None else pixels
    return audit(
        samples,
        facts_of([str(pixel) for pixel in pixels], **columns),
        findings,
        len(samples) if found is None else found,
        simulated=False,
        source_kind="folder",
    )


def kinds(result):
    return {finding.kind: finding for finding in result.findings}


def test_clean_data_give_no_findings():
    result = look([Sample(f"{label}{i}", label) for label in "xy" for i in range(700)])
    assert result.findings == ()
    assert result.copies.tolist() == list(range(1400))


def test_exact_copies_are_counted_and_named():
    finding = kinds(look([Sample(name, "x") for name in "abcdef"], [1, 2, 1, 3, 2, 1]))["exact-copies"]
    assert finding.severity == "note"
    assert "3 of 6 images repeat another one" in finding.message
    assert "5 images form 2 sets of identical images" in finding.message
    assert set(finding.samples) == set("abcef")
    assert "same part" in finding.remedy


def test_identical_images_with_different_labels_are_serious_and_both_are_named():
    samples = [Sample("a/1.png", "glioma"), Sample("b/7.png", "no tumor"), Sample("c", "no tumor")]
    result = look(samples, [5, 5, 6])
    finding = result.findings[0]
    assert (finding.kind, finding.severity) == ("copies-with-different-labels", "serious")
    assert "'a/1.png' is labelled 'glioma' and its copy 'b/7.png' is labelled 'no tumor'" in finding.message
    assert finding.samples == ("a/1.png", "b/7.png")


def test_long_lists_of_contradictions_are_cut_in_the_sentence_only():
    samples = [Sample(f"{i}{label}", label) for i in range(10) for label in "xy"]
    finding = kinds(look(samples, [i // 2 for i in range(20)]))["copies-with-different-labels"]
    assert "10 sets of identical images have different labels" in finding.message
    assert finding.message.endswith("; and 7 more.")
    assert len(finding.samples) == 20


def test_identical_images_of_different_patients_are_a_warning():
    samples = [Sample("1", "x", "P1"), Sample("2", "x", "P2"), Sample("3", "x"), Sample("4", "x", "P3")]
    finding = kinds(look(samples, [0, 0, 0, 1]))["copies-in-different-patients"]
    assert finding.severity == "warning"
    assert "1 set of identical images is filed under different patients" in finding.message
    assert "'1' is filed under 'P1' and its copy '2' is filed under 'P2'" in finding.message
    assert "copies-in-different-patients" not in kinds(look(samples, [0, 1, 0, 2]))  # one of them has no patient


def test_copies_across_given_parts_are_serious():
    parts = ["train"] * 3 + ["validation"] * 2 + ["test"] * 4
    samples = [Sample(str(i), "x", part=part) for i, part in enumerate(parts)]
    result = look(samples, [0, 1, 2, 1, 3, 0, 0, 3, 4])
    messages = [finding.message for finding in result.findings if finding.kind == "copies-across-parts"]
    assert [message.split(":")[0] for message in messages] == [
        "2 of 4 images in the given test part have an identical copy in the training part",
        "1 of 2 images in the given validation part has an identical copy in the training part",
        "1 of 4 images in the given test part has an identical copy in the validation part",
    ]
    first = result.findings[0]
    assert (first.severity, first.samples) == ("serious", ("5", "6"))
    assert "use_given = false" in first.remedy


def test_patients_across_given_parts_are_serious():
    samples = [
        *(Sample(f"a{i}", "x", f"P{i}", "train") for i in range(4)),
        *(Sample(f"b{i}", "x", f"P{i}", "test") for i in range(2, 6)),
        Sample("c", "x", None, "train"),
        Sample("d", "x", None, "test"),
    ]
    finding = kinds(look(samples))["patients-across-parts"]
    assert finding.severity == "serious"
    assert "2 of 4 patients in the given test part also have images in the training part" in finding.message
    assert finding.samples == ("b2", "b3")


@pytest.mark.parametrize(("small", "severity"), [(70, None), (60, "note"), (20, "warning")])
def test_uneven_classes(small, severity):
    samples = [Sample(f"{label}{i}", label) for label, n in (("big", 100), ("small", small)) for i in range(n)]
    finding = kinds(look(samples)).get("uneven-classes")
    assert (finding and finding.severity) == severity
    if small == 20:
        assert "'big', has 100 images, 5.0 times as many as the smallest, 'small', with 20" in finding.message


def test_mixed_sizes_modes_and_formats_are_counted():
    samples = [Sample(str(i), "x") for i in range(4)]
    result = look(
        samples,
        width_px=[10, 10, 30, 5],
        height_px=[20, 20, 40, 6],
        mode=["RGB", "RGB", "L", "RGB"],
        format=["PNG", "JPEG", "PNG", "PNG"],
    )
    found = kinds(result)
    assert (
        "3 sizes, from 5 × 6 to 30 × 40 pixels; the most frequent is 10 × 20 (2 of 4)" in found["mixed-sizes"].message
    )
    assert "2 colour modes: 3 colour, 1 grey." in found["mixed-modes"].message
    assert found["mixed-modes"].samples == ("2",)
    assert "2 file formats: 3 PNG, 1 JPEG." in found["mixed-formats"].message
    assert {finding.severity for kind, finding in found.items() if kind.startswith("mixed")} == {"note"}


def test_findings_of_earlier_rooms_pass_through_and_the_serious_come_first():
    known = (
        Finding("ignored-files", "note", "3 files."),
        Finding("unreadable-images", "warning", "1 image.", "", ("z",)),
    )
    samples = [Sample("1", "x"), Sample("2", "y")]
    result = look(samples, [0, 0], findings=known, found=3)
    assert [finding.severity for finding in result.findings] == ["serious", "warning", "warning", "note", "note"]
    assert set(known) <= set(result.findings)
    assert result.counts == {"found": 3, "decoded": 2, "excluded": 1}


def test_json_is_what_the_run_folder_holds():
    samples = [Sample("1", "b", part="train"), Sample("2", "a", part="train"), Sample("3", "a", part="test")]
    page = look(samples, [0, 1, 1], findings=[Finding("k", "note", "m", "r", ("s",))], found=4).as_json()
    assert list(page) == ["format", "simulated", "source_kind", "counts", "classes", "given", "findings"]
    assert page["format"] == 1
    assert page["classes"] == {"a": 2, "b": 1}
    assert page["given"] == {"train": {"a": 1, "b": 1}, "test": {"a": 1}}
    assert {"kind": "k", "severity": "note", "message": "m", "remedy": "r", "samples": ["s"], "evidence": {}} in page[
        "findings"
    ]
    assert json.loads(json.dumps(page)) == page


def test_targets_of_a_regression_are_no_classes():
    result = look([Sample("1", 1.5), Sample("2", 2.5)], [0, 0])
    assert (result.classes, result.given) == ({}, {})
    assert "copies-with-different-labels" in kinds(result)


def test_names_cannot_break_a_sentence():
    samples = [Sample("a\n\x1b[31m\udcff", "x"), Sample("腫瘍", "y\r")]
    message = kinds(look(samples, [0, 0]))["copies-with-different-labels"].message
    assert message.isprintable()
    assert "腫瘍" in message


def test_facts_must_be_those_of_the_samples():
    with pytest.raises(ValueError, match="got 1 for 2 samples"):
        look([Sample("1", "x"), Sample("2", "x")], [0])


def test_a_hundred_thousand_samples_take_seconds():
    samples = [Sample(str(i), f"c{i % 3}", f"P{i // 7}", ("train", "test")[i % 2]) for i in range(100_000)]
    start = time.perf_counter()
    look(samples, [i // 3 for i in range(100_000)])
    assert time.perf_counter() - start < 10  # about one on an idle machine


def test_patients_spelled_in_two_ways_are_warned_of():
    patients = ["P1", "p 1", "P2", None, "P3", "P3"]
    samples = [Sample(str(row), "ab"[row % 2], patient) for row, patient in enumerate(patients)]
    finding = kinds(look(samples, range(6)))["groups-spelled-alike"]
    assert finding.severity == "warning"
    assert "'P1' and 'p 1'. They count as different patients" in finding.message
    assert finding.samples == ("0", "1")
    assert "groups-spelled-alike" not in kinds(look(samples[2:], range(4)))


def test_images_of_one_class_can_train_nothing():
    finding = kinds(look([Sample(str(i), "scans") for i in range(4)]))["one-class"]
    assert finding.severity == "serious"
    assert "All images are of one class, 'scans': nothing can be trained" in finding.message
    assert "one-class" not in kinds(look([Sample(str(i), "ab"[i % 2]) for i in range(4)]))


def test_ways_of_storing_are_told_in_words():
    message = kinds(look([Sample(str(i), "x") for i in range(5)], mode=["L", "L", "P", "CMYK", "F"]))[
        "mixed-modes"
    ].message
    assert "2 grey, 1 in printing inks (CMYK), 1 grey of decimal numbers, 1 with a palette" in message
