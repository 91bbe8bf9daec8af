"""Who may ask: on every route, with every method."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import TOKEN, awaited

from clearmargin.errors import UsageError
from clearmargin.serving.access import Access, access_to, read_token
from clearmargin.serving.app import Gate, build_app
from clearmargin.serving.problems import Problem
from clearmargin.serving.service import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
OWN = ("host", "localhost:8000")
REFUSED = {
    "another host": ([("host", "evil.example")], 421),
    "another host with our port": ([("host", "evil.example:8000")], 421),
    "a name that begins like ours": ([("host", "localhost.evil.example")], 421),
    "an address of the network": ([("host", "192.168.0.7:8000")], 421),
    "a host with a user": ([("host", "localhost:8000@evil.example")], 421),
    "no host": ([], 421),
    "two hosts": ([OWN, ("host", "evil.example")], 421),
    "another origin": ([OWN, ("origin", "https://evil.example")], 403),
    "our origin on another port": ([OWN, ("origin", "http://localhost:3000")], 403),
    "our other name as the origin": ([OWN, ("origin", "http://127.0.0.1:8000")], 403),
    "an opaque origin": ([OWN, ("origin", "null")], 403),
    "no origin": ([OWN, ("origin", "")], 403),
    "two origins": ([OWN, ("origin", "http://localhost:8000"), ("origin", "http://evil.example")], 403),
    "another site": ([OWN, ("sec-fetch-site", "cross-site")], 403),
    "the same site, another origin": ([OWN, ("sec-fetch-site", "same-site")], 403),
    "a site that is not known": ([OWN, ("sec-fetch-site", "friendly")], 403),
}


def ask(gate: Gate, method: str, path: str, headers: list[tuple[str, str]], server: str = "127.0.0.1") -> int:
    """The status of the answer to a request without a body."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "server": (server, 8000),
        "client": ("127.0.0.1", 50000), "headers": [(name.encode(), value.encode()) for name, value in headers],
    }  # fmt: skip

    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return body.pop() if body else await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    awaited(gate(scope, receive, send))
    return sent[0]["status"]


def paths(gate: Gate) -> list[str]:
    """All routes there are, and one that is not."""
    return [route.path for route in gate.app.routes] + ["/nowhere"]


def test_the_routes_are_those_we_know(gate: Gate) -> None:
    assert sorted(paths(gate)) == [
        "/", "/health", "/metrics", "/model", "/nowhere", "/openapi.json", "/ready", "/report", "/report.html",
        "/static/serve.css", "/static/serve.js", "/static/style.css", "/v1/model", "/v1/predict",
    ]  # fmt: skip


@pytest.mark.parametrize(("headers", "status"), REFUSED.values(), ids=REFUSED)
def test_every_route_and_method_refuses(gate: Gate, headers: list[tuple[str, str]], status: int) -> None:
    found = {(path, method): ask(gate, method, path, headers) for path in paths(gate) for method in METHODS}
    assert {pair: said for pair, said in found.items() if said != status} == {}


def test_our_own_requests_pass_everywhere(gate: Gate) -> None:
    site = [OWN, ("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")]
    for path in paths(gate):
        expected = {"/nowhere": 404, "/v1/predict": 405}.get(path, 200)
        assert ask(gate, "GET", path, site) == expected, path
        assert ask(gate, "GET", path, [("host", "[::1]:8000"), ("sec-fetch-site", "none")]) == expected
    assert ask(gate, "POST", "/v1/predict", site) == 415


@pytest.mark.parametrize("said", [
    None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer ☃",
    "Basic " + base64.b64encode(b"user:wrong").decode(), "Basic %%%", f"Digest {TOKEN}",
])  # fmt: skip
def test_without_the_token_nothing_answers(service: Service, said: str | None) -> None:
    service.access = access_to("127.0.0.1", TOKEN)
    gate = build_app(service)
    headers = [OWN] if said is None else [OWN, ("authorization", said)]
    for path in paths(gate):
        assert {ask(gate, method, path, headers) for method in METHODS} == {401}, path


def test_the_token_opens_every_route(service: Service) -> None:
    service.access = access_to("127.0.0.1", TOKEN)
    gate = build_app(service)
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for said in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", f"Basic {basic}"):
        assert ask(gate, "GET", "/health", [OWN, ("authorization", said)]) == 200
    twice = [OWN, ("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")]
    assert ask(gate, "GET", "/health", twice) == 401
    evil = [("host", "evil.example"), ("authorization", f"Bearer {TOKEN}")]
    assert ask(gate, "GET", "/health", evil) == 421


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", "", "127.0.0.1.evil.example"])
def test_beyond_this_machine_a_token_is_needed(host: str) -> None:
    with pytest.raises(UsageError, match="needs a token"):
        access_to(host, None)
    assert access_to(host, TOKEN).token == TOKEN


def test_a_proxy_before_it_needs_a_token_too() -> None:
    for name in ("model.example.org", "MODEL.example.org:443", "192.168.0.7"):
        with pytest.raises(UsageError, match=r"With --allow-host .*needs a token"):
            access_to("127.0.0.1", None, (name,))
        assert not access_to("127.0.0.1", TOKEN, (name,)).local
    assert access_to("127.0.0.1", None, ("localhost", "127.0.0.2", "[::1]")).local
    assert access_to("localhost", None).local
    assert not access_to("0.0.0.0", TOKEN).local
    assert not access_to("192.168.0.7", TOKEN).local


@pytest.mark.parametrize("token", ["", "short", "with a space in it", "é" * 20, "x" * 2000, "line\nbreak-and-more"])
def test_a_token_that_is_too_short_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="The token must be"):
        access_to("127.0.0.1", token)


def refuses(access: Access, host: str, reached: str) -> bool:
    scope = {"headers": [(b"host", host.encode())], "server": (reached, 8000)}
    try:
        Access(access.names, access.every_address).check(scope)
    except Problem as problem:
        return problem.status == 421
    return False


def test_a_server_on_all_addresses_is_called_by_the_one_that_was_reached() -> None:
    access = access_to("0.0.0.0", TOKEN, ("Model.Example.org",))
    assert not refuses(access, "192.168.0.7:8000", "192.168.0.7")
    assert not refuses(access, "model.example.org", "192.168.0.7")
    assert refuses(access, "192.168.0.8:8000", "192.168.0.7")
    assert refuses(access, "evil.example", "192.168.0.7")
    assert not refuses(access_to("::", TOKEN), "[fe80::1]:8000", "fe80::1")
    assert not refuses(access_to("::", TOKEN), "192.168.0.7:8000", "::ffff:192.168.0.7")
    assert refuses(access_to("192.168.0.7", TOKEN), "192.168.0.9", "192.168.0.9")


def test_names_that_are_none_are_refused() -> None:
    for name in ("http://example.org", "a b", "x/y", ""):
        with pytest.raises(UsageError, match="not the name or address"):
            access_to("127.0.0.1", None, (name,))


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file, {"CLEARMARGIN_TOKEN": "another"}) == TOKEN
    assert read_token(None, {"CLEARMARGIN_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {"CLEARMARGIN_TOKEN": ""}) is None
    file.write_text("")
    with pytest.raises(UsageError, match="in one line"):
        read_token(file, {})
    with pytest.raises(UsageError, match="can't be read"):
        read_token(tmp_path / "missing", {})
