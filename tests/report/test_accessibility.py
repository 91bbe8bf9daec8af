"""axe-core in a real browser finds nothing: on every kind of page, light and dark, on a screen and on a phone."""

import os
import shutil
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from clearmargin.report import write_report

pytestmark = pytest.mark.rendered

AXE = "4.14.1"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
FOUND = """async (options) => {
  const found = await axe.run(document, options);
  return found.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(' | '));
}"""


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, from the npm registry, kept for later."""
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "clearmargin-tests" / f"axe-core-{AXE}.tgz"
    if not kept.is_file():
        if shutil.which("npm") is None:
            pytest.skip(f"axe-core is not here: npm is not installed, and there is no {kept}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "pack", f"axe-core@{AXE}", "--silent"],
            cwd=kept.parent, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if not kept.is_file():
            pytest.skip(f"axe-core can't be fetched: {done.stderr.strip()[:300]}")
    with tarfile.open(kept) as archive:
        return archive.extractfile("package/axe.min.js").read().decode("utf-8")


@pytest.fixture
def violations(browser, axe):
    """What axe-core finds wrong with a page, everything in it opened."""

    def look(path, width, scheme):
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        page.evaluate(axe)
        found = page.evaluate(FOUND, RULES)
        page.close()
        return found

    return look


LEAK = {"kind": "copies-across-parts", "severity": "serious", "message": "A leak.", "samples": ["a.jpg", "b.jpg"]}


TWO = {"skills": {"VGG16": 3.6, "plain CNN": 2.2}, "n_test": 24, "simulated": True, "findings": [LEAK]}
MANY = {"classes": [f"kind {k}" for k in range(14)], "skills": {"VGG16": 2.0}, "n_test": 28}


LIGHT_AND_SMALL_DARK = [(1280, "light"), (390, "dark")]
DARK_AND_SMALL_LIGHT = [(1280, "dark"), (390, "light")]


@pytest.mark.parametrize(
    ("settings", "language", "screens"),
    # Another language changes the texts alone, and many classes the tables: together all four screens are looked at.
    [(TWO, "en", LIGHT_AND_SMALL_DARK), (TWO, "zh", DARK_AND_SMALL_LIGHT), (MANY, "en", DARK_AND_SMALL_LIGHT)],
    ids=["two contenders, en", "two contenders, zh", "many classes, en"],
)
def test_axe_finds_nothing(synthetic_run, noise_pictures, keep, violations, settings, language, screens):
    run_folder = synthetic_run(**settings)
    keep(run_folder, "VGG16", "no/image (7).jpg")
    path = write_report(run_folder, noise_pictures, language)
    for width, scheme in screens:
        assert violations(path, width, scheme) == [], f"{width} px, {scheme}"


def test_axe_finds_what_is_wrong(synthetic_run, violations):
    path = write_report(synthetic_run())
    path.write_text(path.read_text(encoding="utf-8").replace(' lang="en"', "", 1), encoding="utf-8")
    assert any(found.startswith("html-has-lang") for found in violations(path, 1280, "light"))


def test_the_keyboard_reaches_everything(synthetic_run, noise_pictures, browser):
    path = write_report(synthetic_run(), noise_pictures)
    page = browser.new_page()
    page.goto(path.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    scrollers = "[...document.querySelectorAll('.scroller')]"
    assert page.evaluate(f"{scrollers}.every(e => e.tabIndex === 0 && e.getAttribute('aria-label'))")
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(e => e.caption && e.querySelector('th[scope]'))"
    )
    page.close()
