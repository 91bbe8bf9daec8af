"""The look inside the networks: what the run folder keeps of it, as the page shows it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmargin.errors import RunFolderError
from clearmargin.report.folder import ContenderFiles, RunFiles
from clearmargin.report.thumbnails import Thumbnail, load_picture, load_thumbnails

INSIDE_BYTES = 3_500_000  # of the pictures in this part of the page
LARGEST_FILE = 10_000_000
_LUMINANCE = {"gray": 1.0, "red": 0.2126, "green": 0.7152, "blue": 0.0722}  # of each channel at full (sRGB)
_PICTURE = re.compile(r"[a-z0-9-]{1,40}\.(jpg|png)")


@dataclass(frozen=True)
class Answer:
    """One test image and what the contender said of it."""

    name: str
    label: str
    predicted: str
    probability: float
    true_probability: float
    picture: Thumbnail | None

    @property
    def right(self) -> bool:
        """True when the class is the true one."""
        return self.label == self.predicted


@dataclass(frozen=True)
class Channel:
    """The numbers of one channel of an image."""

    name: str
    rows: tuple[tuple[int, ...], ...]

    @property
    def black_ink_from(self) -> int:
        """The smallest value on which black can be read better than white (256: none), by WCAG 2's contrast ratio."""
        middle = math.sqrt(0.05 * 1.05) - 0.05  # the relative luminance as far from black as from white
        linear = middle / _LUMINANCE[self.name]
        return 256 if linear > 1 else math.ceil(255 * (1.055 * linear ** (1 / 2.4) - 0.055))


@dataclass(frozen=True)
class Matrix:
    """An image as numbers; ``block_px`` above 1: means over squares of so many pixels."""

    size: tuple[int, ...]
    block_px: int
    channels: tuple[Channel, ...]


@dataclass(frozen=True)
class Filters:
    """The first layer's filters."""

    layer: str
    filters: int
    shown: int
    channels: int
    learned: bool
    picture: Thumbnail | None


@dataclass(frozen=True)
class Stage:
    """The strongest maps of one stage."""

    layer: str
    shape: tuple[int, ...]
    shown: int
    picture: Thumbnail | None


@dataclass(frozen=True)
class Look:
    """Where the network looked: for the class it said, and for the true one where that is another."""

    answer: Answer
    said: Thumbnail | None
    true: Thumbnail | None


@dataclass(frozen=True)
class Looks:
    """Grad-CAM of right and of wrong answers."""

    layer: str
    shape: tuple[int, ...]
    right: tuple[Look, ...]
    wrong: tuple[Look, ...]


@dataclass(frozen=True)
class Nearest:
    """The training image of the true class that the network finds most like a mistake."""

    name: str
    distance: float
    picture: Thumbnail | None


@dataclass(frozen=True)
class Inside:
    """A look inside one contender.

    Attributes
    ----------
    sample_right
        True when the contender chosen on validation, whichever it is, gets the sample right.
    bytes
        What its pictures take in the page.
    """

    contender: str
    slug: str
    sample: Answer
    sample_right: bool
    matrix: Matrix
    filters: Filters | None
    stages: tuple[Stage, ...]
    looks: Looks | None
    nearest: Mapping[str, Nearest]
    compared: int
    candidates: int
    bytes: int


def read_insides(run: RunFiles) -> dict[str, Inside]:
    """Read what `look_inside` left of each contender, by name; a contender without is absent.

    Raises
    ------
    RunFolderError
        When an ``inside.json`` is damaged.
    """
    found = {}
    for contender in run.contenders:
        folder = run.folder / "contenders" / contender.slug / "inside"
        if (folder / "inside.json").is_file():
            found[contender.name] = _read(contender, folder)
    return found


def within_budget(insides: Mapping[str, Inside], budget: float) -> list[Inside]:
    """Those whose pictures take no more than so many bytes (the first in any case), in the order of the contenders."""
    kept: list[Inside] = []
    spent = 0
    for inside in insides.values():
        spent += inside.bytes
        if spent <= budget or not kept:
            kept.append(inside)
    return kept


def _read(contender: ContenderFiles, folder: Path) -> Inside:
    path = folder / "inside.json"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}, expected 1")
        return _Reader(folder).inside(contender, content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunFolderError(
            f"{path} can't be read ({type(error).__name__}: {error}). Delete the folder {folder.name} to write the "
            "report without a look inside this network."
        ) from error


class _Reader:
    """Turns JSON into what the page shows, and counts the bytes of the pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._bytes = folder, 0

    def inside(self, contender: ContenderFiles, content: Mapping[str, Any]) -> Inside:
        sample, nearest = content["sample"], content["nearest"]
        pairs = {str(pair["name"]): (str(pair["nearest"]), _real(pair["distance"])) for pair in nearest["pairs"]}
        pictures = load_thumbnails(self._folder / "nearest", sorted({name for name, _ in pairs.values()}))
        return Inside(
            contender=contender.name,
            slug=contender.slug,
            sample=self._answer(sample),
            sample_right=bool(sample.get("chosen_right", True)),
            matrix=_matrix(sample),
            filters=_if(content["filters"], self._filters),
            stages=tuple(self._stage(stage) for stage in content["maps"]),
            looks=_if(content["grad_cam"], self._looks),
            nearest={of: Nearest(name, distance, pictures.get(name)) for of, (name, distance) in pairs.items()},
            compared=int(nearest["compared"]),
            candidates=int(nearest["candidates"]),
            bytes=self._bytes,
        )

    def _picture(self, name: str | None) -> Thumbnail | None:
        if name is None:
            return None
        match = _PICTURE.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not the name of one of its pictures")
        picture = load_picture(self._folder / name, "jpeg" if match[1] == "jpg" else "png")
        self._bytes += len(picture.uri) if picture else 0
        return picture

    def _answer(self, said: Mapping[str, Any]) -> Answer:
        numbers = _real(said["probability"]), _real(said["true_probability"])
        picture = self._picture(said["picture"])
        return Answer(str(said["name"]), str(said["label"]), str(said["predicted"]), *numbers, picture)

    def _filters(self, said: Mapping[str, Any]) -> Filters:
        counts = int(said["filters"]), int(said["shown"]), int(said["channels"])
        return Filters(str(said["layer"]), *counts, bool(said["learned"]), self._picture(said["picture"]))

    def _stage(self, said: Mapping[str, Any]) -> Stage:
        shape = _sides(said["shape"], 3)
        return Stage(str(said["layer"]), shape, len(said["channels"]), self._picture(said["picture"]))

    def _looks(self, said: Mapping[str, Any]) -> Looks:
        looks = [
            Look(self._answer(look), self._picture(look["said"]), self._picture(look.get("true")))
            for look in said["looks"]
        ]
        right = tuple(look for look in looks if look.answer.right)
        wrong = tuple(look for look in looks if not look.answer.right)
        return Looks(str(said["layer"]), _sides(said["shape"], 2), right, wrong)


def _if(said: Mapping[str, Any] | None, read: Callable[[Mapping[str, Any]], Any]) -> Any:
    return None if said is None else read(said)


def _sides(said: Sequence[Any], many: int) -> tuple[int, ...]:
    """So many whole numbers of at least 1."""
    sides = tuple(int(side) for side in said)
    if len(sides) != many or min(sides) < 1:
        raise ValueError(f"a shape is {list(said)!r}, expected {many} sides of at least 1")
    return sides


def _real(said: Any) -> float:
    number = float(said)
    if not math.isfinite(number):
        raise ValueError(f"{said!r} is not a finite number")
    return number


def _matrix(sample: Mapping[str, Any]) -> Matrix:
    said = sample["matrix"]
    channels = tuple(
        Channel(str(channel["name"]), tuple(tuple(int(value) for value in row) for row in channel["rows"]))
        for channel in said["channels"]
    )
    size, block_px = _sides(sample["size"], 2), int(said["block_px"])
    if block_px < 1 or any(channel.name not in _LUMINANCE for channel in channels):
        raise ValueError(f"its numbers are means over {block_px} pixels of {[channel.name for channel in channels]}")
    return Matrix(size, block_px, channels)
