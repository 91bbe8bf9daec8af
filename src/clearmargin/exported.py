"""A model that `clearmargin export` wrote as one ONNX file: what it says of itself, and its predictions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError, model_validator

from clearmargin.columns import standardised
from clearmargin.errors import RunFolderError, UsageError, WeightsError, WorkError
from clearmargin.evaluation.decision import read_decision
from clearmargin.foreign.graph import INPUT_TYPES, LARGEST_BYTES, GraphFacts, check_graph
from clearmargin.foreign.runtime import Session
from clearmargin.recipe_layers import Settings
from clearmargin.records import Columns
from clearmargin.trained import BATCH, TABLE_BATCH, TrainedContender

if TYPE_CHECKING:
    from clearmargin.evaluation.decision import Decision

PREFIX = "clearmargin."  # of the keys among an ONNX file's own metadata; each holds JSON
TYPES = {**INPUT_TYPES, 2: "uint8"}
LONGEST_METADATA = 50_000_000
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Deviation = Annotated[float, Field(ge=0)]


class Target(Settings):
    """What a regression learned: a network answers with (target - mean) / std."""

    name: Name
    mean: float
    std: float = Field(gt=0)


class About(Settings):
    """What an exported file says of itself: all that is needed to predict with it.

    ``input`` tells what goes in. ``normalised``: float32 (batch, channels, size_px, size_px), as `to_input` makes it,
    or (batch, 1, columns); ``image``: uint8 (batch, height, width, 3) of any size, in the order red, green, blue;
    ``square``: the same of ``size_px``, framed already; ``values``: float64 (batch, columns) as they stand in the
    table. What comes out are logits (batch, classes), or the standardised target (batch, 1). Logits are to be divided
    by the ``temperature`` before the softmax.
    """

    format: Literal[1]
    version: Name  # of clearmargin
    name: Name
    task: Literal["classification", "regression"]
    input: Literal["normalised", "image", "square", "values"]
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of model.safetensors
    quantised: bool = False
    leaky: bool = False
    classes: list[Name] | None = Field(default=None, min_length=2, max_length=65_536)
    target: Target | None = None
    size_px: int | None = Field(default=None, ge=8, le=2048)
    fit: Literal["pad", "stretch", "crop"] | None = None
    color: Literal["rgb", "gray"] | None = None
    trim: bool | None = None
    intensity: Literal["as-is", "standardised"] | None = None
    window: Literal["file", "auto"] | list[float] | None = None  # of DICOM files; None as "file"
    columns: list[Name] | None = Field(default=None, min_length=1, max_length=100_000)
    mean: list[float] = Field(min_length=1, max_length=100_000)
    std: list[Deviation] = Field(min_length=1, max_length=100_000)
    temperature: float = Field(default=1.0, gt=0)
    decision: dict[str, Any] | None = None

    @property
    def channels(self) -> int:
        """Of an image as the network takes it."""
        return 3 if self.color == "rgb" else 1

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        image = (self.size_px, self.fit, self.color, self.trim, self.intensity)
        if (self.columns is None) == (None in image) or (self.columns is not None and any(image)):
            raise ValueError("either images or rows of a table go in")
        inputs = self.channels if self.columns is None else len(self.columns)
        if len(self.mean) != inputs or len(self.std) != inputs:
            raise ValueError(f"'mean' and 'std' need {inputs} numbers")
        if isinstance(self.window, list) and not (len(self.window) == 2 and self.window[1] >= 1):
            raise ValueError("'window' needs a center, and a width of at least 1")
        if self.columns is None and (self.input == "values" or 0 in self.std):
            raise ValueError("'input' and 'std' do not fit images")
        if self.columns is not None and self.input not in ("normalised", "values"):
            raise ValueError("'input' does not fit the rows of a table")
        if (self.task == "classification") != (self.classes is not None) or (self.classes is None) != bool(self.target):
            raise ValueError("a classification has 'classes', a regression a 'target'")
        return self

    def as_properties(self) -> dict[str, str]:
        """Each as JSON under its key: the ``metadata_props`` of an ONNX file."""
        return {PREFIX + key: json.dumps(value) for key, value in self.model_dump(exclude_none=True).items()}

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Sizes of the input; None for those that are left open."""
        if self.columns is not None:
            return (None, len(self.columns)) if self.input == "values" else (None, 1, len(self.columns))
        if self.input == "normalised":
            return None, self.channels, self.size_px, self.size_px
        return (None, None, None, 3) if self.input == "image" else (None, self.size_px, self.size_px, 3)


INPUTS = {"normalised": "float32", "image": "uint8", "square": "uint8", "values": "float64"}


def describe_contender(contender: TrainedContender, *, version: str, leaky: bool) -> About:
    """What a file exported from a contender says of itself, with the network alone in it.

    The gate that tells images unlike the training part needs more of the network than its answer, and stays behind.
    """
    said = contender.description
    pre, decision = said["preprocessing"], contender.decision
    how = contender.preprocessing
    framing: dict[str, Any] = {"columns": list(how.names)} if isinstance(how, Columns) else how.as_json()
    return About(
        format=1,
        version=version,
        name=contender.name,
        task=said["task"],
        input="normalised",
        weights_sha256=said["weights_sha256"],
        leaky=leaky,
        classes=list(contender.classes) or None,
        target=Target.model_validate(said["target"]) if "target" in said else None,
        mean=[float(value) for value in pre["mean"]],
        std=[float(value) for value in pre["std"]],
        temperature=1.0 if decision is None else decision.temperature.value,
        decision=None if decision is None else replace(decision, gate=None).as_json(),
        **framing,
    )


@dataclass(frozen=True)
class ExportedContender(TrainedContender):
    """A contender from an exported file: it predicts as the one it was exported from, and has no gate.

    Attributes
    ----------
    about
        What the file says of itself.
    content
        Bytes of the file.
    facts
        What its graph says.
    """

    about: About = None  # type: ignore[assignment]  # the fields before it have defaults
    content: bytes = b""
    facts: GraphFacts = None  # type: ignore[assignment]

    def identity(self) -> str:
        """SHA-256 (hex) of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def history(self) -> pd.DataFrame:
        """No rows: the file does not say how it was learned."""
        return pd.DataFrame({"epoch": pd.Series(dtype=np.int64)})

    @cached_property
    def network(self) -> NoReturn:
        """Refused: what an ONNX file holds is run, and not opened.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError(f"'{self.name}' is an exported ONNX file, which has no layers to look into: give its run.")

    @cached_property
    def session(self) -> Session:
        """The network, loaded when it is first asked."""
        return Session(self.content, self.folder.name)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """What the network says of prepared images, uint8 (images, size_px, size_px, channels).

        Returns
        -------
        float64 (images, classes).

        Raises
        ------
        WorkError
            When the network fails, or gives no finite numbers of this shape.
        """
        return self._run(self.fed(pixels), len(self.classes))

    def outputs_of(self, fed: np.ndarray) -> np.ndarray:
        """What comes out when just this goes in: float64 (samples, outputs)."""
        return self._run(fed, max(1, len(self.classes)))

    def judged(self, pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities after temperature scaling, of prepared images; and no distances: it has no gate.

        Returns
        -------
        float64 (images, classes), and NaN of shape (images,).
        """
        portions = [np.stack(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        logits = np.concatenate([np.empty((0, len(self.classes))), *map(self.logits, portions)])
        return softmax(logits / self.about.temperature), np.full(len(logits), np.nan)

    def estimates(self, rows: np.ndarray) -> np.ndarray:
        """Values in the unit of the target, float64 (rows,), for rows of a table, float64 (rows, columns).

        Raises
        ------
        UsageError
            When the model answers with classes.
        WorkError
            When a row lies so far off that its answer is no finite number.
        """
        target = self.about.target
        if target is None:
            raise UsageError(f"'{self.name}' answers with classes, not with numbers.")
        portions = [self._fed_rows(rows[start : start + TABLE_BATCH]) for start in range(0, len(rows), TABLE_BATCH)]
        said = [self._run(portion, 1)[:, 0] for portion in portions]
        return np.concatenate([np.empty(0), *said]) * target.std + target.mean

    def fed(self, pixels: np.ndarray) -> np.ndarray:
        """Prepared images, uint8 (images, size_px, size_px, channels), as the graph takes them."""
        if self.about.input == "normalised":
            scale = np.array([1 / (255 * s) for s in self.about.std], dtype=np.float32)
            shift = np.array([m / s for m, s in zip(self.about.mean, self.about.std, strict=True)], dtype=np.float32)
            return np.ascontiguousarray((pixels.astype(np.float32) * scale - shift).transpose(0, 3, 1, 2))
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels

    def _fed_rows(self, rows: np.ndarray) -> np.ndarray:
        if self.about.input == "values":
            return rows.astype(np.float64)
        scaled = standardised(rows, tuple(self.about.mean), tuple(self.about.std))
        return scaled.astype(np.float32)[:, None, :]

    def _run(self, batch: np.ndarray, outputs: int) -> np.ndarray:
        said = self.session.outputs(self.facts.input_name, batch).astype(np.float64)
        if said.shape != (len(batch), outputs) or not np.isfinite(said).all():
            raise WorkError(
                f"{self.folder.name} gave no {outputs} finite numbers for each of {len(batch)} samples, but an array "
                f"of shape {said.shape}: the file can't be used, or a row lies too far from those it was trained on."
            )
        return said


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 (samples, classes), of logits of this shape."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-math.inf))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def is_exported(path: Path) -> bool:
    """Whether a path is a file that is called like an ONNX file, and no run folder."""
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def open_exported(path: Path) -> ExportedContender:
    """Read and check a file that `clearmargin export` wrote.

    Raises
    ------
    WeightsError
        When it can't be read, is no plain ONNX file, or is none that was exported by this version's format; or when
        its graph is not what it says of itself.
    MissingExtraError
        When ``onnx`` or ``onnxruntime`` is not installed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}.") from error
    if len(content) > LARGEST_BYTES:
        raise WeightsError(f"{path.name} is larger than {LARGEST_BYTES >> 30} GB: models of this size are not run.")
    return exported_contender(content, path)


def exported_contender(content: bytes, path: Path) -> ExportedContender:
    """The same of the bytes of such a file."""
    facts = check_graph(content, path.name, TYPES)
    about = _about(facts.properties, path.name)
    _check_shapes(about, facts, path.name)
    return ExportedContender(
        about.name, path, _description(about), _decision(about, path), about=about, content=content, facts=facts
    )


def _about(properties: Mapping[str, str], name: str) -> About:
    own = {key.removeprefix(PREFIX): text for key, text in properties.items() if key.startswith(PREFIX)}
    if "format" not in own:
        raise WeightsError(
            f"{name} was not written by `clearmargin export`: it does not say what its classes are and how images go "
            "in. A classifier from elsewhere can be a contender of a study: docs/recipe.md."
        )
    if sum(map(len, own.values())) > LONGEST_METADATA:
        raise WeightsError(f"{name} says too much of itself: more than {LONGEST_METADATA:,} characters.")
    try:
        return About.model_validate({key: json.loads(text) for key, text in own.items()})
    except (ValidationError, ValueError, RecursionError) as error:
        told = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, told["loc"]))
        raise WeightsError(
            f"What {name} says of itself is damaged, or of another version of clearmargin"
            f"{f' ({where!r})' if where else ''}: {told['msg'][:200]}. Export it again."
        ) from error


def _check_shapes(about: About, facts: GraphFacts, name: str) -> None:
    """Refuse a graph that takes or gives something else than the file says of itself."""
    outputs = len(about.classes) if about.classes is not None else 1
    wanted = (INPUTS[about.input], about.input_shape, (None, outputs))
    given = (facts.input_type, facts.input_shape, facts.output_shape)
    if given != wanted:
        raise WeightsError(
            f"The graph of {name} is not what the file says of itself: expected {_shapes(*wanted)}, got "
            f"{_shapes(*given)}. Export it again."
        )


def _shapes(kind: str, taken: Sequence[int | None], made: Sequence[int | None]) -> str:
    first, second = ("x".join("?" if size is None else str(size) for size in shape) for shape in (taken, made))
    return f"{kind} {first} in and {second} out"


def _description(about: About) -> dict[str, Any]:
    """The same as a ``model.json`` has it."""
    said = about.model_dump(exclude_none=True)
    framing = ("size_px", "fit", "color", "trim", "intensity", "window", "columns", "mean", "std")
    pre = {key: said[key] for key in framing if key in said}
    answer: dict[str, Any] = {key: said[key] for key in ("classes", "target") if key in said}
    training = {"precision": "float32"}
    about_weights = {"weights_sha256": about.weights_sha256}
    return {"task": about.task, **answer, "preprocessing": pre, "training": training, **about_weights}


def _decision(about: About, path: Path) -> Decision | None:
    try:
        decision = read_decision({"decision": about.decision, "classes": about.classes or ()}, path)
    except RunFolderError as error:
        raise WeightsError(
            f"The thresholds in {path.name} (fixed on the validation part) were changed since it was exported, or are "
            "damaged: export it again."
        ) from error
    if decision is not None and decision.temperature.value != about.temperature:
        raise WeightsError(f"{path.name} states two temperatures: it was changed since. Export it again.")
    return decision
