"""The page in Chinese: no sentence is left in English, and every number is the same."""

import json
import re
from html.parser import HTMLParser

import pytest

from clearmargin.errors import UsageError
from clearmargin.report import write_report

# Names, code, and what is marked as English for those who listen.
NAMED = {"style", "code", "pre", "bdi", "title", "h1"}
READ_ALOUD = ("alt", "aria-label", "title")
ENGLISH = re.compile(r"(?:[A-Za-z][A-Za-z'’-]*[ ,;:]+){2,}[A-Za-z][A-Za-z'’-]+")
VOID = {"br", "img", "meta", "link", "wbr", "circle", "rect", "path", "use"}


class Texts(HTMLParser):
    """Collects what a reader sees or hears, but names and code."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.texts += [found[name] for name in READ_ALOUD if found.get(name) and tag != "bdi"]
        if tag not in VOID:
            self.open.append((tag, found))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not any(tag in NAMED or found.get("lang") == "en" for tag, found in self.open):
            self.texts.append(data.strip())


def texts_of(page):
    reader = Texts()
    reader.feed(page)
    return [text for text in reader.texts if text]


def english_left(run_folder, page, names):
    """Texts with three English words in a row, once what the run calls by name is taken out."""
    models = [json.loads(path.read_text(encoding="utf-8")) for path in run_folder.glob("contenders/*/model.json")]
    layers = [layer["layer"] for model in models for layer in model["layers"]]
    known = sorted({*names, *layers}, key=len, reverse=True)
    left = []
    for text in texts_of(page):
        for name in known:
            text = text.replace(name, "·")
        if ENGLISH.search(text):
            left.append(text)
    return left


def written(run_folder, language, pictures=None):
    return write_report(run_folder, pictures, language).read_text(encoding="utf-8")


@pytest.mark.rendered
@pytest.mark.parametrize("settings", [
    {"skills": {"VGG16": 3.6, "plain CNN": 2.2, "wide CNN": 2.0}},
    {"skills": {"VGG16": 2.0}, "simulated": True, "patients": True},
    {"classes": [f"digit {k}" for k in range(14)], "skills": {"VGG16": 2.0}},
], ids=["three contenders", "patients", "many classes"])  # fmt: skip
def test_no_sentence_is_left_in_english(synthetic_run, noise_pictures, settings):
    run_folder = synthetic_run(**settings)
    page = written(run_folder, "zh", noise_pictures)
    assert '<html lang="zh-Hans">' in page
    assert "测试集" in page
    names = [*settings.get("classes", ()), "plain CNN", "wide CNN"]
    assert english_left(run_folder, page, names) == []
    assert '<span lang="en">' not in page
    assert "&lt;span" not in page


def test_english_is_found_where_it_is_left(synthetic_run):
    run_folder = synthetic_run()
    assert len(english_left(run_folder, written(run_folder, "en"), ["plain CNN"])) > 50


@pytest.mark.rendered
def test_numbers_are_the_same(synthetic_run, noise_pictures):
    run_folder = synthetic_run(patients=True)

    def numbers(page):
        body = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
        return sorted(re.findall(r"\d+\.\d+", body))

    assert numbers(written(run_folder, "en", noise_pictures)) == numbers(written(run_folder, "zh", noise_pictures))


def test_the_recipe_says_the_language(synthetic_run):
    run_folder = synthetic_run()
    recipe = run_folder / "recipe.toml"
    recipe.write_text(recipe.read_text() + '\n[report]\nlanguage = "zh"\n', encoding="utf-8")
    assert '<html lang="zh-Hans">' in write_report(run_folder).read_text(encoding="utf-8")
    assert '<html lang="en">' in written(run_folder, "en")


def test_an_unknown_language_is_refused(synthetic_run):
    with pytest.raises(UsageError, match="must be en or zh, got 'fr'"):
        write_report(synthetic_run(), language="fr")
