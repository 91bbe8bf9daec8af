"""Networks: the plain CNN, VGG16, ResNet-18, and where pretrained weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from clearmargin.errors import RecipeError, WeightsError
from clearmargin.models.cnn import PlainCNN
from clearmargin.models.layers import initialise
from clearmargin.models.resnet18 import ResNet18
from clearmargin.models.rows import Shape
from clearmargin.models.vgg16 import VGG16
from clearmargin.models.weight_files import read_tensors, read_weights, trunk_sha256
from clearmargin.models.weights import load_pretrained
from clearmargin.recipe import Contender

Network = PlainCNN | VGG16 | ResNet18
ARCHITECTURES: dict[str, type[PlainCNN] | type[VGG16] | type[ResNet18]] = {
    "cnn": PlainCNN,
    "vgg16": VGG16,
    "resnet18": ResNet18,
}
MOST_OUTPUTS = 65_536  # as many as a dense layer of a recipe may have


@dataclass(frozen=True)
class Pretraining:
    """Where a network's first weights came from: SHA-256 of the values, a place, and who trained them."""

    sha256: str
    origin: str
    attribution: str


def build_network(contender: Contender, shape: Shape, outputs: int) -> Network:
    """The network of a contender, with weights that still have to be set.

    Parameters
    ----------
    shape
        What goes in: (channels, height, width) of an image, or (1, columns) of a table.
    outputs
        Classes; or 1, to learn numbers.

    Raises
    ------
    RecipeError
        When a layer does not fit the shape that reaches it, or the architecture does not fit the data, or for more
        than `MOST_OUTPUTS` classes.
    """
    if outputs > MOST_OUTPUTS:
        raise RecipeError(
            f"'{contender.name}' would need {outputs:,} outputs, one a class, and {MOST_OUTPUTS:,} are the most: "
            "are the labels classes, or a number for each image?"
        )
    return ARCHITECTURES[contender.architecture](contender, shape, outputs)


def set_first_weights(network: Network, contender: Contender, seed: int, cache: Path) -> Pretraining | None:
    """Random weights from the seed, then those the recipe asks for on top.

    Raises
    ------
    WeightsError
        When pretrained weights are asked for and can't be had, or don't fit.
    """
    initialise(network, torch.Generator().manual_seed(seed))
    wanted = contender.weights or ("imagenet" if isinstance(network, VGG16) else "none")
    if wanted == "none" or isinstance(network, PlainCNN):
        return None
    if isinstance(network, ResNet18):
        return _set_all_but_the_output(network, Path(wanted))
    found = load_pretrained(wanted, cache=cache)
    trunk = {key: value for key, value in found.tensors.items() if key.startswith("features.")}
    network.features.load_state_dict({key.removeprefix("features."): value for key, value in trunk.items()})
    _load_hidden_classifier(network.classifier, found.tensors)
    return Pretraining(found.sha256, found.origin, found.attribution)


def _set_all_but_the_output(network: ResNet18, path: Path) -> Pretraining:
    layout = network.layout
    tensors = read_weights(path, layout)
    network.load_state_dict(network.state_dict() | tensors)
    return Pretraining(trunk_sha256(tensors, layout.shapes), "file", f"the file {path.name}")


def _load_hidden_classifier(classifier: nn.Sequential, tensors: dict[str, torch.Tensor]) -> None:
    """Take the hidden dense layers too when the file has them and the head is VGG16's own; never the output."""
    state = classifier.state_dict()
    output = f"{len(classifier) - 1}."
    hidden = {key: tensors.get(f"classifier.{key}") for key in state if not key.startswith(output)}
    fitting = {key: value for key, value in hidden.items() if value is not None and value.shape == state[key].shape}
    if fitting and len(fitting) == len(hidden):
        classifier.load_state_dict(state | fitting)


def load_weights(network: Network, path: Path) -> None:
    """Put finished weights into a network.

    Raises
    ------
    WeightsError
        When the file is damaged, belongs to another network, or holds values that are not finite.
    """
    shown = f"{path.parent.name}/{path.name}"
    tensors = read_tensors(path, shown)
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(f"{shown} can't be used: {error}") from error
    if broken := [name for name, tensor in network.state_dict().items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(
            f"{shown} holds values that are not finite, in {', '.join(broken[:8])}: what such a network says means "
            "nothing. Run the study again."
        )
