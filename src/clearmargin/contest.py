"""One contender's way: trained on its parts, written down, and only then shown the test part."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clearmargin.cache import cache_folder
from clearmargin.columns import column_statistics
from clearmargin.deciding import Deciding
from clearmargin.evaluation.decision import Decision
from clearmargin.files import file_sha256, sealed, write_json, write_table, write_tensors
from clearmargin.mapped_rows import Subset
from clearmargin.models import Network, Pretraining, build_network, set_first_weights
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD, channel_statistics
from clearmargin.models.precision import choose_precision
from clearmargin.models.whitening import fit_whitening
from clearmargin.recipe import Contender
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.records import Columns, Inputs, Part, Progress, Split
from clearmargin.split import check_division, crossing_groups
from clearmargin.task import Classification, Task
from clearmargin.training.beginning import begin_as_before
from clearmargin.training.checkpoint import mend_checkpoint
from clearmargin.training.deterministic import deterministic
from clearmargin.training.feeds import Feed, Feeds, Report
from clearmargin.training.loop import AfterEpoch, Fitted, Labelled, fit
from clearmargin.training.memory import reuse_freed_memory
from clearmargin.training.threads import WORTH_THREADS, compute_as, threads_for


def first_network(
    contender: Contender, shape: tuple[int, ...], outputs: int, seed: int
) -> tuple[Network, Pretraining | None]:
    """Build a contender's network and set its first weights.

    Raises
    ------
    RecipeError, WeightsError
        When its layers or its pretrained weights can't work.
    """
    network = build_network(contender, shape, outputs)
    return network, set_first_weights(network, contender, contender_seed(seed, contender), cache_folder())


def train_contender(
    contender: Contender,
    network: Network,
    pretraining: Pretraining | None,
    task: Task,
    inputs: Inputs,
    split: Split,
    folder: Path,
    seed: int,
    asked: EvaluationSettings,
    progress: Progress,
) -> None:
    """Train, write ``model.safetensors``, ``model.json`` and ``history.csv``, then ``predictions.csv``.

    A checkpoint in ``folder`` is gone on from, and left there. Temperature and thresholds are fixed on the validation
    part and travel in ``model.json``; only after that is on the disk, the test part is looked at.

    Raises
    ------
    SourceError
        When the split leaks, whoever made it.
    """
    with threads_for(work_of(contender, network)):
        learned = learn(contender, network, task, inputs, split, folder, seed, progress, pretraining)
        mean, std = learned.normalisation
        description = {
            "format": 1,
            "name": contender.name,
            "architecture": contender.without_paths().model_dump(mode="json", exclude_none=True),
            **task.described(),
            "preprocessing": {**_prepared(inputs), "mean": list(mean), "std": list(std)},
            **_pretraining(pretraining),
            **_size(network),
            **_course(learned.fitted, learned.feeds.trunk_seconds),
            "leaky": crossing_groups(split) > 0,
        }
        _write_weights(folder, network, learned.fitted)
        trunk = _trunk_report(contender.name, progress)
        deciding = Deciding(task, split, inputs, network, learned.feeds, (mean, std), learned.precision, folder, trunk)
        decided, on_validation = deciding.decide(asked)
        _write_description(folder, description, decided)
        said: dict[Part, Any] = {"validation": on_validation, "test": deciding.answers("test", decided)}
        deciding.write_distances()
    task.write(folder / "predictions.csv", said)


@dataclass(frozen=True)
class Learned:
    """What a training leaves: the weights are in the network.

    Attributes
    ----------
    normalisation
        Mean and standard deviation of each channel, or column.
    """

    fitted: Fitted
    feeds: Feeds
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    precision: torch.dtype


def learn(
    contender: Contender,
    network: Network,
    task: Task,
    inputs: Inputs,
    split: Split,
    folder: Path,
    seed: int,
    progress: Progress,
    pretraining: Pretraining | None,
    after_epoch: AfterEpoch | None = None,
) -> Learned:
    """Train on the training part, judged by the validation part; the test part is not looked at.

    A checkpoint in ``folder`` is gone on from, and left there. ``pretraining`` says where the first weights came from;
    ``after_epoch`` as `fit` takes it. The caller sets the number of threads, and sets it back: a training that is gone
    on with, or that starts anew without its checkpoint, takes as many as it began with.

    Raises
    ------
    SourceError
        When the split leaks, whoever made it.
    DivergenceError, RunFolderError, WorkError, DiskError
        As `fit`.
    """
    check_division(split, inputs)
    settings, work = contender.training, work_of(contender, network)
    mean, std = _normalisation(network, inputs, split)
    checkpoint = folder / "checkpoint" / "state.safetensors"
    little = isinstance(inputs.preprocessing, Columns) or work < WORTH_THREADS
    begun = mend_checkpoint(checkpoint)
    if begun is not None:
        compute_as(begun.computed_with, contender.name)
        precision = begun.dtype
    else:
        kept = checkpoint.with_name("begun.json")
        precision = begin_as_before(
            kept, contender.name, lambda: choose_precision(settings.precision, little_work=little)
        )
    feeds = Feeds(network, settings, inputs, mean, std, cache=cache_folder(), precision=precision)
    trunk = _trunk_report(contender.name, progress)
    reuse_freed_memory()
    with deterministic():
        train = _labelled(feeds.train, task, split, "train", trunk)
        if begun is None:  # else they come from there
            fit_whitening(network, lambda rows: train.feed.batch(rows, None), len(train.feed), seed)
        fitted = fit(
            feeds.model,
            train,
            _labelled(feeds.plain, task, split, "validation", trunk),
            settings,
            classes=task.outputs if isinstance(task, Classification) else None,
            precision=precision,
            seed=contender_seed(seed, contender),
            identity=_identity(contender, pretraining, task, inputs, (mean, std)),
            checkpoint=checkpoint,
            resume=True,
            report=lambda done, total, note: progress(f"{contender.name}: training", done, total, note),
            after_epoch=after_epoch,
        )
    return Learned(fitted, feeds, (mean, std), precision)


def work_of(contender: Contender, network: Network) -> int:
    """Multiply-adds of one batch, forwards."""
    return contender.training.batch_size * sum(row.multiply_adds for row in network.table)


def _trunk_report(name: str, progress: Progress) -> Report:
    def trunk(done: int, total: int, note: str) -> None:
        progress(f"{name}: frozen layers", done, total, note)

    return trunk


def forget_checkpoint(folder: Path) -> None:
    """Remove what a contender that is done no longer needs to resume."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _labelled(
    feed: Callable[[np.ndarray, Report], Feed], task: Task, split: Split, part: Part, report: Report
) -> Labelled:
    rows = split.rows(part)
    return Labelled(feed(rows, report), task.targets(split, rows))


def contender_seed(seed: int, contender: Contender) -> int:
    """A contender's own seed: it follows from the recipe's seed and its name, not from its place in the list."""
    mixed = np.random.SeedSequence([seed, zlib.crc32(contender.name.encode("utf-8", "surrogatepass"))])
    return int(mixed.generate_state(1, np.uint32)[0] >> 1)


def _identity(
    contender: Contender,
    pretraining: Pretraining | None,
    task: Task,
    inputs: Inputs,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
) -> str:
    """SHA-256 of what a training depends on beside its settings: the network, its first weights, what goes in and out.

    Numbers count to six digits: in those that follow, the mean of an image may differ between versions.
    """
    known = {
        "contender": contender.model_dump(mode="json", exclude={"weights"}),  # a file is known by what is in it
        "pretrained_sha256": None if pretraining is None else pretraining.sha256,
        "preprocessing": _prepared(inputs),
        "normalisation": normalisation,
        **task.described(),
    }
    rounded = json.loads(json.dumps(known), parse_float=lambda text: f"{float(text):.6g}")
    return hashlib.sha256(json.dumps(rounded, sort_keys=True).encode()).hexdigest()


def _normalisation(network: Network, inputs: Inputs, split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ImageNet's for a network that was trained there, the training part's own for the others."""
    if network.imagenet_normalised:
        return IMAGENET_MEAN, IMAGENET_STD
    learned = Subset(inputs.rows, split.rows("train"))
    return column_statistics(learned) if isinstance(inputs.preprocessing, Columns) else channel_statistics(learned)


def _prepared(inputs: Inputs) -> dict[str, Any]:
    """How a sample becomes an array, as ``model.json`` says it."""
    how = inputs.preprocessing
    return {"columns": list(how.names)} if isinstance(how, Columns) else how.as_json()


def _pretraining(pretraining: Pretraining | None) -> dict[str, Any]:
    if pretraining is None:
        return {"pretrained_sha256": None}
    return {
        "pretrained_sha256": pretraining.sha256,
        "pretrained_origin": pretraining.origin,
        "pretrained_attribution": pretraining.attribution,
    }


def _size(network: Network) -> dict[str, Any]:
    """Parameters, multiply-adds of one image, and the network as a table."""
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return {
        "parameters": {"total": sum(parameter.numel() for parameter in network.parameters()), "trained": trained},
        "multiply_adds": sum(row.multiply_adds for row in network.table),
        "layers": [{**asdict(row), "output": list(row.output)} for row in network.table],
    }


def _course(fitted: Fitted, trunk_seconds: float) -> dict[str, Any]:
    """How training went, and what the chosen epoch reached on validation."""
    best = fitted.history[fitted.best_epoch - 1]
    measures = [key.removeprefix("validation_") for key in best if key.startswith("validation_")]
    return {
        "training": {
            "epochs_run": fitted.epochs_run,
            "best_epoch": fitted.best_epoch,
            "seconds": round(fitted.seconds, 3),
            "trunk_seconds": round(trunk_seconds, 3),
            "stopped_early": fitted.stopped_early,
            "precision": fitted.precision.removeprefix("torch."),
        },
        "validation": {measure: best[f"validation_{measure}"] for measure in measures},
    }


def _write_weights(folder: Path, network: Network, fitted: Fitted) -> None:
    write_tensors(folder / "model.safetensors", network.state_dict())
    write_table(folder / "history.csv", pd.DataFrame(fitted.history))


def _write_description(folder: Path, description: dict[str, Any], decided: Decision | None) -> None:
    """``model.json``, which binds the weights by hash, and is sealed by its own."""
    decision = {} if decided is None else {"decision": decided.as_json()}
    weights = {"weights_sha256": file_sha256(folder / "model.safetensors")}
    write_json(folder / "model.json", sealed({**description, **weights, **decision}))
