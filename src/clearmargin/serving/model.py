"""The model that is served: answers of a contender, what can be shown beside them, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearmargin import __version__
from clearmargin.decoding import prepared_pixels
from clearmargin.errors import ImageError, UsageError
from clearmargin.external.frozen import require_frozen
from clearmargin.published import PublishedContender
from clearmargin.records import Preprocessing
from clearmargin.runs import Run
from clearmargin.serving.limits import Limits
from clearmargin.serving.training_images import Neighbour, TrainingImages, open_training_images
from clearmargin.trained import TrainedContender

PICTURE_PX = 320
MOST_SCANS = 100  # of a JPEG; progressive ones have about ten
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
    """

    picture: bytes
    heat: bytes | None
    neighbours: list[Neighbour] | None


class ServedModel:
    """One contender of a finished run, checked against the hashes the run was evaluated with.

    Everything but `prepare` and `describe` is for one thread at a time: the network is watched while it computes.

    Raises
    ------
    UsageError
        When it does not classify images.
    RunFolderError, WeightsError
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
        blank = np.zeros((how.size_px, how.size_px, how.channels), np.uint8)
        self.view(blank, *self.answers([blank]))  # whatever can fail fails now, and the first request is as fast as any
        if self.explains:
            self.training_images = open_training_images(run, self.contender)

    def prepare(self, content: bytes, limits: Limits) -> np.ndarray:
        """Decode one image as the training images were: uint8 (size_px, size_px, channels).

        Raises
        ------
        ImageError
            When it can't be decoded; the message is the reason.
        """
        refuse_endless_scans(content)
        return prepared_pixels(content, self.preprocessing, limits.image_pixels)

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
        """What is shown of a prepared image."""
        from clearmargin.inside.pictures import picture_png

        near = self.training_images
        neighbours = near.nearest(image) if near is not None and near.done else None
        return View(picture_png(image, PICTURE_PX), self._heat(image, answer), neighbours)

    def _heat(self, image: np.ndarray, answer: Answer) -> bytes | None:
        if not self.explains:
            return None
        from clearmargin.evaluation.explanations import grad_cam
        from clearmargin.inside.pictures import heat_webp
        from clearmargin.models.inputs import to_input

        said = self.contender.description["preprocessing"]
        inputs = to_input(image[None], tuple(said["mean"]), tuple(said["std"]))
        found = grad_cam(self.contender.network, inputs, [self.contender.classes.index(answer.predicted)])
        if found is None or not found.maps[0].max() > 0:
            return None
        side = max(PICTURE_PX, 2 * max(found.maps.shape[1:]))
        return heat_webp(found.maps[0], (side, side))

    def prepare_more(self) -> bool:
        """Look at a few more training images; False when all were looked at."""
        return self.training_images is not None and self.training_images.add_more()

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
            "training_images": None if near is None else {"compared": near.done, "of": near.total},
        }


def refuse_endless_scans(content: bytes) -> None:
    """Refuse a JPEG in so many scans that decoding it takes minutes, each over all of its pixels.

    Raises
    ------
    ImageError
        When it is one.
    """
    # within the data of a scan, FF is always followed by 00 or a restart: what is counted are the beginnings of scans
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > MOST_SCANS:
        raise ImageError(f"unsupported JPEG with more than {MOST_SCANS} scans")


def _said(value: Any) -> bool | None:
    return None if value is None else bool(value)
