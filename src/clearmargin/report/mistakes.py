"""Every misclassified test image: which, how sure, and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clearmargin.evaluation.misclassified import confident_mistakes
from clearmargin.language import tr
from clearmargin.report.folder import ContenderFiles, RunFiles
from clearmargin.report.insides import Inside, Nearest
from clearmargin.report.thumbnails import Thumbnail
from clearmargin.report.wording import count, percent, plural, sentences

SHOWN_PER_CONTENDER = 200
SHOWN_IN_ALL = 1000
PICTURE_BYTES = 7_500_000  # of all pictures of mistakes; the look inside, text and figures need the rest of 15 MB
BARS = 4
PAGE = 50
SUREST = 12  # shown ahead of the mistakes sorted by class


@dataclass(frozen=True)
class Bar:
    """One class and its probability."""

    name: str
    probability: float
    true: bool
    predicted: bool


@dataclass(frozen=True)
class Mistake:
    """One misclassified image.

    Attributes
    ----------
    truth, predicted
        Columns of the classes.
    others
        What the other contenders made of it: (contender, predicted class, right).
    nearest
        The training image of the true class that the network finds most like it, when it was looked for.
    """

    name: str
    truth: int
    predicted: int
    confidence: float
    bars: tuple[Bar, ...]
    others: tuple[tuple[str, str, bool], ...]
    picture: Thumbnail | None
    nearest: Nearest | None


@dataclass(frozen=True)
class Album:
    """Mistakes shown under one heading: the surest, one cell of the confusion matrix, or a page of a long list."""

    identifier: str
    truth: str
    predicted: str
    title: str
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class Gallery:
    """The mistakes of one contender."""

    contender: str
    slug: str
    total: int
    sentence: str
    albums: tuple[Album, ...]


def chosen(contender: ContenderFiles, limit: int) -> np.ndarray:
    """Rows of the mistakes that are shown: int64, at most ``limit``, the most confident first.

    Where not all can be shown, the surest are, and then the most confident ones of every cell of the confusion matrix
    in turn, so that no kind of mistake is hidden by a more frequent one.
    """
    rows = confident_mistakes(contender.predictions)
    if len(rows) <= limit:
        return rows
    cells = contender.truth[rows] * len(contender.predictions.classes) + contender.predicted[rows]
    turn = pd.Series(cells).groupby(cells).cumcount().to_numpy(copy=True)
    turn[:SUREST] = -1
    return rows[np.sort(np.argsort(turn, kind="stable")[:limit])]


def most_shown(contenders: int) -> int:
    """How many mistakes of each contender the page may show at most."""
    return max(10, min(SHOWN_PER_CONTENDER, SHOWN_IN_ALL // contenders))


def within_budget(
    run: RunFiles, pictures: Mapping[str, Thumbnail], insides: Mapping[str, Inside], budget: float = PICTURE_BYTES
) -> int:
    """How many mistakes of each contender fit into the page with their pictures."""
    limit = most_shown(len(run.contenders))
    sizes = np.zeros(limit)
    for contender in run.contenders:
        neighbours = insides[contender.name].nearest if contender.name in insides else {}
        for place, row in enumerate(chosen(contender, limit)):
            name = contender.predictions.names[row]
            near = neighbours.get(name)
            shown = (pictures.get(name), near.picture if near else None)
            times = 2 if place < SUREST else 1
            sizes[place] += times * sum(len(picture.uri) for picture in shown if picture)
    return max(1, int(np.searchsorted(np.cumsum(sizes), budget, side="right")))


def gallery(
    run: RunFiles,
    contender: ContenderFiles,
    limit: int,
    pictures: Mapping[str, Thumbnail],
    by_cell: bool,
    nearest: Mapping[str, Nearest],
) -> Gallery:
    """Arrange the mistakes of one contender, the most confident first.

    Parameters
    ----------
    limit
        At most so many are shown.
    by_cell
        After the `SUREST`, group them all by true and predicted class, the largest group first; otherwise in pages.
    nearest
        For the names of mistakes, the nearest training image.
    """
    rows, total = chosen(contender, limit), contender.result["errors"]
    position = {other.name: _rows_by_name(other) for other in run.contenders if other is not contender}
    shown = [_mistake(run, contender, row, position, pictures, nearest) for row in rows]
    albums = _by_cell(run, contender, shown) if by_cell else _in_pages(contender, shown)
    if by_cell and len(albums) > 1:
        surest = tuple(shown[:SUREST])
        title = tr("All, the most confident first")
        if len(surest) < total:
            title = tr("The {n} most confident", n=count(len(surest)))
        albums = (Album(f"{contender.slug}-surest", "", "", title, surest), *albums)
    return Gallery(contender.name, contender.slug, total, _sentence(run, total, len(shown)), albums)


def _sentence(run: RunFiles, total: int, shown: int) -> str:
    tested = run.evaluation["n"]
    images = plural(tested, "test image")
    if not total:
        return tr("None: all {images} were classified correctly.", images=images)
    values = {"n": count(total), "images": images, "share": percent(total / tested)}
    sentence = tr("{n} of {images} ({share}), the most confident mistake first.", **values)
    if shown < total:
        rest = tr(
            "{shown} of {n} mistakes shown: the most confident ones of each cell; all are in {file}.",
            shown=count(shown), n=count(total), file="predictions.csv",
        )  # fmt: skip
        sentence = sentences(sentence, rest)
    return sentence


def _rows_by_name(contender: ContenderFiles) -> dict[str, int]:
    return {name: row for row, name in enumerate(contender.predictions.names)}


def _mistake(
    run: RunFiles,
    contender: ContenderFiles,
    row: int,
    position: Mapping[str, Mapping[str, int]],
    pictures: Mapping[str, Thumbnail],
    nearest: Mapping[str, Nearest],
) -> Mistake:
    name = contender.predictions.names[row]
    probabilities = contender.predictions.probabilities[row]
    truth, predicted = int(contender.truth[row]), int(contender.predicted[row])
    classes = contender.predictions.classes
    columns = [int(k) for k in np.argsort(-probabilities, kind="stable")[:BARS]]
    if truth not in columns:
        columns[-1] = truth
    bars = tuple(Bar(classes[k], float(probabilities[k]), k == truth, k == predicted) for k in columns)
    others = []
    for other in run.contenders:
        at = position.get(other.name, {}).get(name)
        if at is not None:
            right = bool(other.predicted[at] == other.truth[at])
            others.append((other.name, other.predictions.classes[other.predicted[at]], right))
    confidence = float(probabilities[predicted])
    return Mistake(name, truth, predicted, confidence, bars, tuple(others), pictures.get(name), nearest.get(name))


def _by_cell(run: RunFiles, contender: ContenderFiles, shown: Sequence[Mistake]) -> tuple[Album, ...]:
    cells: dict[tuple[int, int], list[Mistake]] = {}
    for mistake in shown:
        cells.setdefault((mistake.truth, mistake.predicted), []).append(mistake)
    classes = run.evaluation["classes"]
    return tuple(
        Album(f"{contender.slug}-{t}-{p}", classes[t], classes[p], plural(len(found), "image"), tuple(found))
        for (t, p), found in sorted(cells.items(), key=lambda cell: -len(cell[1]))
    )


def _in_pages(contender: ContenderFiles, shown: Sequence[Mistake]) -> tuple[Album, ...]:
    return tuple(
        Album(
            f"{contender.slug}-page-{start // PAGE + 1}",
            "",
            "",
            tr("Mistakes {first} to {last}", first=count(start + 1), last=count(min(start + PAGE, len(shown)))),
            tuple(shown[start : start + PAGE]),
        )
        for start in range(0, len(shown), PAGE)
    )
