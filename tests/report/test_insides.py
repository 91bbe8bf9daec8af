"""The look inside on the page: what a run folder keeps of it, whatever its names are, or nothing of it."""

import json
import math
import re
import struct
import zlib

import pytest

from clearmargin.errors import RunFolderError
from clearmargin.files import write_json
from clearmargin.report import write_report
from clearmargin.report.folder import read_run
from clearmargin.report.insides import read_insides, within_budget

HOSTILE = '"><img src=x onerror=alert(9)>\u202e\udce9'


def text_of(path):
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))


def test_the_page_shows_what_is_kept(synthetic_run, keep, noise_pictures):
    run_folder = synthetic_run(skills={"VGG16": 2.2})
    keep(run_folder, "VGG16", "no/image 7.jpg")
    page = text_of(write_report(run_folder, noise_pictures))
    for words in (
        "One image, in numbers",
        "A look inside the networks",
        "the mean brightness of 2 × 2 of them",
        "all 12 filters",
        "They were frozen: this is what pretraining left.",
        "8 of 12 maps",
        "maps of 4 × 4 values",
        "nothing spoke for it",
        "It is no proof that the network looked at the right thing",
        "To save time 400 of 900 training images were compared",
        'alt="Training image no/image 7.jpg: a ',
        'alt="Test image no/image 7.jpg: a glioma_tumor"',
        'alt="Test image no/image 7.jpg: a glioma_tumor, said to be one"',
        'alt="Test image no/image 7.jpg: a glioma_tumor, taken for meningioma_tumor"',
        "distance 0.250",
    ):
        assert words in page, words
    assert "at the border, at lettering, at the background" in page
    assert "tumour." not in page  # no words of medicine where a study has none
    assert page.count("<td") > 32 * 32
    images = re.findall(r"<img[^>]*>", page)
    assert all('alt="' in image and 'alt=""' not in image for image in images)


def test_a_run_without_it_has_no_such_section(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 2.2})
    page = text_of(write_report(run_folder))
    for words in ("#inside", "#image", "A look inside", "in numbers", "Nearest training image"):
        assert words not in page


def test_one_contender_with_and_one_without(synthetic_run, keep):
    run_folder = synthetic_run()
    keep(run_folder, "plain CNN")
    run = read_run(run_folder)
    assert list(read_insides(run)) == ["plain CNN"]
    assert "A look inside the networks" in text_of(write_report(run_folder))


def test_each_contender_says_how_many_training_images_were_compared(synthetic_run, keep):
    run_folder = synthetic_run(skills={"VGG16": 2.2, "plain CNN": 1.0, "wide CNN": 1.0})
    for contender, compared in (("VGG16", 900), ("plain CNN", 300)):
        path = keep(run_folder, contender) / "inside.json"
        content = json.loads(path.read_text())
        content["nearest"]["compared"] = compared
        write_json(path, content)
    page = text_of(write_report(run_folder))
    mistakes = page[page.index('id="mistakes"') :]
    assert mistakes.count("training images were compared") == 1
    said = mistakes.index("To save time 300 of 900 training images were compared")
    assert mistakes.index("plain CNN</bdi></span></h3>") < said < mistakes.index("wide CNN</bdi></span></h3>")


@pytest.mark.parametrize(
    ("chosen_right", "words"),
    [
        (True, "by name, that the contender chosen on validation gets right; below"),
        (False, "by name, since the contender chosen on validation gets none right; below"),
    ],
)
def test_it_is_said_why_this_image_was_chosen(synthetic_run, keep, chosen_right, words):
    run_folder = synthetic_run(skills={"VGG16": 2.2})
    path = keep(run_folder, "VGG16") / "inside.json"
    content = json.loads(path.read_text())
    content["sample"]["chosen_right"] = chosen_right
    write_json(path, content)
    assert words in text_of(write_report(run_folder))


def test_hostile_names_are_text(synthetic_run, keep):
    run_folder = synthetic_run(skills={"VGG16": 2.2}, classes=("<script>alert(1)</script>", "\u202eb", "c" * 300))
    keep(run_folder, "VGG16")
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script" not in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)
    assert "&#34;&gt;&lt;img src=x" in page


def test_missing_and_damaged_pictures_leave_a_gap(synthetic_run, keep):
    run_folder = synthetic_run(skills={"VGG16": 2.2})
    folder = keep(run_folder, "VGG16")
    (folder / "filters.png").unlink()
    (folder / "maps-1.png").write_bytes(b"no picture")
    assert text_of(write_report(run_folder)).count("picture not kept") >= 2


@pytest.mark.parametrize("side", [60_000, 11_000], ids=["a bomb", "perhaps a bomb"])
def test_a_picture_that_says_it_is_enormous_leaves_a_gap(synthetic_run, keep, side):
    run_folder = synthetic_run(skills={"VGG16": 2.2})
    path = keep(run_folder, "VGG16") / "filters.png"
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", side, side)  # width and height in the header, and its checksum
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    assert "picture not kept" in text_of(write_report(run_folder))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("sample"),
        lambda content: content.update(format=2),
        lambda content: content["filters"].update(picture="../../../model.png"),
        lambda content: content["filters"].update(picture="/etc/passwd"),
        lambda content: content["sample"]["matrix"]["channels"][0].update(rows=[["<b>"]]),
        lambda content: content["sample"].update(size=[]),
        lambda content: content["sample"].update(size=[64, 0]),
        lambda content: content["sample"]["matrix"].update(block_px=math.inf),
        lambda content: content["sample"]["matrix"].update(block_px=0),
        lambda content: content["sample"]["matrix"]["channels"][0].update(name='x" onload="alert(1)'),
        lambda content: content["sample"].update(probability=math.nan),
        lambda content: content["maps"][0].update(shape=[]),
        lambda content: content["grad_cam"].update(shape=[4]),
        lambda content: content["nearest"].update(compared=math.inf),
        lambda content: content["nearest"]["pairs"].append({"name": "a", "nearest": "b", "distance": math.inf}),
        lambda content: content.update(maps=7),
    ],
)
def test_a_damaged_file_is_refused_in_words(synthetic_run, keep, damage):
    run_folder = synthetic_run(skills={"VGG16": 2.2})
    path = keep(run_folder, "VGG16") / "inside.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content), encoding="utf-8")  # also what is no JSON elsewhere: Infinity
    with pytest.raises(RunFolderError, match=r"inside\.json can't be read"):
        write_report(run_folder)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="Delete the folder inside"):
        write_report(run_folder)


def test_many_contenders_stay_within_the_budget(synthetic_run, keep, noise_pictures, monkeypatch):
    skills = {f"network {k}": 0.1 for k in range(6)}
    run_folder = synthetic_run(skills=skills, n_test=300)
    for contender in skills:
        keep(run_folder, contender)
    assert write_report(run_folder, noise_pictures).stat().st_size < 15_000_000
    seen = read_insides(read_run(run_folder))
    budget = 2 * seen["network 0"].bytes
    monkeypatch.setattr("clearmargin.report.insides.INSIDE_BYTES", budget)
    assert [inside.contender for inside in within_budget(seen, budget)] == ["network 0", "network 1"]
    assert "the pictures of 2 of 6 contenders are here" in text_of(write_report(run_folder))
