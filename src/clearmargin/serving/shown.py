"""What the page shows of an answer, in the words of the language of the moment."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from clearmargin.language import tr
from clearmargin.prediction import FilePredictions
from clearmargin.report.wording import bytes_size, count, percent
from clearmargin.serving.limits import Limits
from clearmargin.serving.model import Answer, ServedModel, View
from clearmargin.serving.problems import Problem

MOST_BARS = 8


@dataclass(frozen=True)
class Bar:
    """Probability of one class; ``held``: it is in the conformal set."""

    name: str
    probability: float
    predicted: bool
    held: bool


@dataclass(frozen=True)
class Near:
    """A training image that the network finds alike."""

    name: str
    label: str
    distance: float
    picture: str


@dataclass(frozen=True)
class Card:
    """One answered image.

    Attributes
    ----------
    row
        Its line of the CSV table without the name, as JSON, for the script that puts the lines together.
    bars, rest
        The most probable classes, and how many more there are.
    heat
        A data URI; None when there is no map.
    near
        None when the pixels of the training images are not here.
    compared
        How many training images were compared with, while that is not all of them; else empty.
    """

    number: int
    answer: Answer
    row: str
    headline: str
    set_words: str | None
    bars: tuple[Bar, ...]
    rest: int
    picture: str
    tiny: bool
    heat: str | None
    near: tuple[Near, ...] | None
    compared: str


@dataclass(frozen=True)
class Refused:
    """An image, or a request, that was not answered."""

    number: int
    title: str
    detail: str


def shown(model: ServedModel, found: Sequence[tuple[Answer, View] | Problem], limits: Limits) -> list[Card | Refused]:
    """What the page shows of each image of a request."""
    return [
        refused(one, limits, number) if isinstance(one, Problem) else _card(model, number, *one)
        for number, one in enumerate(found, start=1)
    ]


def _card(model: ServedModel, number: int, answer: Answer, view: View) -> Card:
    classes = model.contender.classes
    held = answer.set or ()
    order = sorted(range(len(classes)), key=lambda k: -answer.probabilities[k])
    bars = tuple(
        Bar(classes[k], answer.probabilities[k], classes[k] == answer.predicted, classes[k] in held) for k in order
    )
    near = view.neighbours and tuple(
        Near(one.name, one.label, one.distance, _data_uri(one.picture, "png")) for one in view.neighbours
    )
    return Card(
        number=number,
        answer=answer,
        row=json.dumps(_row(answer)),
        headline=headline(answer),
        set_words=set_words(model, answer),
        bars=bars[:MOST_BARS],
        rest=max(0, len(bars) - MOST_BARS),
        picture=_data_uri(view.picture, "png"),
        tiny=model.preprocessing.size_px <= 96,
        heat=None if view.heat is None else _data_uri(view.heat, "webp"),
        near=near or None,
        compared=_compared(model),
    )


def _compared(model: ServedModel) -> str:
    images = model.training_images
    if images is None or images.done >= images.total:
        return ""
    return tr("{n} of {all} looked at", n=count(images.done), all=count(images.total))


def headline(answer: Answer) -> str:
    """The most important thing about an answer."""
    if answer.unlike:
        return tr("Does not look like the training images")
    if answer.abstain:
        return tr("Not sure: please refer")
    return answer.predicted


def set_words(model: ServedModel, answer: Answer) -> str | None:
    """The conformal set as a sentence; None without one."""
    decision = model.contender.decision
    if answer.set is None or decision is None:
        return None
    confidence = percent(1 - decision.conformal.error_rate, 0)
    if not answer.set:
        return tr("None of the classes, at {confidence} confidence", confidence=confidence)
    if len(answer.set) == len(model.contender.classes):
        return tr("Any of the classes, at {confidence} confidence", confidence=confidence)
    return tr("{classes}, at {confidence} confidence", classes=either(answer.set), confidence=confidence)


def either(words: Sequence[str]) -> str:
    """Write words as ``a, b or c``."""
    if len(words) == 1:
        return words[0]
    return tr("{first} or {last}", first=tr(", ").join(words[:-1]), last=words[-1])


def refused(problem: Problem, limits: Limits, number: int = 1) -> Refused:
    """A problem in words for the page."""
    said = {
        "too-large": tr(
            "An image may have {bytes} and {pixels} pixels, a request {images} images.",
            bytes=bytes_size(limits.image_bytes),
            pixels=count(limits.image_pixels),
            images=limits.request_images,
        ),
        "wrong-format": tr("Send images: JPEG, PNG, TIFF, BMP, GIF, WebP or PNM."),
        "unusable-image": tr("The file is damaged, or of a kind that can't be read."),
        "unusable-request": tr("Choose at least one image."),
        "overloaded": tr("The server has too much to do just now: try again in a moment."),
        "deadline": tr("The server has too much to do just now: try again in a moment."),
        "not-ready": tr("The server is about to end."),
        "too-slow": tr("The image came too slowly. Try again."),
    }
    return Refused(number, tr("This image was not looked at"), said.get(problem.kind, problem.detail))


def columns(model: ServedModel) -> list[str]:
    """Headings of the CSV table behind the name of the image."""
    return ["predicted", *model.contender.classes, "set", "abstain", "unlike"]


def _row(answer: Answer) -> list[str | float | bool | None]:
    held = None if answer.set is None else " | ".join(answer.set)
    return [answer.predicted, *answer.probabilities, held, answer.abstain, answer.unlike]


def csv_uri(model: ServedModel, found: Sequence[tuple[Answer, View] | Problem]) -> str | None:
    """The answered images as a CSV table in a data URI; None when there are none."""
    import pandas as pd

    rows = [[str(number), *_row(one[0])] for number, one in enumerate(found, start=1) if not isinstance(one, Problem)]
    if not rows:
        return None
    table = pd.DataFrame(rows)
    table.columns = pd.Index(["image", *columns(model)], dtype=object)
    text = FilePredictions(model.contender.name, table, {}, model.contender.classes).as_csv()
    return _data_uri(text.encode("utf-8", "replace"), None)


def _data_uri(content: bytes, picture: str | None) -> str:
    kind = "text/csv;charset=utf-8" if picture is None else f"image/{picture}"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
