"""The page in a real browser: what the script shows is what the package computes, also from the keyboard."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clearmargin.learn import activate, convolve, pool
from clearmargin.learn.kernels import KERNELS
from clearmargin.learn.lessons import PATCH_PX, busiest_patch, kernel_scale
from clearmargin.learn.page import number, write_page
from clearmargin.learn.pictures import grey_levels
from clearmargin.learn.subject import read_subject

WIDER_THAN_THE_WINDOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OVERFLOWING = """() => [...document.querySelectorAll('h1,h2,h3,p,li,dd,dt,figcaption,td,caption,.frame')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1 && !e.closest('.scroller, .unseen'))
  .map(e => e.className + ': ' + e.textContent.slice(0, 40))"""
# Read from a copy: chromium advises against reading the same canvas twice, and the page itself never does.
GREYS = """id => { const canvas = document.getElementById(id), copy = canvas.cloneNode();
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const shown = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.height, canvas.width, [...shown].filter((_, k) => k % 4 === 0)]; }"""
TABLE = "id => [...document.getElementById(id).rows].map(row => [...row.cells].map(cell => cell.textContent))"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A picture that is not symmetric in any way."""
    random = np.random.default_rng(5)
    pixels = random.integers(0, 120, (37, 50))
    pixels[8:20, 30:41] += 130
    path = tmp_path_factory.mktemp("image") / "square.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def pixels(image):
    return read_subject(image).pixels


@pytest.fixture
def page(browser, image, tmp_path):
    """The page of the image; whatever it says or asks for fails the test."""
    path = write_page(tmp_path / "learn.html", image)
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": 1280, "height": 844})
    page.goto(path.as_uri())
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    page.close()


def shown_greys(page, canvas):
    height, width, greys = page.evaluate(GREYS, canvas)
    return np.array(greys, dtype=int).reshape(height, width)


def shown_out(page):
    return page.evaluate(TABLE, "out")


def expected_out(pixels, kernel, stride=1, padding="valid"):
    row, column = busiest_patch(pixels)
    out = convolve(pixels[row : row + PATCH_PX, column : column + PATCH_PX], kernel, stride, padding)
    return [[number(value, 1) for value in line] for line in out]


def need_agreement(page, pixels, kernel, stride, padding):
    expected = grey_levels(convolve(pixels, kernel, stride, padding), kernel_scale(kernel))
    greys = shown_greys(page, "result")
    assert greys.shape == expected.shape
    assert np.abs(greys - expected.astype(int)).max() <= 1  # sums in another order may round the other way
    assert shown_out(page) == expected_out(pixels, kernel, stride, padding)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_kernel_stride_and_padding_is_the_packages(page, pixels, stride, padding):
    page.select_option("#stride-by", str(stride))
    page.select_option("#padding", padding)
    for kernel in KERNELS:
        page.select_option("#preset", kernel.key)
        need_agreement(page, pixels, kernel.values, stride, padding)


def test_the_kernel_is_edited_with_the_keyboard(page, pixels):
    before = shown_greys(page, "result")
    page.focus("#weight-0-0")
    for weight in (3, -1, 0, 2, 0.5, 0, 0, 1, -4):
        page.keyboard.press("Control+A")
        page.keyboard.type(str(weight))
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "divisor"
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    kernel = np.array([[3, -1, 0], [2, 0.5, 0], [0, 1, -4]]) / 2
    need_agreement(page, pixels, kernel, 1, "valid")
    assert (shown_greys(page, "result") != before).any()
    assert page.input_value("#preset") == "own"
    assert ") / 2 = " in page.text_content("#arithmetic")
    for nonsense in ("", "0", "-"):
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        page.keyboard.type(nonsense)
        assert page.get_attribute("#divisor", "aria-invalid") == "true"
        need_agreement(page, pixels, kernel, 1, "valid")  # stays as it was


def test_arrow_keys_move_the_window(page, pixels):
    row, column = busiest_patch(pixels)
    patch = pixels[row : row + PATCH_PX, column : column + PATCH_PX].astype(int)
    out = convolve(patch, KERNELS[0].values)
    page.focus("#out [tabindex='0']")
    for key, place in (("ArrowUp", (0, 0)), ("ArrowRight", (0, 1)), ("ArrowDown", (1, 1)), ("ArrowDown", (2, 1)),
                       ("ArrowLeft", (2, 0)), ("ArrowLeft", (2, 0))):  # fmt: skip
        page.keyboard.press(key)
        r, c = place
        said = page.text_content("#arithmetic")
        assert said.startswith(f"Row {r + 1}, column {c + 1}: {patch[r, c]}·(−1) + ")
        assert said.endswith(f" = {number(out[r, c])}")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
            f"row {r + 1}, column {c + 1}"
        )
        under = page.evaluate("[...document.querySelectorAll('#patch .under')].map(cell => Number(cell.textContent))")
        assert under == patch[r : r + 3, c : c + 3].reshape(-1).tolist()
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    assert page.text_content("#arithmetic").startswith("Row 3, column 5:")


def test_a_click_moves_the_window_and_the_patch(page, pixels):
    page.locator("#out td").nth(7).click()
    assert page.text_content("#arithmetic").startswith("Row 2, column 3:")
    page.locator("#patch td").nth(PATCH_PX * 4 + 3).click()  # the middle of the window
    assert page.text_content("#arithmetic").startswith("Row 4, column 3:")
    row, column = busiest_patch(pixels)
    page.focus("#image")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    moved = pixels[row - 1 : row - 1 + PATCH_PX, column - 1 : column - 1 + PATCH_PX]
    assert page.evaluate(TABLE, "patch") == [[str(value) for value in line] for line in moved]
    page.locator("#image").click(position={"x": 1, "y": 1})
    assert page.evaluate(TABLE, "patch") == [[str(value) for value in line] for line in pixels[:PATCH_PX, :PATCH_PX]]


def test_a_filter_of_the_gallery_is_tried(page, pixels):
    page.locator("[data-kernel='sharpen']").click()
    need_agreement(page, pixels, KERNELS[5].values, 1, "valid")
    assert page.evaluate("document.activeElement.id") == "preset"


@pytest.mark.parametrize("x", [-4, -0.7, 0, 1.3, 4])
def test_the_curves_follow_the_slider(page, x):
    page.locator("#x").fill(str(x))
    expected = {kind: activate([x], kind).item() for kind in ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu")}
    expected["maxout"] = max(-x - 1, x / 2)
    for kind, value in expected.items():
        assert page.text_content(f"[data-value={kind}]") == number(value, 3)
        assert float(page.get_attribute(f".dot[data-kind={kind}]", "cy")) == pytest.approx(-value, abs=1e-6)


def test_pooling_softmax_and_dropout(page, pixels):
    for size in (2, 4, 8):
        page.select_option("#pool-size", str(size))
        for kind in ("max", "average", "sum"):
            expected = grey_levels(pool(pixels, kind, size), "positive" if kind == "sum" else "pixels")
            assert np.abs(shown_greys(page, f"pool-canvas-{kind}") - expected.astype(int)).max() <= 1
    page.fill("#pool-0-0", "-20")
    assert page.evaluate(TABLE, "pooled-sum") == [["−7", "10"], ["8", "13"]]
    assert page.evaluate(TABLE, "pooled-max") == [["6", "5"], ["3", "8"]]

    page.focus(".logit >> nth=2")
    page.keyboard.press("End")
    odds = activate([2.5, 1.5, 5], "softmax")
    assert [page.text_content(f"#p-{k}") for k in range(3)] == [number(share, 3) for share in odds]

    before = page.text_content("#neurons")
    page.locator("#draw").focus()
    page.keyboard.press("Enter")
    assert page.text_content("#neurons") != before
    page.locator("#rate").fill("0")
    assert page.text_content("#dropped") == "0 of 32 vanish, the others are multiplied by 1."
    assert page.locator("#neurons .gone").count() == 0


def test_it_fits_a_phone_in_every_setting(page):
    for width, scheme in ((390, "light"), (360, "dark"), (820, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        for padding in ("same", "valid"):
            page.select_option("#padding", padding)
            for kernel in ("laplacian", "box"):
                page.select_option("#preset", kernel)
                assert page.evaluate(WIDER_THAN_THE_WINDOW) == 0, f"wider than {width} px"
                assert page.evaluate(OVERFLOWING) == []


def test_on_paper_it_is_light_and_shows_what_was_chosen(page, pixels):
    page.select_option("#preset", "box")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#result").is_visible()
    assert not page.locator(".still:visible, .controls:visible, button:visible").count()
    need_agreement(page, pixels, KERNELS[3].values, 1, "valid")


def test_without_scripts_the_pictures_and_numbers_are_there(browser, image, pixels, tmp_path):
    path = tmp_path / "learn.html"
    write_page(path, image)
    path.write_text(path.read_text(encoding="utf-8").split("<script>")[0] + "</body></html>", encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.checkVisibility())"
    )
    assert not page.locator(".live:visible").count()
    assert shown_out(page) == expected_out(pixels, KERNELS[0].values)
    assert page.locator("#weight-1-0").get_attribute("readonly") is not None
    page.close()
