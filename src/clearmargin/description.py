"""A recipe's networks as tables of layers: nothing is decoded, trained, or given weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clearmargin.errors import SourceError, UsageError
from clearmargin.foreign import count_parameters
from clearmargin.models import MOST_OUTPUTS, build_network
from clearmargin.models.rows import LayerRow, Shape
from clearmargin.preparation import named, open_data, own_column
from clearmargin.recipe import AnyContender, Contender, Data, load_recipe
from clearmargin.sources import open_table_source
from clearmargin.sources.catalogue import find, local_copy


@dataclass(frozen=True)
class NetworkDescription:
    """One contender's network, layer by layer; of one that was trained elsewhere only its size is known.

    Attributes
    ----------
    published
        Parameters of a network that was trained elsewhere.
    input
        (channels, height, width) of an image, or (1, columns) of a table, as this network takes it.
    """

    name: str
    architecture: str
    layers: tuple[LayerRow, ...]
    published: int = 0
    input: Shape = ()

    @property
    def trained(self) -> int:
        """Parameters that training changes."""
        return sum(row.parameters for row in self.layers if row.trained)

    @property
    def frozen(self) -> int:
        """Parameters that stay as they come."""
        return self.published + sum(row.parameters for row in self.layers if not row.trained)

    @property
    def multiply_adds(self) -> int:
        """Of one sample, forwards."""
        return sum(row.multiply_adds for row in self.layers)

    def as_json(self) -> dict[str, Any]:
        """The same, for programs."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "input": list(self.input),
            "parameters": {"total": self.trained + self.frozen, "trained": self.trained, "frozen": self.frozen},
            "multiply_adds": self.multiply_adds,
            "layers": [{**asdict(row), "output": list(row.output)} for row in self.layers],
        }


@dataclass(frozen=True)
class StudyDescription:
    """The networks of a recipe, and what goes in and out.

    Attributes
    ----------
    input
        (channels, height, width) of an image, or (1, columns) of a table.
    outputs
        Classes; or 1, to learn numbers.
    """

    name: str
    task: str
    input: Shape
    outputs: int
    contenders: tuple[NetworkDescription, ...]

    def as_json(self) -> dict[str, Any]:
        """The same, for programs."""
        return {
            "name": self.name,
            "task": self.task,
            "input": list(self.input),
            "outputs": self.outputs,
            "contenders": [each.as_json() for each in self.contenders],
        }


def describe(
    recipe: str | Path,
    *,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    classes: int | None = None,
) -> StudyDescription:
    """Describe the networks of a recipe.

    Parameters
    ----------
    recipe, data, overrides
        As for `clearmargin.study.run`; of the data only the list of samples is read. A named set of images need
        not be on this machine: the catalogue knows how many classes it has.
    classes
        How many there are, when the data are not at hand. Data that are given all the same have to agree; those that
        the recipe names are not looked at.

    Raises
    ------
    RecipeError
        When the recipe is wrong, or a layer does not fit the shape that reaches it.
    SourceError
        When the data that would say how many classes or columns there are can't be used.
    UsageError
        When ``classes`` can't be, or are not those of the data.
    """
    settings = load_recipe(recipe, overrides, named(data) if data is not None else None)
    if settings.task == "regression":
        if classes is not None:
            raise UsageError("A regression has one output, and no classes: leave --classes out.")
        shape: Shape = (1, _columns(settings.data, own_column(settings.split), given=data is not None))
        outputs = 1
    else:
        shape = settings.data.preprocessing.shape
        outputs = _classes(settings.data, classes, given=data is not None)
    with torch.device("meta"):  # shapes without numbers: no memory, no time
        described = [_described(contender, shape, outputs) for contender in settings.contender]
    return StudyDescription(settings.name, settings.task, shape, outputs, tuple(described))


def _described(contender: AnyContender, shape: Shape, outputs: int) -> NetworkDescription:
    if isinstance(contender, Contender):
        own = shape if contender.size_px is None else (shape[0], contender.size_px, contender.size_px)
        network = build_network(contender, own, outputs)
        return NetworkDescription(contender.name, contender.architecture, tuple(network.table), input=own)
    return NetworkDescription(contender.name, "onnx", (), count_parameters(contender))


def _classes(data: Data, asked: int | None, *, given: bool) -> int:
    """How many classes: as asked for, or as the data or the catalogue say; ``given`` data have to bear it out."""
    if asked is not None and not 2 <= asked <= MOST_OUTPUTS:
        raise UsageError(f"--classes must be between 2 and {MOST_OUTPUTS:,}, got {asked:,}.")
    if asked is not None and not given:
        return asked
    found = _classes_of(data)
    if asked not in (None, found):
        raise UsageError(f"--classes says {asked:,}, but {data.source} has {found:,}: leave --classes out.")
    return found


def _classes_of(data: Data) -> int:
    if data.source is None:
        raise SourceError(
            "The recipe names no data, so how many classes there are is not known: give --data PATH or --classes N."
        )
    dataset = find(data.source)
    if dataset is not None and dataset.classes is not None and local_copy(data.source) is None:
        return dataset.classes
    try:
        labels = {sample.label for sample in open_data(data).samples}
    except SourceError as error:
        raise SourceError(f"{error} To describe the networks without the data, give --classes N.") from error
    if len(labels) < 2:
        raise SourceError(f"The data have {len(labels)} class, and telling classes apart takes at least 2.")
    return len(labels)


def _columns(data: Data, group_by: str | None, *, given: bool) -> int:
    """How many columns the recipe lists, or the table has; ``given`` data have to have what is listed."""
    if data.features is not None and not given:
        return len(data.features)
    if data.source is None or data.target is None:
        raise SourceError(
            "The recipe names no table, so how many columns it has is not known: give --data PATH, or list them in "
            "[data] features."
        )
    return len(open_table_source(data.source, data.target, data.features, group_by=group_by).columns)
