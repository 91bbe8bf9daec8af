"""The page in a real browser: it frames pictures to the same bits, and gives the same answers as `predict`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmargin.decoding import prepared_pixels
from clearmargin.errors import UsageError
from clearmargin.exporting import page as pages
from clearmargin.exporting.web_runtime import PACKED, VERSION, WebRuntime, read_web_runtime
from clearmargin.records import Preprocessing

HELP = """const bytesIn = (text) => Uint8ClampedArray.from(atob(text), (letter) => letter.charCodeAt(0));
  const textOf = (levels) => btoa(Array.from(levels, (level) => String.fromCharCode(level)).join(''));"""
FRAMED = f"""([text, width, height, how]) => {{ {HELP}
  return textOf(framed({{ width, height, bands: 3, levels: bytesIn(text) }}, how).levels); }}"""
DECODED = f"""async ([text, how]) => {{ {HELP}
  return textOf(framed(await pictureOf(new Blob([bytesIn(text)])), how).levels); }}"""
ANSWERS = """() => [...document.querySelectorAll('.answer')].reverse().map(
  (item) => item.dataset.failed ? null : JSON.parse(item.dataset.probabilities))"""


@pytest.fixture(scope="module")
def runtime() -> WebRuntime:
    """onnxruntime-web from the npm registry, kept for later."""
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "clearmargin-tests" / PACKED
    if not kept.is_file():
        if shutil.which("npm") is None:
            pytest.skip(f"onnxruntime-web is not here: npm is not installed, and there is no {kept}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        words = ["npm", "pack", f"onnxruntime-web@{VERSION}", "--silent"]
        done = subprocess.run(words, cwd=kept.parent, capture_output=True, text=True, timeout=300, check=False)
        if not kept.is_file():
            pytest.skip(f"onnxruntime-web can't be fetched: {done.stderr.strip()[:300]}")
    return read_web_runtime(kept.parent)


@pytest.fixture(scope="module")
def written(tiny, runtime, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "model.html"
    pages.export_page(tiny, tiny.contender("two layers"), path, None, runtime)
    return path


@pytest.fixture
def page(browser, written):
    """The page, ready; whatever it says or asks for fails the test."""
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    try:
        page.wait_for_selector("body[data-ready]", timeout=60_000)
    except Exception:
        pytest.fail(f"not ready: {page.text_content('#status')}, {said}")
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [written.as_uri()]
    page.close()


def levels_of(page, code, content, *more):
    """Grey levels that a script of the page makes of bytes."""
    said = page.evaluate(code, [base64.b64encode(content).decode(), *more])
    return np.frombuffer(base64.b64decode(said), np.uint8)


def answers(page, paths):
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_function(
        "count => document.querySelectorAll('.answer[data-probabilities], .answer[data-failed]').length >= count",
        arg=len(paths),
    )
    return page.evaluate(ANSWERS)


def test_it_answers_as_predict_does(page, tiny, class_folder):
    paths = sorted((class_folder / "alpha").glob("*.png"))[:5] + sorted((class_folder / "gamma").glob("*.png"))[:5]
    ours = tiny.contender("two layers").predict(paths)
    given = answers(page, paths)
    np.testing.assert_allclose(given, ours[["alpha", "beta", "gamma"]].to_numpy(), atol=1e-5)
    said = page.locator(".answer").last.inner_text()
    first = ours.iloc[0]
    assert ("please refer" in said) == bool(first["abstain"])
    assert all(name in said for name in first["set"])
    assert "at 90 % confidence" in said
    assert page.text_content("#status") == "10 pictures answered."


def test_what_is_no_picture_is_said(page, class_folder, tmp_path):
    (tmp_path / "<b>x.png").write_bytes(b"no picture")
    good = sorted((class_folder / "beta").glob("0*.png"))[0]
    given = answers(page, [tmp_path / "<b>x.png", good])
    assert given[0] is None
    assert given[1] is not None
    assert "can't show it as a picture" in page.locator(".answer").last.inner_text()
    assert page.locator(".answer b").count() == 0


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_pictures_are_framed_to_the_same_bits(page, fit):
    random = np.random.default_rng(1)
    for number, (height, width) in enumerate(((40, 60), (60, 40), (90, 12), (10, 7), (230, 200), (24, 24))):
        how = Preprocessing(
            24, fit, ("rgb", "gray")[number % 2], number % 3 == 0, ("as-is", "standardised")[number // 2 % 2]
        )
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if how.trim:
            pixels[: height // 5], pixels[:, -width // 6 :] = 7, 3
        settings = {"size_px": 24, "fit": fit, "color": how.color, "trim": how.trim, "intensity": how.intensity}
        levels = levels_of(page, FRAMED, pixels.tobytes(), width, height, settings)
        np.testing.assert_array_equal(levels.reshape(24, 24, -1), prepared_pixels(pixels, how), str(how))


def test_real_pictures_are_decoded_alike(page, shared_data, tmp_path):
    """JPEG leaves a decoder some freedom: a grey level here and there."""
    with zipfile.ZipFile(shared_data / "brain-mri-yes-no.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png"))][::25]
        contents = [archive.read(name) for name in names]
    how = Preprocessing(96, "pad", "gray")
    worst = 0
    for content in contents:
        settings = {"size_px": 96, "fit": "pad", "color": "gray", "trim": False, "intensity": "as-is"}
        levels = levels_of(page, DECODED, content, settings)
        apart = np.abs(levels.reshape(96, 96, 1) - prepared_pixels(content, how).astype(int))
        worst = max(worst, int(apart.max()))
    assert worst <= 2


def test_it_fits_a_phone_and_can_be_read_by_all(page, class_folder):
    answers(page, sorted((class_folder / "alpha").glob("*.png"))[:1])
    for width, scheme in ((360, "dark"), (1280, "light")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    assert "not a medical device" in page.inner_text("aside")


def test_its_policy_lets_nothing_else_run(written):
    text = written.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text).group(1)
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "'unsafe-inline'" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def test_names_can_not_become_markup(runtime):
    about = {"name": "</script><b>x", "classes": ["<img onerror=1>"], "leaky": True, "weights_sha256": "0"}
    about |= {"size_px": 8, "color": "rgb", "fit": "pad", "version": "1"}
    small = WebRuntime(b"1", b"2", b"3")
    text = pages.page_bytes(b"network", about, small).decode()
    assert "<b>x" not in text
    assert "<img" not in text
    stored = re.search(r'id="about">(.*?)</script>', text).group(1)
    assert json.loads(stored) == about
    assert "leaks" in text


def test_another_runtime_is_refused(tmp_path, clearmargin, tiny):
    with pytest.raises(UsageError, match=r"Fetch it with `npm pack onnxruntime-web@"):
        read_web_runtime(None)
    with pytest.raises(UsageError, match=r"can't be read: No such file"):
        read_web_runtime(tmp_path)
    (tmp_path / PACKED).write_bytes(b"another")
    with pytest.raises(UsageError, match=r"its SHA-512 differs"):
        read_web_runtime(tmp_path)
    status, _, err = clearmargin("export", tiny.folder, "--format", "html")
    assert status == 2
    assert "which is not part of this package" in err


def test_a_transparent_picture_lies_on_black(page, tiny, tmp_path):
    layered = np.zeros((20, 24, 4), np.uint8)
    layered[5:12, 5:12] = (200, 200, 200, 255)
    layered[..., :3] += 40
    Image.fromarray(layered).save(tmp_path / "x.png")
    ours = tiny.contender("two layers").predict(tmp_path / "x.png")[["alpha", "beta", "gamma"]].to_numpy()
    np.testing.assert_allclose(answers(page, [tmp_path / "x.png"]), ours, atol=1e-5)
