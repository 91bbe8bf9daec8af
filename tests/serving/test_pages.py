"""The pages without a script: a form that works, in two languages, with nothing inline that the policy would forbid."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.serving.conftest import HOSTILE, png

from clearmargin.runs import Run
from clearmargin.serving.card import card_html
from clearmargin.serving.model import ServedModel

PAGES = ("/", "/report", "/model")


class Reader(HTMLParser):
    """Notes tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(html)
    return reader.tags


def answered(client: httpx.Client, folder: Path, *more: bytes, language: str = "en") -> httpx.Response:
    image = sorted(folder.rglob("*.png"))[0].read_bytes()
    files = [("files", ("a.png", content)) for content in (image, *more)]
    return client.post(f"/?lang={language}", files=files)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_need_nothing_that_the_policy_forbids(client: httpx.Client, images_folder: Path, language: str) -> None:
    pages = [client.get(f"{path}?lang={language}") for path in PAGES]
    pages.append(answered(client, images_folder, b"no image", language=language))
    for page in pages:
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for tag, attributes in tags_of(page.text):
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            assert tag != "style"
            assert tag != "script" or set(attributes) == {"src", "defer"}
            for name in ("src", "href", "action"):
                assert re.match(r"/|#|\?lang=|data:", attributes.get(name) or "#")


def test_every_answer_has_its_headers(client: httpx.Client) -> None:
    for path in (*PAGES, "/nowhere", "/health", "/static/serve.css", "/report.html"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-frame-options"] == ("SAMEORIGIN" if path == "/report.html" else "DENY")
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_the_report_is_shown_in_a_sandbox_of_its_own(client: httpx.Client, finished_run: Run) -> None:
    page = client.get("/report")
    frame = next(attributes for tag, attributes in tags_of(page.text) if tag == "iframe")
    assert (frame["src"], frame["sandbox"]) == ("/report.html", None)
    report = client.get("/report.html")
    assert report.content == finished_run.report.read_bytes()
    policy = report.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'; ")
    assert "script-src" not in policy


def test_an_answer_says_everything(client: httpx.Client, images_folder: Path, served_model: ServedModel) -> None:
    image = sorted(images_folder.rglob("*.png"))[0]
    own = served_model.contender.predict(image).iloc[0]
    page = answered(client, images_folder).text
    assert "Research use only, not a medical device." in page
    assert page.count('<rect width="100"') == 3
    assert f"<b>{100 * own['alpha']:.1f}" in page or "&lt;" in page
    assert "at 90 % confidence" in page.replace("\u202f", " ")
    assert page.count("<article") == 1
    assert 'class="heat"' in page
    assert "Nearest training images" in page
    if own["abstain"]:
        assert "Not sure: please refer" in page


def test_noise_does_not_look_like_the_training_images(client: httpx.Client) -> None:
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64)))
    assert client.post("/v1/predict", files={"files": noise}).json()["predictions"][0]["unlike"]
    page = client.post("/", files={"files": noise}).text
    assert "<h3><bdi>Does not look like the training images" in page
    assert "图像与训练图像不相像" in client.post("/?lang=zh", files={"files": noise}).text


def test_several_and_wrong_files(client: httpx.Client, images_folder: Path) -> None:
    page = answered(client, images_folder, b"no image", png(np.zeros((8, 8))))
    assert page.status_code == 200
    assert page.text.count("<article") == 3
    assert page.text.count("This image was not looked at") == 2  # once in the form, for the script
    alone = client.post("/", files={"files": b"no image"})
    assert (alone.status_code, alone.text.count("<article")) == (415, 1)
    none = client.post("/", files={"files": ("", b"")})
    assert none.status_code == 415
    large = client.post("/", files={"files": bytes(33_000_000)})
    assert (large.status_code, "An image may have" in large.text) == (413, True)


def test_the_table_can_start_no_formula(client: httpx.Client, images_folder: Path) -> None:
    page = answered(client, images_folder, b"no image")
    link = next(attributes for tag, attributes in tags_of(page.text) if attributes.get("id") == "csv")
    assert link["download"] == "predictions.csv"
    kind, _, content = link["href"].partition(",")
    assert kind == "data:text/csv;charset=utf-8;base64"
    lines = base64.b64decode(content).decode().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith('"image","predicted",')
    assert '"\'=1+1"' in lines[0]
    assert lines[1].startswith('"1",')


def test_hostile_names_are_shown_and_not_obeyed(client: httpx.Client, images_folder: Path) -> None:
    for page in (answered(client, images_folder).text, client.get("/model").text, client.get("/").text):
        assert HOSTILE not in page
        assert "&lt;img" in page
        images = [attributes for tag, attributes in tags_of(page) if tag == "img"]
        assert all(str(each["src"]).startswith("data:image/") for each in images)


def test_languages(client: httpx.Client) -> None:
    assert 'lang="en"' in client.get("/").text
    assert 'lang="zh' in client.get("/?lang=zh").text
    assert "仅供研究" in client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}).text
    assert "Research use only" in client.get("/", headers={"Accept-Language": "fr,en;q=0.9,zh;q=0.1"}).text
    assert "Research use only" in client.get("/?lang=%22%3E%3Cscript%3E").text
    assert 'href="/model?lang=zh"' in client.get("/?lang=zh").text


def test_the_card_knows_little_markdown() -> None:
    card = card_html(
        "# Card: a \\*b\\*\n\n- **Author must answer:** who\\? <script>\n- two\n\n"
        "| a \\| b | c |\n| --- | --- |\n| 1 | 2 |\n\n"
        "[x](javascript:1)\nand more\n"
    )
    assert "<h2>Card: a *b*</h2>" in card
    assert "<li><b>Author must answer:</b> who? &lt;script&gt;</li>" in card
    assert '<th scope="col">a | b</th>' in card
    assert '<th scope="row">1</th><td>2</td>' in card
    assert "<p>[x](javascript:1) and more</p>" in card
    assert "---" not in card
