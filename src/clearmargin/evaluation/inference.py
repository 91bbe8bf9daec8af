"""What a trained network says: the only room that sees the test part."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from clearmargin.records import Part, Predictions, Split
from clearmargin.training.feeds import Feeds, Report
from clearmargin.training.loop import forward


def predict_part(
    feeds: Feeds,
    split: Split,
    part: Part,
    classes: tuple[str, ...],
    precision: torch.dtype,
    report: Report | None = None,
) -> Predictions:
    """Class probabilities of one part, in the order of the split."""
    rows = split.rows(part)
    logits = forward(feeds.model, feeds.plain(rows, report), precision)
    return Predictions(split.names[rows], split.labels[rows], split.groups[rows], classes, softmax(logits))


def softmax(logits: torch.Tensor) -> np.ndarray:
    """Probabilities, float64 (samples, classes), from logits of any float type; rows sum to one."""
    return nn.functional.softmax(logits.double(), dim=1).numpy()
