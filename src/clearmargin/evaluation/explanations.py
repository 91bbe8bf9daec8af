"""What happens inside a trained network: its first filters, its maps of an image, and where it looked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

STRIP_STAGES = 9  # a deeper network shows the last stage of each map size
_PLAIN_NAMES = {"ReLU": "relu", "LeakyReLU": "leaky relu", "ELU": "elu", "GELU": "gelu", "SiLU": "silu"}
_AT_A_TIME = 4


@dataclass(frozen=True)
class Filters:
    """The kernels of the first convolution.

    Attributes
    ----------
    layer
        In words: ``conv 32, 3x3``.
    weights
        float32, (filters, channels, height, width).
    learned
        False when they were frozen, as pretraining left them.
    """

    layer: str
    weights: np.ndarray
    learned: bool


@dataclass(frozen=True)
class FeatureMaps:
    """What one stage of the network makes of an image.

    Attributes
    ----------
    layer
        In words: ``conv 32, 3x3, relu``.
    shape
        Of everything that leaves the stage: (channels, height, width).
    channels
        Which of the channels are here, the strongest first.
    maps
        float32, (len(channels), height, width).
    """

    layer: str
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    maps: np.ndarray


@dataclass(frozen=True)
class GradCam:
    """Where the network looked.

    Attributes
    ----------
    layer
        Whose maps it was computed on, in words.
    maps
        float32, (images, height, width), not negative, as small as the maps of the layer. A map of zeros: nothing
        there spoke for the class.
    """

    layer: str
    maps: np.ndarray


@dataclass
class _Stage:
    """A convolution with what follows it, or a pooling: ``module`` computes the last of it, ``maps`` comes out."""

    words: list[str]
    convolution: bool
    module: nn.Module
    maps: torch.Tensor  # (channels, height, width)


def first_filters(network: nn.Module) -> Filters | None:
    """The kernels of the first convolution, None when the network has none."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.detach().float().numpy().copy()
            return Filters(module_words(module), weights, module.weight.requires_grad)
    return None


def feature_maps(network: nn.Module, image: torch.Tensor, most_channels: int = 8) -> list[FeatureMaps]:
    """What the stages of a network make of one image.

    Parameters
    ----------
    image
        float32, (channels, height, width), normalised as in training.
    most_channels
        At most so many of each stage, those with the highest mean activation.

    Returns
    -------
    One for each stage; of a network of more than `STRIP_STAGES` the first, and the last of each map size. None for
    maps of a single value, and none at all for a network without convolutions.
    """
    found = []
    for stage in _shown(_stages(network, image)):
        strongest = stage.maps.mean(dim=(1, 2)).argsort(descending=True, stable=True)[:most_channels]
        channels, height, width = stage.maps.shape
        maps = stage.maps[strongest].numpy()
        found.append(FeatureMaps(", ".join(stage.words), (channels, height, width), tuple(strongest.tolist()), maps))
    return found


def grad_cam(network: nn.Module, images: torch.Tensor, classes: Sequence[int] | np.ndarray) -> GradCam | None:
    """Where in each image the evidence for a class lay, by Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2).

    The maps of the last convolution, after its activation, are added up with the mean gradient of the class's logit
    as weight, and what is negative is dropped.

    Parameters
    ----------
    images
        float32, (images, channels, height, width), normalised as in training.
    classes
        The class to explain, for each image.

    Returns
    -------
    None when the network has no convolution whose maps have more than one value.
    """
    layer = explained_layer(network, images[0])
    if layer is None:
        return None
    targets = np.asarray(classes, dtype=np.int64)
    pieces = []
    network.eval()
    with explaining(network, layer) as explain:
        for start in range(0, len(images), _AT_A_TIME):
            batch = slice(start, start + _AT_A_TIME)
            logits = network(images[batch])
            pieces.append(explain.maps_for(logits, targets[batch]))
    return GradCam(layer.words, np.concatenate(pieces))


@dataclass(frozen=True)
class ExplainedLayer:
    """The layer whose maps Grad-CAM adds up, and what it is in words."""

    module: nn.Module
    words: str


def explained_layer(network: nn.Module, image: torch.Tensor) -> ExplainedLayer | None:
    """The last convolution whose maps have more than one value, with what follows it; None when there is none.

    Parameters
    ----------
    image
        float32, (channels, height, width), normalised as in training: any will do.
    """
    convolutions = [stage for stage in _stages(network, image) if stage.convolution]
    return ExplainedLayer(convolutions[-1].module, ", ".join(convolutions[-1].words)) if convolutions else None


class Explaining:
    """What left the explained layer in the last pass, and what of it spoke for a class."""

    def __init__(self) -> None:
        self._maps = torch.empty(0)
        self._one = torch.ones((), requires_grad=True)

    def keep(self, _module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        """Keep what leaves the layer, from where on there are gradients, even if all that comes before is frozen."""
        self._maps = output * self._one
        return self._maps.clone()  # what follows may overwrite it

    def maps_for(self, logits: torch.Tensor, classes: np.ndarray) -> np.ndarray:
        """Grad-CAM, float32 (images, height, width), not negative.

        Parameters
        ----------
        logits
            (images, classes), of the last pass.
        classes
            int64, (images,): the class to explain, for each image.
        """
        asked = logits.gather(1, torch.from_numpy(classes)[:, None])
        (gradients,) = torch.autograd.grad(asked.sum(), self._maps)
        weights = gradients.float().mean(dim=(2, 3), keepdim=True)  # equation 1
        return (weights * self._maps.detach().float()).sum(dim=1).relu().numpy()  # equation 2


@contextmanager
def explaining(network: nn.Module, layer: ExplainedLayer) -> Iterator[Explaining]:
    """Within it passes through the network can be explained; no weight asks for a gradient meanwhile."""
    explain = Explaining()
    hook = layer.module.register_forward_hook(explain.keep)
    try:
        with _frozen(network):
            yield explain
    finally:
        hook.remove()


def _stages(network: nn.Module, image: torch.Tensor) -> list[_Stage]:
    """The stages in the order in which they compute, from one pass over the image."""
    found: list[_Stage] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        before, after = inputs[0], output
        if after.ndim != 4 or before.ndim != 4 or min(after.shape[2:]) < 2:
            return
        maps = after[0].detach().float().clone()  # an activation may overwrite it
        grows, shrinks = after.shape[2] > before.shape[2], after.shape[2] < before.shape[2]
        if isinstance(module, nn.Conv2d) or shrinks:
            found.append(_Stage([module_words(module)], isinstance(module, nn.Conv2d), module, maps))
        elif found and not grows:  # zeros put around a map belong to what comes next
            found[-1].module, found[-1].maps = module, maps
            if not isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
                found[-1].words.append(module_words(module))

    network.eval()
    with watched(network, note), torch.no_grad():
        network(image[None])
    return found


@contextmanager
def watched(
    network: nn.Module, note: Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]
) -> Iterator[None]:
    """Within it ``note`` is told of every module that holds no others, its inputs and its output, as they compute."""
    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _shown(stages: list[_Stage]) -> list[_Stage]:
    if len(stages) <= STRIP_STAGES:
        return stages
    last_of_size = {tuple(stage.maps.shape[1:]): place for place, stage in enumerate(stages)}
    return [stages[place] for place in sorted({0, *last_of_size.values()})]


def module_words(module: nn.Module) -> str:
    """A module in the words of the table of layers; of a class of its own, the words of its name."""
    kind = type(module).__name__
    if isinstance(module, nn.Conv2d):
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"conv {module.out_channels}, {module.kernel_size[0]}x{module.kernel_size[1]}{stride}"
    if isinstance(module, nn.Linear):
        return f"dense {module.out_features}"
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return "batch norm"
    plain = _PLAIN_NAMES.get(kind) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("2d")).lower()
    plain = plain.replace("avg", "average").replace("adaptive", "global")
    size = getattr(module, "kernel_size", None) or getattr(module, "size", None)
    side = size[0] if isinstance(size, tuple) else size
    return f"{plain}, {side}x{side}" if isinstance(side, int) else plain


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Within it no weight asks for a gradient, so that nothing before the explained layer is kept in memory."""
    asking = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
