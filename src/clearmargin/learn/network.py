"""What a trained network makes of an image: its first filters, its maps layer by layer, its answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import nn

from clearmargin.errors import ImageError, SourceError, UsageError
from clearmargin.evaluation.explanations import first_filters, module_words, watched
from clearmargin.learn.operations import pool
from clearmargin.learn.pictures import Picture, picture, scale_of
from clearmargin.learn.subject import Subject
from clearmargin.trained import TrainedContender

MOST_FILTERS = 64
MAPS_SHOWN = 8
MAP_SIDE_PX = 64
MOST_STAGES = 24
CLASSES_SHOWN = 12
STRIP_COLUMNS, STRIP_LINES = 64, 8


@dataclass
class Stage:
    """One layer with the activation behind it, and what left it.

    Attributes
    ----------
    label
        ``conv 32, 3×3, ReLU``.
    shape
        (channels, height, width) or (values,).
    output
        float32 of that shape.
    """

    label: str
    shape: tuple[int, ...]
    output: np.ndarray

    @property
    def is_row(self) -> bool:
        """True for a row of values, and for maps of one value each."""
        return len(self.shape) != 3 or self.shape[1:] == (1, 1)

    @property
    def maps(self) -> list[tuple[int, Picture]]:
        """The channels in which most happens, with their numbers; none for a row of values."""
        if self.is_row:
            return []
        spread = self.output.std(axis=(1, 2))
        chosen = sorted(np.argsort(-spread, kind="stable")[:MAPS_SHOWN].tolist())
        return [(channel, _map_picture(self.output[channel])) for channel in chosen]

    @property
    def strip(self) -> Picture | None:
        """A row of values as a picture, cut into a few lines; None for maps."""
        if not self.is_row:
            return None
        columns = min(max(STRIP_COLUMNS, ceil(self.output.size / STRIP_LINES)), self.output.size)
        lines = np.zeros(ceil(self.output.size / columns) * columns)
        lines[: self.output.size] = self.output.reshape(-1)
        return picture(lines.reshape(-1, columns), scale_of(lines))

    @property
    def above_zero(self) -> int:
        """How many values are positive."""
        return int((self.output > 0).sum())


@dataclass(frozen=True)
class NetworkView:
    """A network and one image.

    Attributes
    ----------
    filters, filters_total, filters_learned
        Pictures of the first convolution's kernels, how many there are, and whether training changed them; none for a
        network without one.
    stages
        The layers in the order in which they work; those in the middle are left out of a very deep network.
    answers
        (class, logit, probability), the likeliest first; the rest of the classes is in ``others``.
    """

    contender: str
    seen: Picture
    filters: list[Picture] = field(default_factory=list)
    filters_total: int = 0
    filters_learned: bool = True
    filter_shape: str = ""
    stages: list[Stage] = field(default_factory=list)
    stages_left_out: int = 0
    answers: list[tuple[str, float, float]] = field(default_factory=list)
    others: int = 0


def look_inside(contender: TrainedContender, subject: Subject) -> NetworkView:
    """Send an image through a trained network and keep what every layer makes of it.

    Raises
    ------
    UsageError
        When the model does not classify images, or can't take this one.
    """
    _need_image_classifier(contender)
    try:
        pixels = contender.prepare(subject.content, subject.name)
    except ImageError as error:
        raise SourceError(str(error)) from error
    stages: list[Stage] = []
    with watched(contender.network, _recorder(stages)):
        probabilities = contender.probabilities([pixels])[0]
    ends_in_logits = bool(stages) and stages[-1].shape == probabilities.shape
    logits = stages[-1].output if ends_in_logits else np.log(np.maximum(probabilities, 1e-30))  # up to a constant
    order = np.argsort(-probabilities, kind="stable")
    answers = [(contender.classes[k], float(logits[k]), float(probabilities[k])) for k in order[:CLASSES_SHOWN]]
    first = first_filters(contender.network)
    weights = first.weights if first is not None else np.empty((0, 1, 1, 1))
    shown = _spread_out(stages)
    return NetworkView(
        contender=contender.name,
        seen=picture(pixels[..., 0] if pixels.shape[2] == 1 else pixels, "pixels"),
        filters=[_filter_picture(kernel) for kernel in weights[:MOST_FILTERS]],
        filters_total=len(weights),
        filters_learned=first is not None and first.learned,
        filter_shape="×".join(map(str, weights.shape[1:])),
        stages=shown,
        stages_left_out=len(stages) - len(shown),
        answers=answers,
        others=len(order) - len(answers),
    )


def _need_image_classifier(contender: TrainedContender) -> None:
    if contender.description.get("kind") == "onnx":
        raise UsageError(
            f"'{contender.name}' was trained elsewhere and is an ONNX file, which has no layers to look into: choose "
            "another contender with --contender."
        )
    task = contender.description.get("task", "classification")
    if "size_px" not in contender.description["preprocessing"] or task != "classification":
        takes = "an image" if "size_px" in contender.description["preprocessing"] else "rows of a table"
        raise UsageError(
            f"'{contender.name}' takes {takes} and its task is {task}: `learn --model` looks into models that classify "
            "images. Give the run of such a model, or leave --model out."
        )


def _recorder(stages: list[Stage]) -> Callable[..., None]:
    """What fills the list while a network works; a layer and what only reshapes or activates it are one stage."""

    def record(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        shape = tuple(output.shape[1:])
        values = output[0].detach().float().numpy().copy()  # an activation in place would change it later
        if _begins_a_stage(module):
            stages.append(Stage(re.sub(r"(?<=\d)x(?=\d)", "×", module_words(module)), shape, values))
        elif stages and _goes_on(module, shape, stages[-1].shape):
            stages[-1] = Stage(f"{stages[-1].label}, {_name(module)}", shape, values)

    return record


def _begins_a_stage(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear | nn.Flatten) or "pool" in type(module).__name__.lower()


def _goes_on(module: nn.Module, shape: tuple[int, ...], before: tuple[int, ...]) -> bool:
    if isinstance(module, nn.Dropout | nn.Identity):
        return False
    return shape == before or (len(shape) == len(before) and shape[1:] == before[1:])  # maxout: fewer channels


def _name(module: nn.Module) -> str:
    kind = type(module).__name__
    return "batch norm" if kind.startswith("BatchNorm") else kind


def _spread_out(stages: list[Stage]) -> list[Stage]:
    """At most `MOST_STAGES`, the first and the last among them."""
    places = np.unique(np.linspace(0, len(stages) - 1, min(len(stages), MOST_STAGES)).round().astype(int))
    return [stages[place] for place in places]


def _map_picture(values: np.ndarray) -> Picture:
    factor = ceil(max(values.shape) / MAP_SIDE_PX)
    small = pool(values, "average", min(factor, *values.shape))
    return picture(small, scale_of(small))


def _filter_picture(kernel: np.ndarray) -> Picture:
    """A kernel of one or three channels: mid-grey is zero."""
    return picture(kernel[0] if len(kernel) == 1 else kernel.transpose(1, 2, 0), "signed")
