"""From a trained network to answers: what is fixed on the validation part, before anybody looks at the test part."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from clearmargin.errors import DivergenceError
from clearmargin.evaluation.calibration import fit_temperature
from clearmargin.evaluation.decision import Decision, fit_decision
from clearmargin.evaluation.gate import (
    MOST_TRAINING,
    TrainingFeatures,
    fit_gate,
    fit_training_features,
    made_images,
    write_distances,
)
from clearmargin.evaluation.neighbours import evenly_spaced
from clearmargin.evaluation.watching import watching
from clearmargin.files import file_sha256, write_tensors
from clearmargin.models import Network
from clearmargin.models.inputs import to_input
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.records import Columns, Estimates, Inputs, Part, Predictions, Split
from clearmargin.task import Classification, Task
from clearmargin.training.feeds import Feeds, Report
from clearmargin.training.loop import computing_in, forward

CHUNK = 1024  # rows whose features are held at once; a multiple of the loop's batch
MADE_BATCH = 8


@dataclass
class Deciding:
    """One contender after training: its parts pass in order, training and validation before the test part.

    Attributes
    ----------
    folder
        Of the contender; ``gate.safetensors`` and ``gate.csv`` go there.
    distances
        How far the images of each part that passed lie from the training part.
    known
        What the training part looks like; None until `decide`, and for a model of a table.
    """

    task: Task
    split: Split
    inputs: Inputs
    network: Network
    feeds: Feeds
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    precision: torch.dtype
    folder: Path
    report: Report
    distances: dict[str, np.ndarray] = field(default_factory=dict)
    known: TrainingFeatures | None = None

    def decide(self, asked: EvaluationSettings) -> tuple[Decision | None, Predictions | Estimates]:
        """Fix temperature and thresholds; return them, none for a regression, and what is said of the validation part.

        ``gate.safetensors`` is written, of a network of images.
        """
        rows = self.split.rows("validation")
        if not isinstance(self.task, Classification):
            return None, self.task.answers(self.split, rows, self._outputs("validation"))
        images = not isinstance(self.inputs.preprocessing, Columns)
        digest = self._learn_training_part() if images else ""
        outputs = self._outputs("validation")
        temperature = fit_temperature(outputs.numpy(), self.task.targets(self.split, rows).numpy())
        said = self.task.answers(self.split, rows, outputs.double() / temperature.value)
        gate = fit_gate(self.distances["validation"], asked.gate_false_alarms, digest, said.groups) if images else None
        return fit_decision(said, temperature, asked, gate), said

    def answers(self, part: Part, decision: Decision | None) -> Predictions | Estimates:
        """What the contender says of a part; probabilities are those after temperature scaling."""
        outputs = self._outputs(part)
        if decision is not None:
            outputs = outputs.double() / decision.temperature.value
        return self.task.answers(self.split, self.split.rows(part), outputs)

    def write_distances(self) -> None:
        """Write ``gate.csv``: distances of the parts that passed, and of images of nothing; of a table, nothing."""
        if self.known is None:
            return
        made = made_images(self.inputs.preprocessing.shape)
        found = {kind: self._distances_of(pixels, self.known) for kind, pixels in made.items()}
        judged: tuple[Part, ...] = ("validation", "test")
        names: dict[str, np.ndarray] = {part: self.split.names[self.split.rows(part)] for part in judged}
        write_distances(self.folder / "gate.csv", {**self.distances, **found}, names)

    def _learn_training_part(self) -> str:
        """Write ``gate.safetensors``, and return its SHA-256."""
        rows = self.split.rows("train")
        labels = np.unique(self.split.labels[rows].astype(str), return_inverse=True)[1]
        rows = rows[evenly_spaced(labels, MOST_TRAINING)]
        with watching(self.network) as watch:
            self._pass(rows)
            self.known = fit_training_features(watch.take())
        path = self.folder / "gate.safetensors"
        write_tensors(path, {name: torch.from_numpy(values) for name, values in vars(self.known).items()})
        return file_sha256(path)

    def _outputs(self, part: Part) -> torch.Tensor:
        """Float32 (samples, outputs); distances are kept on the way."""
        rows = self.split.rows(part)
        if self.known is None:
            return self._pass(rows)
        pieces, distances = [], []
        with watching(self.network) as watch:
            for start in range(0, len(rows), CHUNK):
                pieces.append(self._pass(rows[start : start + CHUNK]))
                distances.append(self.known.distances(watch.take()))
        self.distances[part] = np.concatenate(distances)
        return torch.cat(pieces)

    def _pass(self, rows: np.ndarray) -> torch.Tensor:
        outputs = forward(self.feeds.model, self.feeds.plain(rows, self.report), self.precision)
        if not bool(torch.isfinite(outputs).all()):
            raise DivergenceError(
                "After training, some of its answers are no numbers: the weights have become too large. The learning "
                "rate is probably too high: try a tenth of it."
            )
        return outputs

    def _distances_of(self, pixels: np.ndarray, known: TrainingFeatures) -> np.ndarray:
        self.network.eval()
        with watching(self.network) as watch, torch.inference_mode(), computing_in(self.precision):
            for start in range(0, len(pixels), MADE_BATCH):
                self.network(to_input(pixels[start : start + MADE_BATCH], *self.normalisation))
            return known.distances(watch.take())
