"""The application: routes behind one gate that every request passes, whatever its path and method."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clearmargin import __version__
from clearmargin.serving.failures import say_where
from clearmargin.serving.interface import NOTICE, add_interface
from clearmargin.serving.pages import add_pages
from clearmargin.serving.problems import MEDIA_TYPE, Problem
from clearmargin.serving.service import Service

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Request, Exception], Awaitable[Response]]

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # no-referrer would make the Origin of our own form "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_FAILED = Problem("failed", "Something went wrong in the server. It goes on.")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class Gate:
    """Stands before the application: checks who asks, adds the headers of every answer, counts, and hides failures."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        self.app, self._service = app, service
        self._paths = {getattr(route, "path", "") for route in app.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        began, answer = time.monotonic(), _Answering(send)
        try:
            self._service.access.check(scope)
            await self.app(scope, receive, answer.send)
        except Problem as problem:
            self._service.metrics.refused.add(problem.kind)
            await _send(answered(problem), answer, scope, receive)
        except Exception as error:
            say_where("A request", error)
            if not answer.begun:
                await _send(answered(_FAILED), answer, scope, receive)
            elif not answer.finished:
                raise ConnectionAbortedError from None  # the connection is cut, and the client notices
        finally:
            self._count(scope, answer.status, time.monotonic() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        metrics, method = self._service.metrics, scope["method"]
        route = scope["path"] if scope["path"] in self._paths else "none"  # what else is asked for may hold a name
        metrics.requests.add(route, method if method in METHODS else "other", str(status))
        metrics.seconds.add(seconds)


class _Answering:
    """Passes an answer on, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.finished = send, 0, False

    @property
    def begun(self) -> bool:
        return self.status > 0

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": given + [pair for pair in more if pair[0] not in names]}
        await self._send(message)
        self.finished = message["type"] == "http.response.body" and not message.get("more_body", False)


def answered(problem: Problem) -> Response:
    """A problem as an answer."""
    return Response(problem.body, problem.status, problem.headers, MEDIA_TYPE)


async def _send(response: Response, answer: _Answering, scope: Scope, receive: Receive) -> None:
    await response(scope, receive, answer.send)


def build_app(service: Service) -> Gate:
    """The application of a service.

    Nothing is told to OpenTelemetry, whatever the environment asks for. The OpenAPI document lists the routes for
    programs; those for people are beside them. ``/docs`` is left out: it would load scripts from elsewhere.
    """
    app = FastAPI(
        title=f"clearmargin: {service.model.run.recipe.name}",
        version=__version__,
        description=NOTICE,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    add_interface(app, service)
    add_pages(app, service)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(ClientDisconnect, _gone)
    for kind, problem_of in ((Problem, _itself), (HTTPException, _of_routing), (RequestValidationError, _of_values)):
        app.add_exception_handler(kind, _answering(service, problem_of))
    return Gate(app, service)


def _answering(service: Service, problem_of: Callable[[Any], Problem]) -> Handler:
    """A handler that counts a problem and answers with it."""

    async def handle(_request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        service.metrics.refused.add(problem.kind)
        return answered(problem)

    return handle


async def _failed(_request: Request, _error: Exception) -> Response:
    return answered(_FAILED)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody gets it; it is counted


def _itself(problem: Problem) -> Problem:
    return problem


def _of_routing(error: HTTPException) -> Problem:
    allowed = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    if error.status_code == 405:
        return Problem("wrong-method", "This address takes other methods: see the Allow header.", allowed)
    if error.status_code == 404:
        return Problem("not-found", "There is nothing at this address.")
    return Problem("bad-request", "The request can't be understood.")


def _of_values(_error: RequestValidationError) -> Problem:
    return Problem("bad-request", "A parameter of the request is not what was expected.")
