"""Who takes part in a study: contenders that learn here, and those that somebody else trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clearmargin.contest import first_network, forget_checkpoint, train_contender
from clearmargin.diverged import read_diverged, write_diverged
from clearmargin.done import is_done, leave_out, write_done
from clearmargin.errors import DivergenceError, UsageError, WorkError
from clearmargin.evaluation.calibration import Temperature
from clearmargin.evaluation.decision import fit_decision
from clearmargin.files import sealed, write_bytes, write_json
from clearmargin.foreign import ForeignModel, foreign_preprocessing, open_foreign
from clearmargin.judgement import point_figures
from clearmargin.models import Network, Pretraining
from clearmargin.preparation import only
from clearmargin.recipe import AnyContender, Contender
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.recipe_foreign import ForeignContender
from clearmargin.records import Columns, Inputs, Part, Predictions, Preprocessing, Progress, Split
from clearmargin.split import check_division, crossing_groups
from clearmargin.task import Classification, Task

BATCH = 8
STORED_MODELS = ("model.safetensors", "model.onnx", "gate.safetensors")
Views = Callable[[Preprocessing], Inputs]  # the same images, decoded in another way
_log = logging.getLogger(__name__)


class Entrant(Protocol):
    """A contender that is ready: what can't work was said when it was made."""

    def contend(self, task: Task, inputs: Inputs, split: Split, folder: Path, progress: Progress) -> None:
        """Learn, if there is anything to learn, and write the model and ``predictions.csv`` into ``folder``."""
        ...


def entrant(
    contender: AnyContender, inputs: Inputs, task: Task, seed: int, asked: EvaluationSettings, views: Views
) -> Entrant:
    """Make a contender ready.

    Parameters
    ----------
    asked
        Error rates, for the thresholds that are fixed on the validation part.
    views
        Gives the images of the study in another size, for one that was trained on them so.

    Raises
    ------
    RecipeError, WeightsError
        When its layers, its pretrained weights or its file can't work.
    """
    if isinstance(contender, Contender):
        how = own_preprocessing(contender, inputs.preprocessing)
        network, pretraining = first_network(contender, how.shape, task.outputs, seed)
        return Learner(contender, network, pretraining, seed, asked, how, views)
    if not isinstance(task, Classification) or isinstance(inputs.preprocessing, Columns):
        raise UsageError(f"'{contender.name}' takes images, and this study learns numbers from a table.")
    return Published(contender, open_foreign(contender, task.classes), inputs.preprocessing, asked, views)


def own_preprocessing(contender: Contender, how: Preprocessing | Columns) -> Preprocessing | Columns:
    """How a contender sees the samples of a study: in its own size, if it has one."""
    if contender.size_px is None or isinstance(how, Columns):
        return how
    return replace(how, size_px=contender.size_px)


def seen_as(how: Preprocessing | Columns, inputs: Inputs, views: Views) -> Inputs:
    """The same samples, decoded in another way where that differs.

    Raises
    ------
    WorkError
        When an image could be decoded for the study, and not in this way.
    """
    if isinstance(how, Columns) or how == inputs.preprocessing:
        return inputs
    pixels = views(how)
    place = {sample.name: row for row, sample in enumerate(pixels.samples)}
    names = [sample.name for sample in inputs.samples]
    lacking = [name for name in names if name not in place]
    if lacking:
        raise WorkError(f"{lacking[0]!r} could be decoded for the study, but not at {how.size_px} px.")
    seen = only(pixels, np.array([place[name] for name in names], dtype=np.int64))
    # who belongs together does not change with the size
    return replace(seen, samples=inputs.samples, facts=inputs.facts, together=inputs.together)


@dataclass(frozen=True)
class Learner:
    """A contender that is trained here, on the samples as it sees them."""

    contender: Contender
    network: Network
    pretraining: Pretraining | None
    seed: int
    asked: EvaluationSettings
    how: Preprocessing | Columns
    views: Views

    def contend(self, task: Task, inputs: Inputs, split: Split, folder: Path, progress: Progress) -> None:
        """Train it, then show it the test part."""
        inputs = seen_as(self.how, inputs, self.views)
        train_contender(
            self.contender, self.network, self.pretraining, task, inputs, split, folder, self.seed, self.asked, progress
        )


@dataclass(frozen=True)
class Published:
    """A contender that was trained elsewhere: nothing is learned, and the images are decoded as its author did."""

    settings: ForeignContender
    model: ForeignModel
    preprocessing: Preprocessing
    asked: EvaluationSettings
    views: Views

    def contend(self, task: Task, inputs: Inputs, split: Split, folder: Path, progress: Progress) -> None:
        """Fix thresholds on the validation part, write its file and ``model.json``, then show it the test part.

        Its probabilities stay as they were published: the temperature is 1.

        Raises
        ------
        SourceError
            When the split leaks, whoever made it.
        WorkError
            When the network fails on an image.
        """
        check_division(split, inputs)
        pixels = self.views(foreign_preprocessing(self.settings, self.preprocessing))
        validation = self._predictions(pixels, split, "validation", progress)
        write_bytes(folder / "model.onnx", self.model.content)
        write_json(folder / "model.json", sealed(self._described(task, validation, split)))
        test = self._predictions(pixels, split, "test", progress)
        task.write(folder / "predictions.csv", {"validation": validation, "test": test})

    def _predictions(self, pixels: Inputs, split: Split, part: Part, progress: Progress) -> Predictions:
        """What it says of one part, in the order of the split."""
        rows = split.rows(part)
        place = {sample.name: row for row, sample in enumerate(pixels.samples)}
        lacking = [name for name in split.names[rows] if name not in place]
        if lacking:
            raise WorkError(f"{lacking[0]!r} could be decoded for the study, but not at {self.settings.size_px} px.")
        own = np.array([place[name] for name in split.names[rows]], dtype=np.int64)

        def answers() -> Iterator[np.ndarray]:
            for start in range(0, len(own), BATCH):
                progress(f"{self.settings.name}: predicting", start, len(own), f"{part} part")
                yield self.model.probabilities(pixels.rows.read(own[start : start + BATCH]))

        said = np.concatenate([np.empty((0, len(self.model.classes))), *answers()])
        return Predictions(split.names[rows], split.labels[rows], split.groups[rows], self.model.classes, said)

    def _described(self, task: Task, validation: Predictions, split: Split) -> dict[str, Any]:
        """The content of ``model.json``: what is known of a model that nobody here trained."""
        how = foreign_preprocessing(self.settings, self.preprocessing)
        mean, std = self.settings.normalisation
        reached = point_figures(validation)
        return {
            "format": 1,
            "name": self.settings.name,
            "kind": "onnx",
            "architecture": self.settings.without_paths().model_dump(mode="json", exclude_none=True),
            **task.described(),
            "preprocessing": {**how.as_json(), "mean": list(mean), "std": list(std)},
            "pretrained_sha256": None,
            "parameters": {"total": self.model.facts.parameters, "trained": 0},
            "layers": [],
            "training": {"precision": "float32"},
            "validation": {
                "loss": reached["log_loss"],
                "accuracy": reached["accuracy"],
                "balanced_accuracy": reached["balanced_accuracy"],
            },
            "leaky": crossing_groups(split) > 0,
            "weights_sha256": self.model.sha256,
            "decision": fit_decision(validation, Temperature(), self.asked).as_json(),
        }


def contend(
    make: Callable[[], Entrant],
    name: str,
    task: Task,
    inputs: Inputs,
    split: Split,
    folder: Path,
    progress: Progress,
) -> str | None:
    """Let a contender learn and write its predictions, unless an interrupted run did and all of it is as it was left.

    Parameters
    ----------
    make
        Makes it ready; not called when there is nothing to do.

    Returns
    -------
    None; or, when it diverged, why, which is written down in its folder: the others can go on.
    """
    reason = read_diverged(folder)
    if reason is None and not is_done(folder, name):
        try:
            make().contend(task, inputs, split, folder, progress)
        except DivergenceError as error:
            reason = str(error)
            write_diverged(folder, name, reason)
            _log.warning("'%s' has no result: %s The other contenders go on.", name, reason)
        else:
            write_done(folder)
    forget_checkpoint(folder)  # not before: what is done is known by its record alone
    return reason


def forget_weights(folder: Path) -> None:
    """Remove a model whose predictions are all that is wanted."""
    leave_out(folder, STORED_MODELS)
