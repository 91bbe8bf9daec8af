"""The page in a real browser: silent, offline, and no wider than a phone."""

import json

import pytest

from clearmargin.files import write_json
from clearmargin.report import write_audit_page, write_report

pytestmark = pytest.mark.rendered

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


PAIR = {"similarity": 0.98, "how": "turned by 90°", "first_label": "no", "second_label": "y" * 90, "first_part": "test",
        "second_part": "train"}  # fmt: skip


def audit_findings(name):
    message = {"severity": "serious", "message": f"A sentence with {name}.", "remedy": "Do it.", "samples": [name]}
    pairs = [{**PAIR, "first": name, "second": f"{k}.jpg"} for k in range(30)]
    suspects = [{"name": f"{name}{k}", "given": "no", "suggested": "yes", "p_given": 0.1} for k in range(30)]
    properties = [
        {"property": "image size", "balanced_accuracy": 0.8, "chance": 0.5, "flagged": True, "by_class": name}
    ]
    by_class = {"no": {"tested": 4000, "with_copy": 3000, "identical": 12}, "y" * 90: {"tested": 9, "with_copy": 0}}
    evidence = {
        "copies-across-parts": {"pairs": pairs, "by_class": by_class},
        "label-suspects": {"suspects": suspects},
        "shortcuts": {"properties": properties},
        "dark-images": {"values": {name: 0.1}},
        "few-groups": {"values": {"y" * 90: 3}},
    }
    return [{**message, "kind": kind, "evidence": held} for kind, held in evidence.items()]


@pytest.mark.parametrize("name", ["no/image (7).jpg", "Q" * 250 + "\u202e<b>.jpg"], ids=["plain", "hostile"])
def test_findings_leaks_and_their_price_fit_on_a_phone(synthetic_run, noise_pictures, leaking, browser, name):
    run_folder = synthetic_run(skills={"VGG16": 2.2}, classes=("no", "yes"), findings=audit_findings(name))
    leaking.leak(run_folder)
    write_json(run_folder / "leakage.json", leaking.price())
    write_report(run_folder, noise_pictures)
    write_audit_page(run_folder, "W" * 200, "0.1.0", noise_pictures)
    for page_name in ("report.html", "audit.html"):
        for width, scheme in ((390, "dark"), (1280, "light")):
            page, said, asked = opened(browser, run_folder / page_name, width, scheme)
            assert (said, asked) == ([], [(run_folder / page_name).as_uri()])
            assert page.evaluate(WIDER_THAN_THE_WINDOW) == 0, f"wider than {width} px"
            assert page.evaluate(OVERFLOWING) == []
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            for selector in (".leaky", ".banner b", ".chip.alarm", ".tag", ".severity"):
                if page.locator(selector).count():
                    assert page.evaluate(LOWEST_CONTRAST, selector) >= 4.5, (selector, scheme)
            page.close()


def test_a_cell_of_the_confusion_matrix_leads_to_its_images(synthetic_run, browser):
    path = write_report(synthetic_run())
    page, _, _ = opened(browser, path, 1280, "light")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = false)")
    link = page.locator(".matrix a").last
    target = link.get_attribute("href")
    link.click()
    opened_by_it = page.evaluate("[...document.querySelectorAll('details')].filter(details => details.open).length")
    assert opened_by_it == 1
    assert page.locator(f"details.album[open] > {target} .card").first.is_visible()
    summary = page.locator("details.album[open] > summary")
    page.wait_for_function(
        "() => Math.abs(window.lastY - scrollY) < 1 || ((window.lastY = scrollY), false)", polling=300
    )
    assert 0 <= summary.bounding_box()["y"] < 844, "its heading is in sight"
    said = "element => getComputedStyle(element).color"
    assert summary.evaluate(said) != page.locator("details.album:not([open]) > summary").first.evaluate(said)
    page.close()


# Of the text of each element against what is behind it, colours laid over one another; WCAG 2's contrast ratio.
LOWEST_CONTRAST = """selector => Math.min(...[...document.querySelectorAll(selector)].map(element => {
  const parse = text => { const v = text.match(/[\\d.]+/g).map(Number); return v.length > 3 ? v : [...v, 1]; };
  const over = (top, below, a) => [0, 1, 2].map(k => top[k] * a + below[k] * (1 - a));
  const luminance = c => [.2126, .7152, .0722].reduce((sum, w, k) => {
    const s = c[k] / 255; return sum + w * (s <= .04045 ? s / 12.92 : ((s + .055) / 1.055) ** 2.4); }, 0);
  const layers = []; let opacity = 1;
  for (let e = element; e; e = e.parentElement) {
    layers.push(parse(getComputedStyle(e).backgroundColor)); opacity *= +getComputedStyle(e).opacity; }
  const back = layers.reduceRight((below, layer) => over(layer, below, layer[3]), [255, 255, 255]);
  const ink = parse(getComputedStyle(element).color);
  const [one, other] = [luminance(back), luminance(over(ink, back, ink[3] * opacity))].sort((a, b) => a - b);
  return (other + .05) / (one + .05);
}))"""


def test_numbers_on_colours_can_be_read(synthetic_run, keep, browser):
    run_folder = synthetic_run(classes=("no", "yes"), skills={"VGG16": 9.0, "coin": -9.0})
    path = keep(run_folder, "VGG16") / "inside.json"
    content = json.loads(path.read_text())
    rows = [list(range(start, start + 16)) for start in range(0, 256, 16)]
    for names in (["gray"], ["red", "green", "blue"]):
        content["sample"]["matrix"] = {"block_px": 1, "channels": [{"name": name, "rows": rows} for name in names]}
        write_json(path, content)
        page_path = write_report(run_folder)
        for scheme in ("light", "dark"):
            page, _, _ = opened(browser, page_path, 1280, scheme)
            assert page.locator(".pixels td").count() == 256 * len(names)
            for selector in (".pixels td", ".matrix td small", ".matrix td"):
                assert page.evaluate(LOWEST_CONTRAST, selector) >= 4.5, (selector, scheme, names)
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
