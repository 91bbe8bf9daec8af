"""The page in a real browser: silent, offline, and no wider than a phone."""

import pytest

from clearmargin.report import write_report

WIDER_THAN_THE_WINDOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Text that leaves its own box sideways, other than in boxes made to scroll.
OVERFLOWING = """() => [...document.querySelectorAll('h1,h2,h3,p,li,dd,dt,summary,figcaption')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1 && !e.closest('.scroller'))
  .map(e => e.className + ': ' + e.textContent.slice(0, 40))"""


def opened(browser, path, width, scheme):
    page = browser.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    asked = [url for url in asked if not url.startswith("data:")]
    return page, said, asked


@pytest.mark.parametrize("settings", [
    {"skills": {"VGG16": 3.6, "plain CNN": 2.2, "wide CNN": 2.0}},
    {"classes": [f"digit {k}" for k in range(12)], "skills": {"VGG16": 2.0}},
    {"classes": [f"a kind with a long name {k}" for k in range(40)], "n_test": 120, "skills": {"VGG16": 2.0}},
    {"classes": ["a" * 300, "<img src=x onerror=alert(1)>", "\u202eb"], "name": "W" * 200,
     "skills": {"M" * 100: 3.0, "i " * 50: 1.0}, "image_name": lambda k, label: "Q" * (k % 250) + f"{k}.jpg"},
], ids=["three contenders", "twelve classes", "forty classes", "hostile names"])  # fmt: skip
def test_the_page_fits_and_asks_for_nothing(synthetic_run, noise_pictures, browser, settings):
    path = write_report(synthetic_run(**settings), noise_pictures)
    for width, scheme in ((390, "light"), (820, "light"), (1280, "dark")):
        page, said, asked = opened(browser, path, width, scheme)
        assert said == []
        assert asked == [path.as_uri()]
        assert page.evaluate(WIDER_THAN_THE_WINDOW) == 0, f"wider than {width} px"
        assert page.evaluate(OVERFLOWING) == []
        page.close()


@pytest.mark.parametrize("name", ["no/image (7).jpg", "Q" * 250 + "\u202e<b>.jpg"], ids=["plain", "hostile"])
def test_the_look_inside_fits_on_a_phone(synthetic_run, noise_pictures, keep, browser, name):
    run_folder = synthetic_run(skills={"VGG16": 2.2}, classes=("c" * 200, "no", "yes"))
    keep(run_folder, "VGG16", name)
    path = write_report(run_folder, noise_pictures)
    for width, scheme in ((390, "dark"), (1280, "light")):
        page, said, asked = opened(browser, path, width, scheme)
        assert (said, asked) == ([], [path.as_uri()])
        assert page.evaluate(WIDER_THAN_THE_WINDOW) == 0, f"wider than {width} px"
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        page.close()


def test_a_cell_of_the_confusion_matrix_leads_to_its_images(synthetic_run, browser):
    path = write_report(synthetic_run())
    page, _, _ = opened(browser, path, 1280, "light")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = false)")
    link = page.locator(".matrix a").last
    target = link.get_attribute("href")
    link.click()
    assert page.locator(target).locator("summary").is_visible()
    page.close()


def test_dark_and_light_differ_and_print_is_light(synthetic_run, browser):
    path = write_report(synthetic_run(skills={"VGG16": 3.0}))
    background = "getComputedStyle(document.body).backgroundColor"
    stroke = "getComputedStyle(document.querySelector('.plot text')).fill"
    page, _, _ = opened(browser, path, 1280, "light")
    light = page.evaluate(background), page.evaluate(stroke)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background), page.evaluate(stroke)
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.evaluate(stroke) == light[1]
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.close()
