"""The page in a real browser: choosing, dropping, the slider, what is refused, and a server that is gone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.conftest import HOSTILE, png, running

from clearmargin.serving import service
from clearmargin.serving.model import ServedModel
from clearmargin.serving.uploads import images_of

WIDER_THAN_THE_WINDOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
OVERFLOWING = """[...document.querySelectorAll('h1,h2,h3,h4,p,li,dd,dt,figcaption,.button')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1 && !e.closest('.scroller, .unseen'))
  .map(e => e.className + ': ' + e.textContent.slice(0, 40))"""
FORMULA = "=cmd|' /C calc'!A0.png"


@pytest.fixture
def page(browser: Any, server: Any) -> Iterator[Any]:
    """The first page, in English; what the browser complains of is in ``page.complaints``."""
    page = browser.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(f"{server[0]}/?lang=en")
    yield page
    page.close()


def image_files(folder: Path, count: int) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*.png"))[:: 100 // count]][:count]


def upload(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def answers(page: Any, count: int) -> Any:
    """The cards, once there are so many that are no longer waited for."""
    page.locator(".result:not(.is-waiting)").nth(count - 1).wait_for(timeout=20_000)
    return page.locator(".result")


def test_an_image_is_answered_and_the_slider_moves(page: Any, images_folder: Path) -> None:
    page.set_input_files("#files", image_files(images_folder, 1))
    card = answers(page, 1).first
    assert card.locator(".file").text_content() == Path(image_files(images_folder, 1)[0]).name
    assert card.locator(".bars li").count() == 3
    assert card.locator(".near li").count() == 3
    loaded = "e => [...e.querySelectorAll('img')].every(image => image.complete && image.naturalWidth > 0)"
    assert card.evaluate(loaded)
    slider, heat = card.locator(".opacity"), card.locator(".heat")
    assert slider.get_attribute("aria-label")
    slider.focus()
    page.keyboard.press("Home")
    assert heat.evaluate("e => getComputedStyle(e).opacity") == "0"
    page.keyboard.press("End")
    assert heat.evaluate("e => getComputedStyle(e).opacity") == "1"
    assert page.complaints == []


def test_several_files_and_their_table(page: Any, images_folder: Path) -> None:
    good = Path(image_files(images_folder, 1)[0]).read_bytes()
    page.set_input_files("#files", image_files(images_folder, 5))
    assert answers(page, 5).count() == 5
    page.set_input_files("#files", [upload(FORMULA, good), upload(f"{HOSTILE}.png", good), upload("b.png", b"no")])
    cards = answers(page, 8)
    assert page.locator("#progress").text_content() == "8 of 8 images answered"
    assert cards.nth(6).locator(".file").text_content() == f"{HOSTILE}.png"
    assert cards.nth(7).locator("h3").text_content() == "This image was not looked at"
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.suggested_filename == "predictions.csv"
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert rows[0][:2] == ["image", "predicted"]
    assert rows[0][-3:] == ["set", "abstain", "unlike"]
    assert len(rows) == 8
    assert rows[6][0] == f"'{FORMULA}"
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    shares = [[float(cell) for cell in row[2:5]] for row in rows[1:]]
    np.testing.assert_allclose(np.sum(shares, axis=1), 1, atol=1e-6)
    assert page.evaluate("document.querySelectorAll('.result img[src=x], .result script').length") == 0
    page.click("#clear")
    assert page.locator(".result").count() == 0
    assert page.locator("#answers").is_hidden()


def test_names_of_files_do_not_leave_the_browser(
    page: Any, images_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(
        service, "images_of", lambda kind, body, limits: sent.append(body) or images_of(kind, body, limits)
    )
    content = Path(image_files(images_folder, 1)[0]).read_bytes()
    page.set_input_files("#files", [upload("Jane-Doe.png", content)])
    answers(page, 1)
    assert [content in body for body in sent] == [True]
    assert b"Jane" not in sent[0]


def test_what_is_dropped_is_answered(page: Any, images_folder: Path) -> None:
    content = list(Path(image_files(images_folder, 1)[0]).read_bytes())
    page.evaluate(
        """content => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(content)], 'dropped.png', { type: 'image/png' }));
          document.querySelector('.drop').dispatchEvent(
            new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    assert answers(page, 1).first.locator(".file").text_content() == "dropped.png"


def test_a_wrong_and_a_too_large_file_are_said(page: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(32_000_001)
    page.set_input_files("#files", [str(large)])
    assert "larger than 32.0" in answers(page, 1).first.text_content()
    page.set_input_files("#files", [upload("bomb.png", png(np.zeros((5100, 5000))))])
    assert "25 000 000" in answers(page, 2).nth(1).text_content().replace("\u202f", " ")
    page.set_input_files("#files", [upload("letter.docx", b"PK\x03\x04")])
    assert "Send images" in answers(page, 3).nth(2).text_content()
    assert page.locator("#csv").is_hidden()


def test_a_server_that_is_gone_is_said_and_can_be_tried_again(
    browser: Any, served_model: ServedModel, images_folder: Path
) -> None:
    page = browser.new_page()
    with running(served_model) as (address, _, _):
        page.goto(f"{address}/?lang=en")
    page.set_input_files("#files", image_files(images_folder, 1))
    card = answers(page, 1).first
    assert "The server does not answer" in card.text_content()
    card.locator("button.again").focus()
    page.keyboard.press("Enter")
    assert "The server does not answer" in answers(page, 1).first.text_content()
    page.close()


def test_what_may_go_well_later_is_tried_again_and_the_focus_stays(page: Any, images_folder: Path) -> None:
    statuses = [503, 429, 500]
    card = '<article class="result is-refused"><p class="file"></p><h3>No</h3><p class="said">Too busy.</p></article>'

    def answer(route: Any) -> None:
        if route.request.method == "POST" and statuses:
            route.fulfill(status=statuses.pop(0), headers={"Retry-After": "0"}, content_type="text/html", body=card)
        else:
            route.continue_()

    page.route("**/*", answer)
    page.set_input_files("#files", image_files(images_folder, 1))
    refused = answers(page, 1).first
    assert statuses == []  # the first two were tried again at once
    assert refused.locator(".said").text_content() == "Too busy."
    assert page.locator("#csv").is_hidden()
    refused.locator("button.again").focus()
    page.keyboard.press("Enter")
    page.locator(".bars").wait_for()
    assert page.evaluate("document.activeElement.matches('article.result[data-row]')")
    assert page.locator("#progress").text_content() == "1 of 1 images answered"


def test_what_is_not_answered_in_time_is_tried_once_more(page: Any, images_folder: Path) -> None:
    statuses = [503, 429, 503, 503]
    card = '<article class="result is-refused"><p class="file"></p><h3>No</h3><p class="said">Too late.</p></article>'

    def answer(route: Any) -> None:
        route.fulfill(status=statuses.pop(0), headers={"Retry-After": "0"}, content_type="text/html", body=card)

    page.route("**/*", answer)
    page.set_input_files("#files", image_files(images_folder, 1))
    assert answers(page, 1).first.locator(".said").text_content() == "Too late."
    assert statuses == [503]


def test_each_frame_of_a_file_has_its_card(page: Any, images_folder: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.serving.test_dicom import dicom, drawn

    page.set_input_files("#files", [upload("IM0001", dicom(drawn(3)))])
    cards = answers(page, 3)
    assert cards.locator(".file").all_text_contents() == ["IM0001#1", "IM0001#2", "IM0001#3"]
    assert page.locator("#progress").text_content() == "1 of 1 images answered"
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert [row[0] for row in rows] == ["image", "IM0001#1", "IM0001#2", "IM0001#3"]


def test_without_its_script_the_form_works(browser: Any, server: Any, images_folder: Path) -> None:
    page = browser.new_page()
    page.route("**/serve.js", lambda route: route.abort())
    page.goto(f"{server[0]}/?lang=zh")
    assert page.locator(".only-script:visible").count() == 0
    page.set_input_files("#files", image_files(images_folder, 2))
    page.click("form button")
    assert answers(page, 2).count() == 2
    assert page.url.endswith("/?lang=zh")
    assert page.locator("#csv").get_attribute("href").startswith("data:text/csv")
    page.close()


def test_tabs_keyboard_and_the_report_in_its_frame(page: Any, server: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_role("link", name="Report", exact=True).press("Enter")
    frame = page.frame_locator("iframe")
    frame.locator("h1").first.wait_for()
    assert page.locator("a[aria-current=page]").text_content() == "Report"
    page.get_by_role("link", name="Model", exact=True).press("Enter")
    page.locator(".card-text h2").wait_for()
    page.get_by_role("link", name="简体中文").press("Enter")
    page.locator(".tabs a").first.press("Enter")
    page.locator("#form").wait_for()
    assert page.url == f"{server[0]}/?lang=zh"
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert page.complaints == []


@pytest.mark.parametrize(
    ("width", "scheme", "language"), [(390, "dark", "zh"), (390, "light", "en"), (1280, "dark", "en")]
)
def test_it_fits(page: Any, server: Any, images_folder: Path, width: int, scheme: str, language: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    for path in ("/model", "/report", "/"):
        page.goto(f"{server[0]}{path}?lang={language}")
        assert not page.evaluate(WIDER_THAN_THE_WINDOW), path
        assert page.evaluate(OVERFLOWING) == []
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64)))
    page.set_input_files("#files", [*image_files(images_folder, 2)])
    page.set_input_files("#files", [upload("a_very_long_name_" * 12 + ".png", noise), upload("b", b"")])
    assert answers(page, 4).count() == 4
    page.locator("details").evaluate("e => e.open = true")
    assert not page.evaluate(WIDER_THAN_THE_WINDOW)
    assert page.evaluate(OVERFLOWING) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 26)"
    assert dark == (scheme == "dark")
