"""What a study asks: which class, or which number. Everything that differs between the two stands here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clearmargin.evaluation.estimates import read_estimates, write_estimates
from clearmargin.evaluation.inference import softmax
from clearmargin.evaluation.predictions import read_predictions, write_predictions
from clearmargin.records import Estimates, Part, Predictions, Split


@dataclass(frozen=True)
class Classification:
    """Which of the classes; a network answers with logits (batch, classes)."""

    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Values a network gives for each sample."""
        return len(self.classes)

    def targets(self, split: Split, rows: np.ndarray) -> torch.Tensor:
        """Class numbers, int64 (rows,)."""
        number = {name: place for place, name in enumerate(self.classes)}
        return torch.tensor([number[label] for label in split.labels[rows]], dtype=torch.int64)

    def answers(self, split: Split, rows: np.ndarray, outputs: torch.Tensor) -> Predictions:
        """What outputs, float (rows, classes), mean."""
        return Predictions(split.names[rows], split.labels[rows], split.groups[rows], self.classes, softmax(outputs))

    def described(self) -> dict[str, Any]:
        """What travels with the weights."""
        return {"task": "classification", "classes": list(self.classes)}

    def write(self, path: Path, parts: Mapping[Part, Any]) -> None:
        """Write ``predictions.csv``."""
        write_predictions(path, parts)

    def read(self, path: Path) -> dict[Part, Predictions]:
        """Read ``predictions.csv``."""
        return read_predictions(path)


@dataclass(frozen=True)
class Regression:
    """Which number; a network answers with one standardised value (batch, 1).

    Attributes
    ----------
    name
        Column of the target.
    mean, std
        Of the target in the training part, in its unit: a network learns (target − mean) / std.
    """

    name: str
    mean: float
    std: float

    @property
    def outputs(self) -> int:
        """Values a network gives for each sample."""
        return 1

    def targets(self, split: Split, rows: np.ndarray) -> torch.Tensor:
        """Standardised targets, float32 (rows,)."""
        return torch.from_numpy(((split.labels[rows].astype(np.float64) - self.mean) / self.std).astype(np.float32))

    def values(self, outputs: torch.Tensor) -> np.ndarray:
        """Outputs, float (rows, 1), in the unit of the target: float64 (rows,)."""
        return outputs.squeeze(1).double().numpy() * self.std + self.mean

    def answers(self, split: Split, rows: np.ndarray, outputs: torch.Tensor) -> Estimates:
        """What outputs, float (rows, 1), mean."""
        targets = split.labels[rows].astype(np.float64)
        return Estimates(split.names[rows], targets, split.groups[rows], self.values(outputs))

    def described(self) -> dict[str, Any]:
        """What travels with the weights."""
        return {"task": "regression", "target": asdict(self)}

    def write(self, path: Path, parts: Mapping[Part, Any]) -> None:
        """Write ``predictions.csv``."""
        write_estimates(path, parts)

    def read(self, path: Path) -> dict[Part, Estimates]:
        """Read ``predictions.csv``."""
        return read_estimates(path)


Task = Classification | Regression


def task_of(split: Split, target: str | None) -> Task:
    """The task of a study, from its split; nothing but names of classes is taken from outside the training part."""
    if not split.numeric:
        return Classification(tuple(sorted(set(split.labels))))
    learned = split.labels[split.rows("train")].astype(np.float64)
    # The target may be the same in all training rows, of which the audit tells: a deviation of 1 then keeps its unit.
    return Regression(target or "target", float(learned.mean()), float(learned.std()) or 1.0)
