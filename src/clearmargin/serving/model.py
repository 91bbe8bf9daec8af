"""The model that is served: answers of a contender, what can be shown beside them, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clearmargin import __version__
from clearmargin.errors import UsageError
from clearmargin.external.frozen import require_frozen
from clearmargin.published import PublishedContender
from clearmargin.records import Preprocessing
from clearmargin.runs import Run
from clearmargin.serving.limits import Limits
from clearmargin.serving.pictures import Opened, open_file, prepared
from clearmargin.serving.training_images import Compared, Neighbour, TrainingImages, open_training_images
from clearmargin.trained import TrainedContender

if TYPE_CHECKING:
    import torch

    from clearmargin.evaluation.explanations import ExplainedLayer

PICTURE_PX = 320
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "auc")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one image.

    Attributes
    ----------
    probabilities
        Calibrated, in the order of the classes.
    set
        Classes of the conformal set; None for a contender without one.
    abstain
        True: too unsure to count; None for a contender that does not know.
    unlike
        True: unlike the images it was trained on; None for a contender without a gate.
    """

    predicted: str
    probabilities: tuple[float, ...]
    set: tuple[str, ...] | None
    abstain: bool | None
    unlike: bool | None


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of one image.

    Attributes
    ----------
    picture
        As the network gets it: PNG.
    heat
        Grad-CAM for the class that was said, to lay over the picture: WebP; None when nothing spoke for it, or the
        network has no maps.
    neighbours
        Training images that the network finds most alike; None when their pixels are not here.
    compared
        Among how many training images they were found.
    """

    picture: bytes
    heat: bytes | None
    neighbours: list[Neighbour] | None
    compared: Compared | None


class ServedModel:
    """One contender of a finished run, checked against the hashes the run was evaluated with.

    Everything but `open`, `prepare` and `describe` is for one thread at a time, and always the same one: the network is
    watched while it computes, and each thread that computes has helpers of its own.

    Raises
    ------
    UsageError
        When it does not classify images.
    RunFolderError
        When a file of the run was changed since.
    """

    def __init__(self, run: Run, name: str | None = None) -> None:
        self.run = run
        self.contender: TrainedContender = run.contender(name)
        how = self.contender.preprocessing
        if not isinstance(how, Preprocessing) or not self.contender.classes:
            raise UsageError(f"'{self.contender.name}' takes rows of a table: a server takes images.")
        self.preprocessing = how
        require_frozen(run, [self.contender.name])
        self.explains = not isinstance(self.contender, PublishedContender)
        self.training_images: TrainingImages | None = None
        self._to_prepare = [self._warm_views, self._open_training_images] if self.explains else [self._warm_views]

    def warm_up(self) -> float:
        """Load the weights and answer a blank image twice; seconds that the second time took.

        Raises
        ------
        WeightsError
            When the weights are not those the run was finished with.
        """
        if self.explains:
            keep_weights_in(self.contender.network, self._precision)
        self.answers([self._blank])  # the first time it finds out how to compute
        began = perf_counter()
        self.answers([self._blank])
        return perf_counter() - began

    @property
    def _blank(self) -> np.ndarray:
        how = self.preprocessing
        return np.zeros((how.size_px, how.size_px, how.channels), np.uint8)

    def open(self, content: bytes, limits: Limits) -> Opened:
        """What is in a file of a request, as `pictures.open_file` says it."""
        return open_file(content, limits)

    def prepare(self, content: bytes, limits: Limits) -> np.ndarray:
        """Decode one image as the training images were: uint8 (size_px, size_px, channels).

        Raises
        ------
        ImageError
            When it can't be decoded; the message is the reason.
        """
        return prepared(content, self.preprocessing, limits)

    def answers(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """What the model says of prepared images."""
        probabilities, distances = self.contender.judged(images)
        decided = self.contender.decided(probabilities, distances)
        classes = self.contender.classes
        nothing = [None] * len(images)
        columns = (decided.get(name, nothing) for name in ("set", "abstain", "unlike"))
        return [
            Answer(classes[int(row.argmax())], tuple(row.tolist()), held, _said(abstain), _said(unlike))
            for row, held, abstain, unlike in zip(probabilities, *columns, strict=True)
        ]

    def view(self, image: np.ndarray, answer: Answer) -> View:
        """What is shown of a prepared image: all of it from one pass."""
        from clearmargin.inside.pictures import heat_webp, picture_png

        picture = picture_png(image, PICTURE_PX)
        if not self.explains:
            return View(picture, None, None, None)
        heat, features = self._looked(image, answer)
        shown = None
        if heat is not None and heat.max() > 0:
            side = max(PICTURE_PX, 2 * max(heat.shape))
            shown = heat_webp(heat, (side, side))
        near = self.training_images
        compared = None if near is None else near.compared
        neighbours = near.nearest(features) if near is not None and near.compared.done else None
        return View(picture, shown, neighbours, compared)

    def _looked(self, image: np.ndarray, answer: Answer) -> tuple[np.ndarray | None, np.ndarray]:
        """Grad-CAM for the class that was said, float32 (height, width), and what entered the output layer."""
        import torch

        from clearmargin.evaluation.explanations import explaining
        from clearmargin.evaluation.neighbours import output_inputs
        from clearmargin.training.loop import computing_in

        network, inputs = self.contender.network, self._inputs(image)
        number = np.array([self.contender.classes.index(answer.predicted)])
        with ExitStack() as stack:
            features = stack.enter_context(output_inputs(network))
            explain = None if self._layer is None else stack.enter_context(explaining(network, self._layer))
            with computing_in(self._precision), torch.set_grad_enabled(explain is not None):
                logits = network(inputs)
            heat = None if explain is None else explain.maps_for(logits, number)[0]
            return heat, features.last.numpy()[0]

    @cached_property
    def _layer(self) -> ExplainedLayer | None:
        """Whose maps tell where the network looked."""
        from clearmargin.evaluation.explanations import explained_layer
        from clearmargin.training.loop import computing_in

        with computing_in(self._precision):
            return explained_layer(self.contender.network, self._inputs(self._blank)[0])

    def _inputs(self, image: np.ndarray) -> torch.Tensor:
        """Float32 (1, channels, height, width)."""
        from clearmargin.models.inputs import to_input

        said = self.contender.description["preprocessing"]
        return to_input(image[None], tuple(said["mean"]), tuple(said["std"]))

    @cached_property
    def _precision(self) -> torch.dtype:
        import torch

        precision = getattr(torch, self.contender.description["training"]["precision"])
        assert isinstance(precision, torch.dtype)
        return precision

    def _warm_views(self) -> None:
        self.view(self._blank, self.answers([self._blank])[0])

    def _open_training_images(self) -> None:
        self.training_images = open_training_images(self.run, self.contender)

    def prepare_more(self) -> Literal["soon", "idle"] | None:
        """Make the next view as fast as any; then look at one more training image.

        Returns
        -------
        As `worker.Computation.prepare_more`.
        """
        if self._to_prepare:
            self._to_prepare.pop(0)()
            return "soon" if self._to_prepare else "idle"
        return "idle" if self.training_images is not None and self.training_images.add_one() else None

    @property
    def sha256(self) -> str:
        """Of the weights, hex."""
        return str(self.contender.description["weights_sha256"])

    def describe(self) -> dict[str, Any]:
        """What the model is, without a word about this machine: plain JSON."""
        said, decision = self.contender.description, self.contender.decision
        figures = self.run.evaluation["contenders"].get(self.contender.name, {}).get("metrics", {})
        near = self.training_images
        return {
            "study": self.run.recipe.name,
            "contender": self.contender.name,
            "sha256": self.sha256,
            "clearmargin": __version__,
            "classes": list(self.contender.classes),
            "preprocessing": said["preprocessing"],
            "parameters": said.get("parameters", {}).get("total"),
            "temperature": None if decision is None else decision.temperature.value,
            "error_rate": None if decision is None else decision.conformal.error_rate,
            "abstain_below": None if decision is None else decision.abstention.threshold,
            "gate": decision is not None and decision.gate is not None,
            "explains": self.explains,
            "leaky": bool(self.run.evaluation.get("leaky")),
            "test_images": self.run.evaluation.get("n"),
            "figures": {name: figures[name] for name in FIGURES if name in figures},
            "training_images": None if near is None else {"compared": near.compared.done, "of": near.compared.total},
        }


def keep_weights_in(network: torch.nn.Module, precision: torch.dtype) -> None:
    """Convolutions and dense layers keep their weights as they compute with them, not to convert them at every pass."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.to(precision)


def _said(value: Any) -> bool | None:
    return None if value is None else bool(value)
