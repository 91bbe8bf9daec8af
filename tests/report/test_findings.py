"""Findings with what they rest on: pairs, suspects, properties, pictures; bounded, inert, refused when damaged."""

import json

import pytest

from clearmargin.errors import RunFolderError
from clearmargin.files import write_json
from clearmargin.report import write_audit_page, write_report
from clearmargin.report.exhibits import PAIRS_SHOWN, PICTURE_BYTES, SUSPECTS_SHOWN, exhibit
from clearmargin.report.findings import findings, serious

HOSTILE_NAME = '"><img src=x onerror=alert(9)>\u202e\udce9' + "q" * 300


def pair(first, second, **more):
    facts = {"similarity": 0.987, "how": "mirrored", "first_label": "no", "second_label": "no"}
    return {"first": first, "second": second, **facts, "first_part": "test", "second_part": "train", **more}


def finding(kind, severity="warning", samples=(), **evidence):
    message, remedy = f"A sentence about {kind}: and more.", "Do it."
    return {
        "kind": kind, "severity": severity, "message": message, "remedy": remedy, "samples": list(samples),
        "evidence": evidence,
    }  # fmt: skip


def tidy(page):
    """The rows of all tables, white space made plain."""
    return [" ".join(row.replace("\u202f", "").split()) for row in page.rows]


def suspect(name, p=0.03):
    return {"name": name, "given": "no", "suggested": "yes", "p_given": p, "p_suggested": 1 - p}


SHORTCUTS = finding(
    "shortcuts",
    "serious",
    properties=[
        {"property": "border", "balanced_accuracy": 0.51, "chance": 0.5, "p_value": 0.4, "p_holm": 0.8},
        {"property": "image size", "balanced_accuracy": 0.83, "chance": 0.5, "p_value": 0.0002, "p_holm": 0.0004,
         "flagged": True, "by_class": "no: 630 × 630"},
    ],
    together={"balanced_accuracy": 0.86, "chance": 0.5, "p_value": 0.0001, "p_holm": 0.0001, "flagged": True},
)  # fmt: skip
ACROSS = finding(
    "copies-across-parts",
    "serious",
    ["no/image (0).jpg"],
    pairs=[pair("no/image (0).jpg", "no/image (2).jpg")],
    by_class={"no": {"tested": 40, "with_copy": 30, "identical": 12}, "yes": {"tested": 60, "with_copy": 3}},
)


@pytest.fixture
def page_with(synthetic_run, reading):
    """Write a report with findings: pictures and findings to its folder, and the page as it was read."""

    def write(pictures, *found):
        run_folder = synthetic_run(classes=("no", "yes"), skills={"VGG16": 2.5}, findings=found)
        write_report(run_folder, pictures)
        return run_folder, reading.assert_inert(run_folder)

    return write


def kept(run_folder):
    return sorted(path.name for path in (run_folder / "figures" / "audit").glob("*"))


def test_copies_are_shown_side_by_side_with_what_is_known_of_them(page_with, noise_pictures, reading):
    _, page = page_with(noise_pictures, ACROSS)
    text = reading.words(page)
    assert "no/image (0).jpg no test" in text
    assert "no/image (2).jpg no training" in text
    assert "0.987 mirrored" in text
    rows = tidy(page)
    assert "no4030 75.0%12" in rows
    assert "All1003312" in rows
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt") and "image (" in value]
    assert "Image no/image (0).jpg" in pictures


def test_what_the_number_and_the_words_of_a_pair_mean_is_said(page_with, noise_pictures, reading):
    _, page = page_with(noise_pictures, finding("near-copies", pairs=[pair("a.png", "b.png", how="as it is")]))
    text = " ".join(reading.words(page).split())
    assert "0.987 as it is" in text
    assert "similarity, 1 for an identical picture" in text
    assert "“as it is”: not at all" in text


def test_pairs_are_of_every_class_in_turn_and_bounded(page_with, noise_pictures, reading):
    of = {"no": 150, "yes": 40}
    pairs = [
        pair(f"{label}/{k}.jpg", f"{label}/{k} again.jpg", first_label=label, second_label=label)
        for label, many in of.items()
        for k in range(many)
    ]
    many = finding("near-copies", "warning", pairs=pairs, clusters=190, largest=2)
    shown = exhibit(many, {})
    assert [(group.title, len(group.pairs)) for group in shown.groups] == [("no", 6), ("yes", 6)]
    assert len(shown.further_pairs) == 190 - PAIRS_SHOWN
    run_folder, page = page_with(noise_pictures, many)
    assert "12 pairs of 190" in reading.words(page)
    assert "no/149 again.jpg" in reading.words(page)
    assert len(kept(run_folder)) == 2 * PAIRS_SHOWN


def test_suspects_are_cards_with_both_labels_and_the_rest_is_listed(page_with, noise_pictures, reading):
    doubted = [suspect(f"no/{k:02}.jpg", p=0.01 + k / 1000) for k in range(SUSPECTS_SHOWN + 5)]
    found = finding("label-suspects", suspects=doubted, features="pooled pixels", out_of_fold_accuracy=0.8712)
    run_folder, page = page_with(noise_pictures, found)
    text = reading.words(page)
    assert "no/00.jpg ✗given: no given0.010 ?suggested: yes suggested0.990" in text
    assert "24 suspects of 29, the most certain first" in text
    assert "Features: pooled pixels. Its accuracy: 0.871." in text
    assert any(row.startswith("no/28.jpg") for row in page.rows)
    assert len(kept(run_folder)) == SUSPECTS_SHOWN


def test_shortcuts_stand_against_chance_the_flagged_first(page_with):
    _, page = page_with(None, SHORTCUTS)
    rows = tidy(page)
    assert "image size tells the class0.830 chance 0.500<0.001<0.001no: 630 × 630" in rows
    assert "border0.510 chance 0.5000.4000.800" in rows
    place = [next(k for k, row in enumerate(rows) if row.startswith(name)) for name in ("image s", "border", "all tog")]
    assert place == sorted(place)


def test_quality_is_a_strip_the_telling_first_and_other_numbers_are_listed(page_with, noise_pictures, reading):
    names = [f"no/image ({2 * k}).jpg" for k in range(20)]
    dark = finding("dark-images", "note", names, values={names[7]: 0.0123, names[3]: 0.02})
    groups = finding("few-groups", "warning", values={"no": 4, "yes": 7})
    run_folder, page = page_with(noise_pictures, dark, groups)
    text = reading.words(page)
    assert text.index("image (14).jpg 0.0123") < text.index("image (6).jpg 0.02") < text.index("image (0).jpg")
    assert "no: 4yes: 7" in text
    assert len(kept(run_folder)) == 12


def test_pictures_are_kept_for_a_report_without_the_data(page_with, noise_pictures):
    run_folder, _ = page_with(noise_pictures, ACROSS)
    first = (run_folder / "report.html").read_bytes()
    write_report(run_folder)
    assert (run_folder / "report.html").read_bytes() == first


def test_images_that_are_gone_are_named_without_a_picture(page_with, noise_pictures, reading):
    def some(names):
        return {name: pixels for name, pixels in noise_pictures(names).items() if name != "no/image (2).jpg"}

    run_folder, page = page_with(some, ACROSS)
    assert "picture not kept no/image (2).jpg" in reading.words(page)
    assert len(kept(run_folder)) == 1
    page_with(lambda names: {}, ACROSS)
    assert kept(run_folder) == [], "a picture of an earlier page is not shown again"


def test_the_pictures_of_many_findings_stay_within_their_budget(page_with, noise_pictures, reading):
    found = [
        finding("label-suspects", suspects=[suspect(f"no/{k}-{n}.jpg") for n in range(SUSPECTS_SHOWN)])
        for k in range(12)
    ]
    run_folder, page = page_with(noise_pictures, *found)
    cards = findings(json.loads((run_folder / "audit.json").read_text()), run_folder)
    spent = sum(len(one.picture.uri) for card in cards for one in card.exhibit.suspects if one.picture)
    assert 0.9 * PICTURE_BYTES < spent <= PICTURE_BYTES
    assert "picture not kept no/11-23.jpg" in reading.words(page)


@pytest.mark.parametrize("place", range(7))
def test_hostile_names_in_evidence_are_text(page_with, noise_pictures, reading, place):
    label = reading.HOSTILE_CLASSES[place]
    pairs = [pair(HOSTILE_NAME, "no/image (2).jpg", first_label=label, how=label, second_part=label)]
    found = (
        finding("copies-with-different-labels", "serious", [HOSTILE_NAME], pairs=pairs),
        finding("copies-across-parts", pairs=pairs, by_class={label: {"tested": 1, "with_copy": 1}}),
        finding("label-suspects", suspects=[{**suspect(HOSTILE_NAME), "given": label}], features=label),
        finding("shortcuts", properties=[{"property": label, "balanced_accuracy": 7.0, "by_class": label}]),
        finding("tiny-images", "note", [HOSTILE_NAME], values={HOSTILE_NAME: 3}),
        finding("few-groups", "note", values={label: 1e9}),
    )
    page_with(noise_pictures, *found)


@pytest.mark.parametrize(
    ("evidence", "place"),
    [
        ({"pairs": [{"first": "a"}]}, "findings.0.evidence.pairs.0.second"),
        ({"pairs": "many"}, "findings.0.evidence.pairs"),
        ({"suspects": [{"name": "a", "given": 3, "suggested": "b"}]}, "findings.0.evidence.suspects.0.given"),
        ({"properties": [{"property": "size"}]}, "findings.0.evidence.properties.0.balanced_accuracy"),
        ({"values": {"a": "dark"}}, "findings.0.evidence.values.a"),
        ([], "findings.0.evidence"),
    ],
)
def test_damaged_evidence_is_named(synthetic_run, evidence, place):
    run_folder = synthetic_run(skills={"VGG16": 2.5}, findings=[{**finding("near-copies"), "evidence": evidence}])
    with pytest.raises(RunFolderError, match=rf"audit\.json is damaged \({place}: .*Run the study again"):
        write_report(run_folder)


def test_the_first_screen_leads_to_the_serious_findings(page_with, reading):
    more = [finding(f"kind-{k}", "serious") for k in range(6)]
    _, page = page_with(None, finding("uneven-classes", "note"), *more)
    text = reading.words(page)
    assert "The audit has 6 serious findings about the data; read them first: kind 0: A sentence about kind-0" in text
    assert "1 more serious finding" in text
    assert "finding-1" in page.ids
    assert ("a", "href", "#finding-5") in page.attributes
    assert serious([])[0] == []


@pytest.fixture
def audit_folder(tmp_path):
    """Write audit.json with findings."""

    def write(*found, **more):
        content = {
            "format": 1, "source_kind": "zip", "counts": {"found": 12, "decoded": 11, "excluded": 1},
            "classes": {"no": 5, "yes": 6}, "given": {"train": {"no": 3, "yes": 2}, "test": {"no": 2}},
            "findings": list(found), **more,
        }  # fmt: skip
        write_json(tmp_path / "audit" / "audit.json", content)
        return tmp_path / "audit"

    return write


def test_an_audit_is_a_page_of_its_own(audit_folder, noise_pictures, reading):
    folder = audit_folder(SHORTCUTS, ACROSS, finding("label-suspects", suspects=[suspect(HOSTILE_NAME)]))
    path = write_audit_page(folder, "/home/jane/heads.zip", "0.1.0", noise_pictures)
    text = path.read_text(encoding="utf-8")
    path.with_name("report.html").write_text(text, encoding="utf-8")
    page = reading.assert_inert(folder)
    said = reading.words(page)
    assert "Data audit heads.zip a zip archive 12 images 2 classes given parts: training and test" in said
    assert "/home/jane" not in text
    assert "2 serious findings, 1 warning." in said
    assert "11 of 12 images can be used; 1 could not be read." in said
    rows = tidy(page)
    assert "no325" in rows
    assert "All5211" in rows
    assert "0.987 mirrored" in said
    assert len(kept(folder)) == 3
    first = path.read_bytes()
    write_audit_page(folder, "/home/jane/heads.zip", "0.1.0", noise_pictures)
    assert path.read_bytes() == first


def test_an_audit_of_a_table_speaks_of_rows(audit_folder, reading):
    rows = finding("copies-across-parts", "note", ["row 3"], pairs=[pair("row 3", "row 9")])
    folder = audit_folder(rows, source_kind="table", classes={}, given={})
    write_audit_page(folder, "boston", "0.1.0").rename(folder / "report.html")
    text = reading.words(reading.read_page(folder))
    assert "boston a table of numbers 12 rows" in text
    assert "Images by class" not in text
    assert "picture" not in text.split("What the audit noticed")[1].split("For research use")[0]
    assert "1 pair Further pairs FirstSecondAlike row 3 test" in text


def test_a_damaged_audit_is_refused(audit_folder):
    folder = audit_folder()
    (folder / "audit.json").write_text('{"format": 1, "counts": {"found": 1, "decoded": "x"}, "findings": []}')
    with pytest.raises(RunFolderError, match=r"counts\.decoded"):
        write_audit_page(folder, "x", "0.1.0")
