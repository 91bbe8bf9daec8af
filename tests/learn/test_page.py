"""The page as a file: whole, offline, harmless; and the command that writes it."""

from __future__ import annotations

import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clearmargin
from clearmargin.cli import main
from clearmargin.learn.page import write_page
from clearmargin.learn.subject import read_subject

VOID = {"meta", "link", "br", "img", "input", "wbr", "path", "circle"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Page(HTMLParser):
    """Reads a page strictly: unbalanced tags are errors."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.attributes.extend((tag, name, value or "") for name, value in attrs)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, name: str, tag: str | None = None) -> list[str]:
        return [value for of, attribute, value in self.attributes if attribute == name and tag in (None, of)]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = write_page(tmp_path_factory.mktemp("learn") / "learn.html")
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def command(capsys, monkeypatch):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clearmargin", "learn", *map(str, words)])
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        return int(leaving.value.code or 0), said.out, said.err

    return run


def test_the_page_is_sound_and_loads_nothing(page):
    assert next(value for value in page.all("content") if value.startswith("default-src")).startswith(POLICY)
    sources = page.all("src") + page.all("href", "link")
    assert len(sources) > 25
    assert all(source.startswith("data:") for source in sources)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    links = page.all("href", "a")
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert all(page.all("alt", "img"))
    assert len(page.all("alt", "img")) == len(page.all("src", "img"))
    pointed = page.all("aria-labelledby") + page.all("for")
    assert set(pointed) <= set(ids)


def test_every_idea_is_on_it(page):
    for title in ("weighted sum", "window slides", "Stride and padding", "Activation functions", "Pooling", "dense",
                  "Softmax", "Dropout", "Sigmoid", "tanh", "ReLU", "Leaky ReLU", "ELU", "Maxout", "Overfitting",
                  "Epoch", "Sharpen", "Emboss", "Blur, Gaussian", "Vertical edges"):  # fmt: skip
        assert title in page.text, title
    assert "1·1 + 0·(−1) + 1·1 + 1·(−1) = 1" in page.text
    assert "Simulated image: no clinical meaning." in page.text
    assert "Your network" not in page.text


def test_the_same_image_gives_the_same_bytes(tmp_path, class_folder):
    image = class_folder / "alpha" / "000.png"
    first = write_page(tmp_path / "a.html", image).read_bytes()
    assert write_page(tmp_path / "b.html", image).read_bytes() == first
    assert len(first) < 1_000_000


def test_names_stay_text_and_folders_stay_at_home(tmp_path):
    folder = tmp_path / "jane-doe"
    folder.mkdir()
    path = folder / "<img src=x onerror=alert(1)>&\u202egnp.png"
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(path)
    text = write_page(tmp_path / "learn.html", path).read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "jane-doe" not in text
    page = Page(text)
    assert "onerror=alert" in page.text
    assert "Simulated" not in page.text


def test_a_name_that_is_not_unicode(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    Image.new("L", (30, 30), 90).save(path)
    text = write_page(tmp_path / "learn.html", path).read_bytes().decode("utf-8")  # strict: the page is UTF-8
    assert "caf" in Page(text).text


@pytest.mark.parametrize(("size", "side"), [((28, 28), 28), ((1, 1), 16), ((300, 40), 128), ((5000, 3000), 128)])
@pytest.mark.parametrize("mode", ["L", "RGBA", "1"])
def test_images_of_any_size_and_mode(tmp_path, size, side, mode):
    Image.new(mode, size, 1).save(tmp_path / "image.png")
    assert read_subject(tmp_path / "image.png").side_px == side
    Page(write_page(tmp_path / "learn.html", tmp_path / "image.png").read_text(encoding="utf-8"))


def test_a_digit_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    np.testing.assert_array_equal(read_subject(tmp_path / "digit.png").pixels, pixels)


def test_the_command_writes_a_page_over_an_older_one(command, tmp_path, class_folder):
    out = tmp_path / "new folder" / "learn.html"
    assert command("--out", out) == (0, f"Written: {out}\n", "")
    simulated = out.read_bytes()
    assert command("--out", out, "--image", class_folder / "beta" / "001.png")[0] == 0
    assert out.read_bytes() != simulated
    assert [path.name for path in out.parent.iterdir()] == ["learn.html"]


def test_the_command_looks_into_a_trained_network(command, tmp_path, class_folder, tiny_recipe):
    run = clearmargin.run(
        str(tiny_recipe), data=str(class_folder), out=tmp_path / "run", overrides=["training.epochs=1"]
    )
    image = class_folder / "gamma" / "003.png"
    status, _, err = command("--out", tmp_path / "learn.html", "--image", image, "--model", run.folder)
    assert status == 0, err
    page = Page((tmp_path / "learn.html").read_text(encoding="utf-8"))
    assert f"Your network: {run.best.name}" in page.text.replace("  ", " ")
    predicted = run.best.predict(image)
    for name in run.best.classes:
        assert name in page.text
        assert f"{predicted[name].item():.3f}".rstrip("0") in page.text
    assert page.text.count("conv 4, 3×3") >= 1
    for name in run.contenders:
        words = ("--out", tmp_path / "named.html", "--image", image, "--model", run.folder, "--contender", name)
        assert command(*words)[0] == 0
        assert f"Your network: {name}" in Page((tmp_path / "named.html").read_text(encoding="utf-8")).text
    status, _, err = command("--out", tmp_path / "not.html", "--model", run.folder, "--contender", "VGG")
    assert (status, "expected 'one layer' or 'two layers'" in err) == (2, True)
    assert not (tmp_path / "not.html").exists()


@pytest.mark.parametrize(
    ("weights", "cut", "words"),
    [
        ("none", "none", "The first layer’s filters, as trained: 64 of"),
        ("imagenet", "block4", "The first layer’s filters, frozen, so as pretraining left them: 64 of"),
    ],
)
def test_frozen_filters_are_not_said_to_be_trained(tmp_path, untrained, monkeypatch, weights, cut, words):
    vgg16 = untrained(32, "rgb", name="VGG16", architecture="vgg16", weights=weights, freeze_through=cut)
    monkeypatch.setattr("clearmargin.learn.page.open_run", lambda folder: SimpleNamespace(contender=lambda name: vgg16))
    out = write_page(tmp_path / "learn.html", run=tmp_path)
    assert words in out.read_text(encoding="utf-8")


def test_the_example_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "learn.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    assert names["edges"].shape == names["image"].shape == (28, 28)


@pytest.mark.parametrize(("words", "message"), [
    (["--contender", "VGG16"], "--contender names a model of a run: say which run with --model RUN."),
    (["--image", "nowhere.png"], "The image nowhere.png can't be read: No such file"),
    (["--image", "folder"], "it is not a regular file"),
    (["--image", "text.png"], "text.png can't be used: not an image in an accepted format"),
    (["--image", "empty.png"], "empty.png can't be used: the file is empty"),
    (["--image", "cut.png"], "cut.png can't be used: damaged"),
    (["--image", "huge.png"], "the limit is 50,000,000 pixels"),
    (["--image", "x" * 300], "can't be read"),
    (["--out", "folder"], "folder is a folder: --out needs the name of a file"),
    (["--out", "x" * 300], "can't be used as --out"),
    (["--image", "good.png", "--out", "good.png"], "is the image itself"),
    (["--image", "good.png", "--out", "./folder/../good.png"], "is the image itself"),
    (["--model", "folder"], "is not a run folder"),
    (["--model", "nowhere"], "is not a run folder"),
])  # fmt: skip
def test_bad_input_is_one_message_and_status_2(command, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.png").write_text("hello")
    Path("empty.png").write_bytes(b"")
    Image.effect_noise((64, 64), 50).save("good.png")
    Path("cut.png").write_bytes(Path("good.png").read_bytes()[:900])
    Image.new("1", (30_000, 3_000)).save("huge.png")
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    status, out, err = command(*words)
    assert (status, out) == (2, ""), err
    assert message in err
    assert "Traceback" not in err
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before


def test_a_folder_under_a_file_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("x")
    status, _, err = command("--out", tmp_path / "file" / "learn.html")
    assert status in (1, 2)
    assert "Traceback" not in err
    assert (tmp_path / "file").read_text() == "x"
