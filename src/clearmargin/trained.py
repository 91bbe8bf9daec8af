"""One trained model of a run, ready to predict."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from clearmargin.decoding import prepared_pixels
from clearmargin.errors import ImageError, UsageError, WeightsError
from clearmargin.evaluation.abstention import confidences_of
from clearmargin.files import file_sha256, read_table, sealed
from clearmargin.recipe import Contender
from clearmargin.records import Columns, Preprocessing
from clearmargin.sources.cells import LARGEST
from clearmargin.sources.container import read_image

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from clearmargin.evaluation.decision import Decision
    from clearmargin.evaluation.gate import TrainingFeatures
    from clearmargin.models import Network
    from clearmargin.task import Task

    Picture: TypeAlias = str | Path | bytes | np.ndarray | Image

BATCH = 8
TABLE_BATCH = 4096
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


@dataclass(frozen=True)
class TrainedContender:
    """One trained model of a run.

    Attributes
    ----------
    name
        As in the recipe.
    folder
        ``contenders/SLUG`` of the run.
    description
        What ``model.json`` says: classes, preprocessing, parameters, how training went.
    decision
        Temperature and thresholds, fixed on the validation part; None for a regression and for runs of older versions.
    """

    name: str
    folder: Path
    description: Mapping[str, Any]
    decision: Decision | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities; none for a regression."""
        return tuple(self.description.get("classes", ()))

    @property
    def task(self) -> Task:
        """What the network was trained to answer."""
        from clearmargin.task import Classification, Regression

        if self.description["task"] == "regression":
            return Regression(**self.description["target"])
        return Classification(self.classes)

    @property
    def preprocessing(self) -> Preprocessing | Columns:
        """How an image, or a row of a table, becomes what the network takes."""
        said = self.description["preprocessing"]
        if "columns" in said:
            return Columns(tuple(said["columns"]))
        window = said.get("window", "file")
        return Preprocessing(
            said["size_px"],
            said["fit"],
            said["color"],
            said.get("trim", False),
            said.get("intensity", "as-is"),
            (float(window[0]), float(window[1])) if isinstance(window, list) else window,
        )

    def identity(self) -> str:
        """SHA-256 (hex) over what ``model.json`` says, the hash of the weights included: another model has another."""
        return str(sealed(self.description)["content_sha256"])

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: losses, accuracies, learning rate, seconds."""
        return read_table(self.folder / "history.csv")

    @cached_property
    def network(self) -> Network:
        """The network with its weights, checked against the SHA-256 in ``model.json``, in evaluation mode.

        Raises
        ------
        WeightsError
            When the weights are not those the run was finished with.
        """
        import torch

        from clearmargin.models import build_network, load_weights

        path = self.folder / "model.safetensors"
        if not path.is_file():
            raise WeightsError(f"The weights of '{self.name}' are missing: there is no {path}.")
        if file_sha256(path) != self.description["weights_sha256"]:
            raise WeightsError(
                f"The weights of '{self.name}' in {path} are not those this run was finished with: the SHA-256 "
                "differs from model.json. Take the folder from where it is whole, or run the study again."
            )
        architecture = Contender.model_validate(self.description["architecture"])
        network = build_network(architecture, self.preprocessing.shape, self.task.outputs)
        load_weights(network, path)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training: faster
        return network.eval()

    def predict(self, samples: Picture | Sequence[Picture] | pd.DataFrame) -> pd.DataFrame:
        """Predict the class of images, or the target of rows of a table.

        Parameters
        ----------
        samples
            One image or several: paths, encoded bytes, Pillow images, uint8 arrays of shape
            (height, width[, 3]), or one array of shape (images, height, width, 3). For a model of a table: a
            DataFrame that has its columns.

        Returns
        -------
        One row per sample: ``image`` (name or number), ``predicted``, and a column of probabilities per class; then
        ``set`` (the classes of the conformal set, a tuple), ``abstain`` (True: too unsure to count) and
        ``unlike`` (True: unlike the images the model was trained on). Of a table ``row`` and ``predicted``, in the
        unit of the target.

        Raises
        ------
        ImageError
            Naming the first image that can't be decoded.
        UsageError
            When the model takes images and gets a table, the other way round, or a table without its columns.
        """
        if isinstance(self.preprocessing, Columns):
            return self._predict_rows(samples)
        if isinstance(samples, pd.DataFrame):
            raise UsageError(f"'{self.name}' takes images, got a table.")
        several = isinstance(samples, list | tuple) or (isinstance(samples, np.ndarray) and samples.ndim == 4)
        listed: list[Any] = list(samples) if several else [samples]  # type: ignore[arg-type]
        names = [
            image.name if isinstance(image, Path) else image if isinstance(image, str) else str(number)
            for number, image in enumerate(listed)
        ]
        pixels = [self.prepare(image, name) for image, name in zip(listed, names, strict=True)]
        return self.table(names, *self.judged(pixels))

    def _predict_rows(self, table: Any) -> pd.DataFrame:
        columns = list(self.description["preprocessing"]["columns"])
        if not isinstance(table, pd.DataFrame):
            raise UsageError(f"'{self.name}' takes a table with the columns {', '.join(columns)}: give a DataFrame.")
        lacking = [name for name in columns if name not in table.columns]
        if lacking:
            raise UsageError(f"The table lacks {', '.join(map(repr, lacking))}, which '{self.name}' needs.")
        twins = [name for name in columns if list(table.columns).count(name) > 1]
        if twins:
            raise UsageError(f"The table has several columns called {', '.join(map(repr, twins))}: expected one.")
        values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
        sound = np.abs(values) <= LARGEST  # no number: not sound either
        if not sound.all():
            row, column = np.argwhere(~sound)[0]
            what = f"a number beyond ±{LARGEST:g}" if np.isfinite(values[row, column]) else "no number"
            raise UsageError(f"Row {row + 1} of the table has {what} for {columns[column]!r}.")
        return pd.DataFrame({"row": table.index.to_numpy(), "predicted": self.estimates(values)})

    def prepare(self, image: Picture, name: str) -> np.ndarray:
        """Decode one image as the training images were: uint8 (size_px, size_px, channels)."""
        how = self.preprocessing
        if isinstance(how, Columns):
            raise UsageError(f"'{self.name}' takes rows of a table, not images.")
        try:
            return prepared_pixels(_content(image), how)
        except ImageError as error:
            raise ImageError(f"{name} can't be used: {error}") from error

    def probabilities(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities after temperature scaling, float64 (images, classes), of prepared images."""
        return self.judged(pixels)[0]

    def judged(self, pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities after temperature scaling, and how far prepared images lie from the training part.

        Returns
        -------
        float64 (images, classes) and (images,); the second is NaN where the contender has no gate.
        """
        from clearmargin.evaluation.inference import softmax
        from clearmargin.evaluation.watching import watching

        temperature = 1.0 if self.decision is None else self.decision.temperature.value
        said, distances = [np.empty((0, len(self.classes)))], [np.empty(0)]
        batches = (np.stack(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH))
        with watching(self.network) as watch:
            for outputs in self._outputs(batches):
                said.append(softmax(outputs.double() / temperature))
                features, known = watch.take(), self._training_features
                distances.append(np.full(len(outputs), np.nan) if known is None else known.distances(features))
        return np.concatenate(said), np.concatenate(distances)

    @cached_property
    def _training_features(self) -> TrainingFeatures | None:
        """What the training part looks like, checked against the SHA-256 in ``model.json``; None without a gate."""
        if self.decision is None or self.decision.gate is None:
            return None
        from clearmargin.evaluation.gate import read_training_features

        return read_training_features(self.folder, self.decision.gate)

    def estimates(self, rows: np.ndarray) -> np.ndarray:
        """Values in the unit of the target, float64 (rows,), for rows of a table, float64 (rows, columns).

        Raises
        ------
        UsageError
            When the model answers with classes, or a row lies so far off that its answer is no finite number.
        """
        from clearmargin.task import Regression

        task = self.task
        if not isinstance(task, Regression):
            raise UsageError(f"'{self.name}' answers with classes, not with numbers.")
        batches = (rows[start : start + TABLE_BATCH] for start in range(0, len(rows), TABLE_BATCH))
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.concatenate([np.empty(0), *map(task.values, self._outputs(batches))])
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
            raise UsageError(
                f"'{self.name}' has no finite number for row {row}: it lies too far from the rows it was trained on. "
                "Check their units."
            )
        return values

    def _outputs(self, batches: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
        """What the network says of each batch, float32 (batch, outputs), computed as in training."""
        import torch

        from clearmargin.models.inputs import to_input
        from clearmargin.training.loop import computing_in

        said = self.description["preprocessing"]
        precision = getattr(torch, self.description["training"]["precision"])  # as in training: the same answers
        with torch.inference_mode(), computing_in(precision):
            for batch in batches:
                yield self.network(to_input(batch, tuple(said["mean"]), tuple(said["std"]))).float()

    def table(self, names: Sequence[str], probabilities: np.ndarray, distances: np.ndarray) -> pd.DataFrame:
        """Names, probabilities and what follows from them as the table `predict` returns."""
        frame = pd.DataFrame(probabilities, columns=list(self.classes))
        best = [self.classes[number] for number in probabilities.argmax(axis=1)]
        frame.insert(0, "predicted", np.array(best, dtype=object), allow_duplicates=True)
        frame.insert(0, "image", np.array(names, dtype=object), allow_duplicates=True)
        for heading, values in self.decided(probabilities, distances).items():
            frame.insert(len(frame.columns), heading, values, allow_duplicates=True)
        return frame

    def decided(self, probabilities: np.ndarray, distances: np.ndarray) -> dict[str, np.ndarray]:
        """The columns ``set``, ``abstain`` and ``unlike``, as far as the contender has what they take.

        Parameters
        ----------
        probabilities, distances
            As `judged` returns them.
        """
        if self.decision is None:
            return {}
        sets = self.decision.conformal.sets(probabilities, self.classes)
        held = np.empty(len(sets), dtype=object)
        for number, inside in enumerate(sets):  # one by one: NumPy would make an array of tuples of one length
            held[number] = tuple(self.classes[place] for place in np.flatnonzero(inside))
        unsure = ~self.decision.abstention.accepted(confidences_of(probabilities))
        gate = self.decision.gate
        unlike = {} if gate is None else {"unlike": gate.unlike(distances)}
        return {"set": held, "abstain": unsure, **unlike}


def _content(image: Any) -> bytes | np.ndarray:
    if isinstance(image, str | Path):
        return read_image_file(Path(image))
    if isinstance(image, bytes | np.ndarray):
        return image
    return _encoded(image)


def read_image_file(path: Path) -> bytes:
    """The bytes of one image file.

    Raises
    ------
    ImageError
        When it can't be read, is not a regular file, or is too large to be one image.
    """
    try:
        if path.exists() and not path.is_file():
            raise ImageError("it is not a regular file")
        with path.open("rb") as file:
            content = read_image(file)
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    if isinstance(content, ImageError):  # raised itself, it would hold on to this frame, and that to it
        raise ImageError(str(content), transient=content.transient)
    return content


def _encoded(image: Image) -> bytes:
    """A Pillow image as a file, so that its mode and orientation are treated as those of files."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    (upright if upright.mode in PNG_MODES else upright.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
