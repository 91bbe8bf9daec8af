"""The interface for programs: ``/v1/predict``, ``/v1/model``, health and metrics, with their OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from clearmargin.serving.metrics import CONTENT_TYPE
from clearmargin.serving.model import Answer
from clearmargin.serving.problems import MEDIA_TYPE, Problem
from clearmargin.serving.service import Service, Told

if TYPE_CHECKING:
    from fastapi import FastAPI

NOTICE = "Research use only, not a medical device."


class ProblemDetails(BaseModel):
    """RFC 9457: what went wrong."""

    type: str = Field(description="urn:clearmargin:problem:KIND")
    title: str
    status: int
    detail: str


class ModelName(BaseModel):
    """Which model answered."""

    study: str
    contender: str
    sha256: str = Field(description="Of the weights, hex.")


class Prediction(BaseModel):
    """What the model says of one image."""

    image: int = Field(description="The place of its file in the request, from 0.")
    frame: int | None = Field(description="Of a DICOM file with several frames: which, from 1; else null.")
    predicted: str
    probabilities: dict[str, float] = Field(description="By class, after temperature scaling.")
    set: list[str] | None = Field(description="Conformal set: holds the true class at the confidence; null: unknown.")
    confidence: float | None = Field(description="At which the set was made: one minus its error rate.")
    abstain: bool | None = Field(description="True: too unsure to count, refer the image; null: unknown.")
    unlike: bool | None = Field(description="True: unlike the images the model was trained on; null: unknown.")


class Unusable(BaseModel):
    """An image of the request that could not be used."""

    image: int = Field(description="The place of its file in the request, from 0.")
    frame: int | None = Field(description="Of a DICOM file with several frames: which, from 1; else null.")
    problem: ProblemDetails


class Predictions(BaseModel):
    """Answers to a request of which at least one image could be used."""

    model: ModelName
    notice: str
    predictions: list[Prediction | Unusable] = Field(description="In the order of the images.")


class Figure(BaseModel):
    """A figure of the test part, with its interval."""

    value: float | None
    low: float | None
    high: float | None
    method: str | None = None


class Compared(BaseModel):
    """How many training images new ones are compared with by now, of how many."""

    compared: int
    of: int


class ModelDescription(ModelName):
    """What the model is, and how good it was on the test part."""

    clearmargin: str
    classes: list[str]
    preprocessing: dict[str, Any]
    parameters: int | None
    temperature: float | None
    error_rate: float | None
    abstain_below: float | None
    gate: bool
    explains: bool
    leaky: bool
    test_images: int | None
    figures: dict[str, Figure]
    training_images: Compared | None


class State(BaseModel):
    """How the server is."""

    status: str


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for OpenAPI; those of every route are among them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    titles = {
        400: "not understood", 401: "no token", 403: "from another site", 405: "another method is needed",
        408: "too slow", 413: "too large", 415: "wrong format", 421: "wrong host", 422: "unusable", 429: "overloaded",
        500: "the server failed", 503: "not ready, or not in time",
    }  # fmt: skip
    wanted = {400, 401, 403, 405, 421, *statuses}
    return {status: {"description": titles[status], "content": content} for status in sorted(wanted)}


_IMAGE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {"files": {"type": "array", "minItems": 1, "items": _IMAGE}},
                }
            },
            "application/octet-stream": {"schema": _IMAGE},
        },
    }
}


def add_interface(app: FastAPI, service: Service) -> None:
    """Add the routes for programs."""
    named = {name: service.model.describe()[name] for name in ("study", "contender", "sha256")}

    async def predict(request: Request) -> Response:
        """What the model says of one or several images. Their names are not read, and nothing is kept.

        A DICOM file with several frames has an answer for each.
        """
        told = await service.answers(request)
        problems = [one.said for one in told if isinstance(one.said, Problem)]
        if len(problems) == len(told):
            raise problems[0]
        return _json({"model": named, "notice": NOTICE, "predictions": answers_json(service, told)})

    async def model() -> Response:
        """What the model is: classes, preprocessing, hash, thresholds, and its figures on the test part."""
        return _json(service.model.describe())

    async def health() -> Response:
        """The server runs."""
        return _json({"status": "running"})

    async def ready() -> Response:
        """The server takes images."""
        if service.ending or not service.worker.alive:
            raise Problem("not-ready", "The server is about to end.")
        return _json({"status": "ready"})

    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    many = refusals(408, 413, 415, 422, 429, 500, 503)
    app.add_api_route(
        "/v1/predict", predict, methods=["POST"], response_model=Predictions, responses=many, openapi_extra=_BODY
    )
    app.add_api_route("/v1/model", model, methods=["GET"], response_model=ModelDescription, responses=refusals())
    app.add_api_route("/health", health, methods=["GET"], response_model=State, responses=refusals())
    app.add_api_route("/ready", ready, methods=["GET"], response_model=State, responses=refusals(503))
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    app.add_api_route(
        "/metrics", metrics, methods=["GET"], response_class=Response, responses={**refusals(), 200: text}
    )


def answers_json(service: Service, told: Sequence[Told]) -> list[dict[str, Any]]:
    """Answers and problems as `Predictions` lists them."""
    decision = service.model.contender.decision
    confidence = None if decision is None else 1.0 - decision.conformal.error_rate
    listed: list[dict[str, Any]] = []
    for one in told:
        place, said = {"image": one.file, "frame": one.frame}, one.said
        if isinstance(said, Problem):
            listed.append({**place, "problem": said.as_json()})
            continue
        answer = said if isinstance(said, Answer) else said[0]
        listed.append(
            {
                **place,
                "predicted": answer.predicted,
                "probabilities": dict(zip(service.model.contender.classes, answer.probabilities, strict=True)),
                "set": None if answer.set is None else list(answer.set),
                "confidence": None if answer.set is None else confidence,
                "abstain": answer.abstain,
                "unlike": answer.unlike,
            }
        )
    return listed


def _json(content: Mapping[str, Any]) -> Response:
    return Response(json.dumps(content, allow_nan=False).encode("ascii"), media_type="application/json")
