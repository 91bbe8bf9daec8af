"""The pages for people: images, the run's report, the model. Server-rendered, made pleasant by a little script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from fastapi import Request, Response
from starlette.responses import HTMLResponse, StreamingResponse

from clearmargin.language import LANGUAGES, language, tr, trn, using
from clearmargin.report import wording
from clearmargin.serving.card import card_html
from clearmargin.serving.problems import Problem
from clearmargin.serving.service import Service, Told
from clearmargin.serving.shown import Card, Showing, columns, csv_uri, formats, refused, shown

if TYPE_CHECKING:
    from fastapi import FastAPI

REPORT_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
LARGEST_PAGE = 100_000_000
_STATIC = {
    "style.css": ("clearmargin.report", "text/css"),  # one look for all pages
    "serve.css": ("clearmargin.serving", "text/css"),
    "serve.js": ("clearmargin.serving", "text/javascript"),
}
_PIECE = 65_536


def add_pages(app: FastAPI, service: Service) -> None:
    """Add the routes for people."""
    report = _content(service, "report.html")
    card = _content(service, "MODEL_CARD.md").decode("utf-8", "replace")

    async def images(request: Request) -> Response:
        if request.method != "POST":
            return _page(request, service, "images.html", cards=[], csv=None)
        try:
            told = await service.views(request)
        except Problem as problem:
            with using(_asked_language(request)):
                alone = refused(problem, _showing(service))
            return _page(request, service, "images.html", problem, cards=[alone], csv=None)
        return await asyncio.to_thread(_answered, request, service, told)

    async def report_page(request: Request) -> Response:
        return _page(request, service, "report.html")

    async def report_itself(_request: Request) -> Response:
        headers = {
            "Content-Security-Policy": REPORT_POLICY,
            "X-Frame-Options": "SAMEORIGIN",
            "Content-Length": str(len(report)),
        }
        return StreamingResponse(
            _pieces(report, service.limits.answer_seconds), media_type="text/html; charset=utf-8", headers=headers
        )

    async def model_page(request: Request) -> Response:
        return _page(request, service, "model.html", model=service.model.describe(), card=card_html(card))

    async def static(request: Request) -> Response:
        content, kind = _static_files()[request.url.path.rpartition("/")[2]]
        return Response(content, media_type=f"{kind}; charset=utf-8")

    app.add_route("/", images, methods=["GET", "POST"], include_in_schema=False)
    app.add_route("/report", report_page, methods=["GET"], include_in_schema=False)
    app.add_route("/report.html", report_itself, methods=["GET"], include_in_schema=False)
    app.add_route("/model", model_page, methods=["GET"], include_in_schema=False)
    for name in _STATIC:
        app.add_route(f"/static/{name}", static, methods=["GET"], include_in_schema=False)


def _answered(request: Request, service: Service, told: Sequence[Told]) -> Response:
    """The page with answers: many pictures, which take their time."""
    with using(_asked_language(request)):
        cards, csv = shown(service.model, told, _showing(service)), csv_uri(service.model, told)
    problems = [one.said for one in told if isinstance(one.said, Problem)]
    only = problems[0] if len(problems) == len(told) else None
    return _page(request, service, "images.html", only, cards=cards, csv=csv)


def _showing(service: Service) -> Showing:
    return Showing(service.limits, service.reads_dicom, pictures=service.access.local, names=service.show_names)


async def _pieces(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    """A large page bit by bit: a slow client has its time for each, and some for all of them."""
    end = time.monotonic() + seconds
    for start in range(0, len(content), _PIECE):
        if time.monotonic() > end:
            raise TimeoutError
        yield content[start : start + _PIECE]


def _content(service: Service, name: str) -> bytes:
    """A page of the run folder; nothing when it is missing."""
    path = service.model.run.folder / name
    return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST_PAGE else b""


def _page(request: Request, service: Service, template: str, problem: Problem | None = None, **values: Any) -> Response:
    asked = _asked_language(request)
    explicit = f"?lang={asked}" if "lang" in request.query_params else ""
    with using(asked):
        html = _templates().get_template(template).render(
            study=service.model.run.recipe.name, contender=service.model.contender.name,
            classes=service.model.contender.classes, columns=columns(service.model), limits=service.limits,
            leaky=bool(service.model.run.evaluation.get("leaky")), here=request.url.path, query=explicit,
            formats=formats(service.reads_dicom), reads_dicom=service.reads_dicom,
            address=str(request.base_url), **values,
        )  # fmt: skip
    status, headers = (200, {}) if problem is None else (problem.status, problem.headers)
    content = html.encode("utf-8", "replace")
    if len(content) <= _PIECE:
        return HTMLResponse(content, status, headers)
    sized = {**headers, "Content-Length": str(len(content))}
    return StreamingResponse(
        _pieces(content, service.limits.answer_seconds), status, sized, media_type="text/html; charset=utf-8"
    )


def _asked_language(request: Request) -> str:
    """``?lang=``, else the first that the browser prefers and we speak."""
    asked = request.query_params.get("lang", "")
    if asked in LANGUAGES:
        return asked
    preferred = (part.strip()[:2].lower() for part in request.headers.get("accept-language", "").split(","))
    return next((each for each in preferred if each in LANGUAGES), "en")


@cache
def _static_files() -> dict[str, tuple[bytes, str]]:
    return {name: ((resources.files(package) / name).read_bytes(), kind) for name, (package, kind) in _STATIC.items()}


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clearmargin.serving", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=wording.breakable, bytes_size=wording.bytes_size, count=wording.count, decimal=wording.decimal,
        estimate=wording.estimate, percent=wording.percent, short=wording.short, visible=wording.visible,
    )  # fmt: skip
    environment.globals.update(tr=tr, trn=trn, language=language, languages=LANGUAGES)
    environment.tests["card"] = lambda one: isinstance(one, Card)
    return environment
