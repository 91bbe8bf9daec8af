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
from clearmargin.serving.service import Told
from clearmargin.serving.training_images import Compared, Neighbour

MOST_BARS = 8


@dataclass(frozen=True)
class Showing:
    """What the page may show.

    Attributes
    ----------
    pictures, names
        Of training images: of other patients.
    """

    limits: Limits
    reads_dicom: bool
    pictures: bool
    names: bool


@dataclass(frozen=True)
class Bar:
    """Probability of one class; ``held``: it is in the conformal set."""

    name: str
    probability: float
    predicted: bool
    held: bool


@dataclass(frozen=True)
class Near:
    """A training image that the network finds alike; without name or picture where they are not to be shown."""

    name: str | None
    label: str
    distance: float
    picture: str | None


@dataclass(frozen=True)
class Card:
    """One answered image.

    Attributes
    ----------
    number, frame
        Which file, and which of its frames where there are several, from 1.
    row
        Its line of the CSV table without the name, as JSON, for the script that puts the lines together.
    bars, rest
        The most probable classes, and how many more there are.
    picture, heat
        Data URIs; None when there is no picture, or no map.
    near
        None when the pixels of the training images are not here.
    compared
        How many training images were compared with, while that is not all of them; else empty.
    """

    number: int
    frame: int | None
    answer: Answer
    row: str
    headline: str
    set_words: str | None
    bars: tuple[Bar, ...]
    rest: int
    picture: str | None
    tiny: bool
    heat: str | None
    near: tuple[Near, ...] | None
    compared: str


@dataclass(frozen=True)
class Refused:
    """An image, or a request, that was not answered."""

    number: int
    frame: int | None
    title: str
    detail: str


def shown(model: ServedModel, told: Sequence[Told], showing: Showing) -> list[Card | Refused]:
    """What the page shows of each image of a request."""
    cards: list[Card | Refused] = []
    for one in told:
        if isinstance(one.said, Problem):
            cards.append(refused(one.said, showing, one.file + 1, one.frame))
        elif not isinstance(one.said, Answer):
            cards.append(_card(model, one, *one.said, showing))
    return cards


def _card(model: ServedModel, one: Told, answer: Answer, view: View | None, showing: Showing) -> Card:
    classes = model.contender.classes
    held = answer.set or ()
    order = sorted(range(len(classes)), key=lambda k: -answer.probabilities[k])
    bars = tuple(
        Bar(classes[k], answer.probabilities[k], classes[k] == answer.predicted, classes[k] in held) for k in order
    )
    neighbours = view.neighbours if view is not None else None
    return Card(
        number=one.file + 1,
        frame=one.frame,
        answer=answer,
        row=json.dumps(_row(answer)),
        headline=headline(answer),
        set_words=set_words(model, answer),
        bars=bars[:MOST_BARS],
        rest=max(0, len(bars) - MOST_BARS),
        picture=None if view is None else _data_uri(view.picture, "png"),
        tiny=model.preprocessing.size_px <= 96,
        heat=None if view is None or view.heat is None else _data_uri(view.heat, "webp"),
        near=tuple(_near(each, showing) for each in neighbours) if neighbours else None,
        compared="" if view is None or view.compared is None else _compared(view.compared),
    )


def _near(one: Neighbour, showing: Showing) -> Near:
    picture = _data_uri(one.picture, "png") if showing.pictures else None
    return Near(one.name if showing.names else None, one.label, one.distance, picture)


def _compared(images: Compared) -> str:
    if images.done >= images.total:
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


def refused(problem: Problem, showing: Showing, number: int = 1, frame: int | None = None) -> Refused:
    """A problem in words for the page."""
    limits = showing.limits
    said = {
        "too-large": tr(
            "An image may have {bytes} and {pixels} pixels, a request {images} images.",
            bytes=bytes_size(limits.image_bytes),
            pixels=count(limits.image_pixels),
            images=limits.request_images,
        ),
        "too-many": tr(
            "Too many images at once, each frame counted: send at most {n}.",
            n=count(problem.most or limits.request_images),
        ),
        "wrong-format": tr("Send images: {formats}.", formats=formats(showing.reads_dicom)),
        "no-dicom": tr(
            "It is DICOM, for which this server lacks a part. Whoever runs it can install that: {command}",
            command='pip install "clearmargin[dicom]"',
        ),
        "unusable-image": tr("The file is damaged, or of a kind that can't be read."),
        "unusable-request": tr("Choose at least one image."),
        "overloaded": tr("The server has too much to do just now: try again in a moment."),
        "deadline": tr("The server has too much to do just now: try again in a moment."),
        "not-ready": tr("The server is about to end."),
        "too-slow": tr("The image came too slowly. Try again."),
    }
    return Refused(number, frame, tr("This image was not looked at"), said.get(problem.kind, problem.detail))


def formats(reads_dicom: bool) -> str:
    """What may be sent, in words."""
    if reads_dicom:
        return tr("JPEG, PNG, TIFF, BMP, GIF, WebP, PNM or DICOM")
    return tr("JPEG, PNG, TIFF, BMP, GIF, WebP or PNM")


def columns(model: ServedModel) -> list[str]:
    """Headings of the CSV table behind the name of the image."""
    return ["predicted", *model.contender.classes, "set", "abstain", "unlike"]


def _row(answer: Answer) -> list[str | float | bool | None]:
    held = None if answer.set is None else " | ".join(answer.set)
    return [answer.predicted, *answer.probabilities, held, answer.abstain, answer.unlike]


def csv_uri(model: ServedModel, told: Sequence[Told]) -> str | None:
    """The answered images as a CSV table in a data URI; None when there are none."""
    import pandas as pd

    rows = [[_name(one), *_row(one.said[0])] for one in told if not isinstance(one.said, Problem | Answer)]
    if not rows:
        return None
    table = pd.DataFrame(rows)
    table.columns = pd.Index(["image", *columns(model)], dtype=object)
    text = FilePredictions(model.contender.name, table, {}, model.contender.classes).as_csv()
    return _data_uri(text.encode("utf-8", "replace"), None)


def _name(one: Told) -> str:
    """As `clearmargin predict` names frames."""
    return f"{one.file + 1}" if one.frame is None else f"{one.file + 1}#{one.frame}"


def _data_uri(content: bytes, picture: str | None) -> str:
    kind = "text/csv;charset=utf-8" if picture is None else f"image/{picture}"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
