"""What a training minimises and is judged by: class labels, or numbers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch.nn import functional

from clearmargin.recipe import Training


class Objective(Protocol):
    """A loss, the figures of a part, and which epoch is the better one."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What the optimiser makes small, a scalar."""
        ...

    def shares(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Figures of a batch that average to those of an epoch."""
        ...

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Figures of a whole part; ``loss`` is without smoothing or class weights."""
        ...

    def score(self, measures: dict[str, float]) -> float:
        """Larger is better; what the best epoch is chosen by."""
        ...


class ClassLabels:
    """Cross-entropy on class numbers.

    Outputs are logits, float32 (samples, classes); targets are int64 (samples,).
    """

    def __init__(self, settings: Training, classes: int, targets: torch.Tensor) -> None:
        self._smoothing, self._classes = settings.label_smoothing, classes
        self._weights = class_weights(targets, classes) if settings.class_weights else None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, self._weights, label_smoothing=self._smoothing)

    def shares(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {"accuracy": (outputs.argmax(dim=1) == targets).float().mean().item()}

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        predicted = outputs.argmax(dim=1)
        hits = torch.bincount(targets[predicted == targets], minlength=self._classes)
        present = torch.bincount(targets, minlength=self._classes)
        recall = hits[present > 0] / present[present > 0]
        return {
            "loss": functional.cross_entropy(outputs, targets).item(),
            **self.shares(outputs, targets),
            "balanced_accuracy": recall.mean().item(),
        }

    def score(self, measures: dict[str, float]) -> float:
        """Balanced accuracy, and among equals the smaller loss."""
        return measures["balanced_accuracy"] - 1e-6 * min(measures["loss"], 1e3)


class Numbers:
    """Squared, absolute or Huber's error on numbers.

    Outputs are float32 (samples, 1); targets are float32 (samples,), standardised, so that the delta of Huber (1964)
    is in standard deviations: an error e costs e²/2 up to it, and delta · (|e| - delta/2) beyond.
    """

    def __init__(self, settings: Training) -> None:
        self._kind, self._delta = settings.loss or "squared", settings.huber_delta

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        values = outputs.squeeze(1)
        match self._kind:
            case "absolute":
                return functional.l1_loss(values, targets)
            case "huber":
                return functional.huber_loss(values, targets, delta=self._delta)
        return functional.mse_loss(values, targets)

    def shares(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {}

    def measures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """The loss, and two errors that mean the same whatever the loss: contenders are compared by them."""
        error = outputs.squeeze(1) - targets
        return {
            "loss": self.loss(outputs, targets).item(),
            "mean_absolute_error": error.abs().mean().item(),
            "mean_squared_error": error.square().mean().item(),
        }

    def score(self, measures: dict[str, float]) -> float:
        return -measures["loss"]


def class_weights(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """N / (classes · n of the class), as scikit-learn's ``class_weight="balanced"``; float32 (classes,)."""
    counts = torch.bincount(targets, minlength=classes).clamp(min=1)
    return len(targets) / (classes * counts.float())
