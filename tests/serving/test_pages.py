"""The pages without a script: a form that works, in two languages, with nothing inline that the policy would forbid."""

from __future__ import annotations

import asyncio
import base64
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serving.conftest import HOSTILE, TOKEN, awaited, png, running

from clearmargin.report.wording import percent
from clearmargin.runs import Run
from clearmargin.serving.access import access_to
from clearmargin.serving.app import Gate
from clearmargin.serving.card import card_html
from clearmargin.serving.model import ServedModel
from clearmargin.trained import TrainedContender

PAGES = ("/", "/report", "/model")


class Reader(HTMLParser):
    """Notes tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(page)
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


def test_an_answer_says_everything(
    client: httpx.Client, images_folder: Path, own_model: TrainedContender, served_model: ServedModel
) -> None:
    image = sorted(images_folder.rglob("*.png"))[0]
    own = own_model.predict(image).iloc[0]
    page = answered(client, images_folder).text
    assert "Research use only, not a medical device." in page
    assert page.count('<rect width="100"') == 3
    shares = sorted((own[name] for name in own_model.classes), reverse=True)
    assert [html.unescape(said) for said in re.findall(r"<b>([^<]*%)</b>", page)] == list(map(percent, shares))
    assert "at 90 % confidence" in page.replace("\u202f", " ")
    assert page.count("<article") == 1
    assert 'class="heat"' in page
    assert page.count('class="near"') == 1
    assert served_model.training_images.compared.done == served_model.training_images.compared.total
    assert "looked at)" not in page
    if own["abstain"]:
        assert "Not sure: please refer" in page


def training_names(folder: Path) -> list[str]:
    return [f"{path.parent.name}/{path.name}" for path in folder.rglob("*.png")]


def neighbours_part(page: str) -> str:
    return page.partition('<ul class="near">')[2].partition("</ul>")[0]


@pytest.mark.parametrize("names", [False, True])
def test_training_images_are_named_only_when_that_was_asked_for(
    served_model: ServedModel, images_folder: Path, names: bool
) -> None:
    with (
        running(served_model, show_names=names) as (address, _, _),
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        near = neighbours_part(answered(client, images_folder).text)
    assert near.count("<li>") == near.count("<img") == 3
    assert any(Path(name).name in near for name in training_names(images_folder)) == names


def test_other_patients_are_not_shown_beyond_this_machine(served_model: ServedModel, images_folder: Path) -> None:
    access = access_to("127.0.0.1", TOKEN, ("model.example.org",))
    headers = {"Host": "model.example.org", "Authorization": f"Bearer {TOKEN}"}
    with (
        running(served_model, access) as (address, _, _),
        httpx.Client(base_url=address, trust_env=False, headers=headers) as client,
    ):
        page = answered(client, images_folder)
        near = neighbours_part(page.text)
    assert page.status_code == 200
    assert (near.count("<li>"), near.count("<img"), near.count("<small")) == (3, 0, 3)
    assert not [name for name in training_names(images_folder) if Path(name).name in near]


def test_a_view_that_failed_leaves_the_answer(
    served_model: ServedModel, images_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_words: object) -> None:
        raise ArithmeticError

    with running(served_model) as (address, _, _), httpx.Client(base_url=address, trust_env=False) as client:
        monkeypatch.setattr(served_model, "view", fails)
        page = answered(client, images_folder)
    assert page.status_code == 200
    assert page.text.count('<rect width="100"') == 3
    assert not [attributes for tag, attributes in tags_of(page.text) if tag == "img"]


def test_a_large_page_goes_out_in_pieces(gate: Gate, images_folder: Path) -> None:
    images = [path.read_bytes() for path in sorted(images_folder.rglob("*.png"))[:40]]
    part = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n%b\r\n'
    body = [{"type": "http.request", "body": b"".join(part % image for image in images) + b"--x--"}]
    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/", "raw_path": b"/",
        "root_path": "", "query_string": b"", "server": ("127.0.0.1", 80), "client": None, "headers": headers,
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return body.pop() if body else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    awaited(gate(scope, receive, send))
    sizes = [len(message["body"]) for message in sent[1:]]
    assert sent[0]["status"] == 200
    assert int(dict(sent[0]["headers"])[b"content-length"]) == sum(sizes) > 200_000
    assert max(sizes) <= 65_536


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
    many = [("files", b"x")] * 65
    for language, words in (("en", "each frame counted: send at most 64."), ("zh", "最多发送 64 张")):
        refused = client.post(f"/?lang={language}", files=many)
        assert (refused.status_code, words in refused.text) == (413, True)


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
