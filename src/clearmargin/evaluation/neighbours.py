"""Which training images a network finds most like a given image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from clearmargin.training.feeds import Feed, Feeds
from clearmargin.training.loop import computing_in

# What comparing may cost, in multiply-adds: some seconds on two cores.
AFFORDABLE = {torch.float32: 0.4e12, torch.bfloat16: 1.2e12}
_BATCH_VALUES = 2_000_000  # of the inputs of a batch
_MOST_QUERY_VALUES = 50_000_000  # features of all queries together: 200 MB


@dataclass(frozen=True)
class Neighbours:
    """The most similar training image of each query.

    Attributes
    ----------
    rows
        int64, (queries,): rows of the images.
    distances
        float64, (queries,): one minus the cosine of the angle between the features, from 0 (same direction) to 2.
    features
        How many values were compared.
    compared
        Among how many training images.
    """

    rows: np.ndarray
    distances: np.ndarray
    features: int
    compared: int


def nearest_training_images(
    feeds: Feeds,
    queries: np.ndarray,
    query_classes: np.ndarray,
    training: np.ndarray,
    training_classes: np.ndarray,
    precision: torch.dtype,
) -> Neighbours:
    """For each query the training image of the same class that the network finds most alike.

    Parameters
    ----------
    queries, training
        Rows of the images, int64.
    query_classes, training_classes
        Their true classes, int64, aligned. Every class of a query must be among those of training.

    Returns
    -------
    One line for each query, or for the first ones when the features of all would not fit into memory. When comparing
    all training images would cost more than `AFFORDABLE`, evenly spaced ones stand for them.
    """
    asked = feeds.plain(queries)
    most = int(AFFORDABLE[precision] / multiply_adds(feeds.model, asked))
    kept = evenly_spaced(training_classes, most)
    training, classes = training[kept], training_classes[kept]
    found = nearest_of_class(feeds.model, asked, query_classes, feeds.plain(training), classes, precision)
    return replace(found, rows=training[found.rows])


def nearest_of_class(
    model: nn.Module,
    queries: Feed,
    query_classes: np.ndarray,
    references: Feed,
    reference_classes: np.ndarray,
    precision: torch.dtype,
) -> Neighbours:
    """For each query the reference of the same class with the most similar features.

    Features are what enters the output layer: all the network has to decide by. They are compared by the angle
    between them, since a longer vector of the same direction tells the same kind of image, only more surely.
    References pass by in batches; memory grows with the queries only.

    Parameters
    ----------
    query_classes, reference_classes
        int64, aligned with the feeds. Every class of a query must be among the references.

    Returns
    -------
    ``rows`` are places among the references.
    """
    with output_inputs(model) as features_of:
        first = features_of(queries, np.arange(1), precision)
        fitting = max(1, min(len(queries), _MOST_QUERY_VALUES // first.shape[1]))
        size = _batch_size(queries)
        pieces = [features_of(queries, rows, precision) for rows in _batches(np.arange(fitting), size)]
        wanted = torch.cat(pieces)  # (queries, features)
        classes = torch.from_numpy(query_classes[:fitting])
        best = torch.full((fitting,), -torch.inf)
        chosen = torch.full((fitting,), -1, dtype=torch.int64)
        for rows in _batches(np.flatnonzero(np.isin(reference_classes, query_classes[:fitting])), size):
            alike = wanted @ features_of(references, rows, precision).T  # (queries, batch)
            others = classes[:, None] != torch.from_numpy(reference_classes[rows])[None]
            value, place = alike.masked_fill_(others, -torch.inf).max(dim=1)
            better = value > best
            best[better], chosen[better] = value[better], torch.from_numpy(rows)[place[better]]
    distances = np.maximum(0.0, 1.0 - best.double().numpy())
    return Neighbours(chosen.numpy(), distances, int(wanted.shape[1]), len(references))


def evenly_spaced(classes: np.ndarray, most: int) -> np.ndarray:
    """Rows (int64, ascending) that keep about ``most`` in all and at least one of each class, evenly spaced."""
    if len(classes) <= most:
        return np.arange(len(classes))
    kept = []
    for column in np.unique(classes):
        rows = np.flatnonzero(classes == column)
        count = max(1, most * len(rows) // len(classes))
        kept.append(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(kept))


def multiply_adds(model: nn.Module, feed: Feed) -> int:
    """Multiply-adds of convolutions and dense layers for one sample of a feed."""
    work = 0

    def add(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal work
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        work += output[0].numel() * weight[0].numel()

    hooks = [
        module.register_forward_hook(add) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    model.eval()
    try:
        with torch.inference_mode():
            model(feed.batch(np.arange(1), None))
    finally:
        for hook in hooks:
            hook.remove()
    return work


def _batch_size(feed: Feed) -> int:
    return int(np.clip(_BATCH_VALUES // feed.batch(np.arange(1), None).numel(), 8, 256))


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


class OutputInputs:
    """Passes batches through a network and keeps what entered the dense layer that computed last."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._entered = model, torch.empty(0)

    def keep(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._entered = inputs[0]

    def __call__(self, feed: Feed, rows: np.ndarray, precision: torch.dtype) -> torch.Tensor:
        """Features of length one, float32 (rows, features); all zero for an image that leaves none."""
        with torch.inference_mode(), computing_in(precision):
            self._model(feed.batch(rows, None))
        return self.last

    @property
    def last(self) -> torch.Tensor:
        """The same of the last pass, whoever asked for it."""
        return nn.functional.normalize(self._entered.detach().float().flatten(1), dim=1)


@contextmanager
def output_inputs(model: nn.Module) -> Iterator[OutputInputs]:
    """Within it the features of images can be computed; the model is in evaluation mode, channels last."""
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = OutputInputs(model)
    dense = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(features.keep) for module in dense]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()
