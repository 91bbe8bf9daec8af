"""Files of weights: read without running code, and checked before they are believed."""

from __future__ import annotations

import hashlib
import pickle
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import safetensors
import torch

from clearmargin.errors import WeightsError

MAX_BYTES: Final = 2**30
MAX_HEADER_BYTES: Final = 2**20  # VGG16's own header takes 3 kB
_FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _trunk_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the 13 convolutions, in order (Simonyan & Zisserman 2014, table 1, configuration D)."""
    shapes: dict[str, tuple[int, ...]] = {}
    index, channels = 0, 3
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            shapes[f"features.{index}.weight"] = (width, channels, 3, 3)
            shapes[f"features.{index}.bias"] = (width,)
            index, channels = index + 2, width  # a convolution and its ReLU
        index += 1  # the pooling that ends the block
    return shapes


TRUNK_SHAPES: Final = _trunk_shapes()


@dataclass(frozen=True)
class Layout:
    """What a file of a network's weights has to hold, by torchvision's names.

    Attributes
    ----------
    network
        In words.
    shapes
        Every tensor that is needed.
    own
        Beginnings of names under which nothing else may stand.
    head
        Beginning of the names that are taken as far as the file has any; None: none are.
    """

    network: str
    shapes: Mapping[str, tuple[int, ...]]
    own: tuple[str, ...]
    head: str | None = None

    def wants(self, name: object) -> bool:
        """True for what is read; counters of batch normalisation are not weights."""
        begins = (*self.own, *([self.head] if self.head else []))
        return isinstance(name, str) and name.startswith(begins) and not name.endswith("num_batches_tracked")


VGG16_LAYOUT: Final = Layout("VGG16 (configuration D)", TRUNK_SHAPES, ("features.",), "classifier.")


def read_weights(path: Path, layout: Layout = VGG16_LAYOUT) -> dict[str, torch.Tensor]:
    """Read a ``.safetensors`` or ``.pth`` file of weights with torchvision's names.

    Returns
    -------
    dict
        Finite float32 tensors by name: all that the layout needs, in its order, then those of the head as far as the
        file has any. Other keys (the heads of timm's copies, say) are left out.

    Raises
    ------
    WeightsError
        When the file is of another kind, missing, larger than 1 GiB (packed or unpacked), damaged, or holds objects
        instead of tensors; or when names, shapes, dtypes or values don't fit.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise WeightsError(f"The file of weights must end in .safetensors or .pth, got {path}.")
    _check_size(path)
    try:
        tensors = reader(path, layout)
    except _DAMAGE as error:
        raise WeightsError(
            f"{path.name} can't be read as weights: {_reason(error)}. Nothing in it was run. Fetch the file again, "
            "or name another one."
        ) from error
    _check_layout(tensors, layout, path.name)
    heads = sorted(name for name in tensors if name not in layout.shapes)
    checked = {name: _own_copy(tensors.pop(name)) for name in (*layout.shapes, *heads)}
    if broken := [name for name, tensor in checked.items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(
            f"{path.name} holds values that are not finite float32 numbers, in {_listed(broken)}. Fetch the file "
            "again, or name another one."
        )
    return checked


def trunk_sha256(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]] = TRUNK_SHAPES) -> str:
    """SHA-256 (hex) over names, shapes and float32 values (little-endian), in order: VGG16's trunk, or what is named.

    The same values give the same hash, whatever kind of file and whatever precision they were stored in.
    """
    digest = hashlib.sha256()
    for name, shape in shapes.items():
        digest.update(f"{name} {shape}\n".encode())
        digest.update(tensors[name].detach().to(torch.float32).numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _own_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Plain float32 in memory of its own: what was read may be a view of the file, or of another tensor."""
    return tensor.detach().resolve_neg().to(torch.float32, copy=True).contiguous()


def _check_size(path: Path) -> None:
    """Refuse what is not a file, and what is too large before or after unpacking."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError(f"The weights {path} must be a file, got a folder or a device. Check the path.")
        with path.open("rb") as stream:
            packed = stream.read(4) == b"PK\x03\x04"
        size = status.st_size
        if packed:  # a .pth, and torch unpacks compressed members
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(member.file_size for member in archive.infolist()))
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"The file of weights {path} can't be opened: {reason}. Check it.") from error
    if size > MAX_BYTES:
        raise WeightsError(
            f"{path.name} holds {size:,} bytes; the limit is {MAX_BYTES:,}, and VGG16 takes 553 million. "
            "Name another file."
        )


def _check_layout(tensors: Mapping[str, torch.Tensor], layout: Layout, name: str) -> None:
    """Report every key that is missing, unknown, or of another shape or dtype, in one error."""
    mistakes = []
    if missing := [key for key in layout.shapes if key not in tensors]:
        mistakes.append(f"missing: {_listed(missing)}")
    if unknown := sorted(key for key in tensors if key.startswith(layout.own) and key not in layout.shapes):
        mistakes.append(f"not in {layout.network.partition(' ')[0]}: {_listed(unknown)}")
    for key, shape in layout.shapes.items():
        if key in tensors and (got := tuple(tensors[key].shape)) != shape:
            mistakes.append(f"{key}: expected shape {shape}, got {got}")
    for key, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            mistakes.append(f"{key}: expected float16, bfloat16, float32 or float64, got {tensor.dtype}")
        elif tensor.layout != torch.strided or tensor.device.type != "cpu":
            mistakes.append(f"{key}: expected a dense tensor, got {tensor.layout} on {tensor.device}")
    numbers = sum(tensor.numel() for tensor in tensors.values())
    if 4 * numbers > MAX_BYTES:  # a tensor may claim more elements than its file holds
        mistakes.append(f"expected at most {MAX_BYTES // 4:,} numbers, got {numbers:,}")
    if mistakes:
        first, *_, last = layout.shapes
        raise WeightsError(
            f"{name} does not hold the weights of {layout.network}. {_listed(mistakes, '; ', 1000)}. Expected are "
            f"torchvision's names and shapes, {first} to {last}; name another file."
        )


def _listed(items: list[str], separator: str = ", ", width: int = 80) -> str:
    """The first eight of what may be thousands, cut to a width in characters."""
    more = [f"and {len(items) - 8} more"] if len(items) > 8 else []
    return separator.join([item[:width] for item in items[:8]] + more)


def _reason(error: BaseException) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds objects that could run code"
    return f"{error}".partition("\n")[0][:200].rstrip(".") or type(error).__name__


def read_tensors(path: Path, shown: str) -> dict[str, torch.Tensor]:
    """Every tensor of a ``.safetensors`` file, whatever it is for.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or claims a header larger than 1 MiB.
    """
    try:
        _check_header(path)
        with safetensors.safe_open(path, framework="pt") as content:
            return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (not a dict)
    except _DAMAGE as error:
        raise WeightsError(f"{shown} can't be used: {_reason(error)}. Nothing in it was run.") from error


def _check_header(path: Path) -> None:
    with path.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if header > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims {header:,} bytes, the limit is {MAX_HEADER_BYTES:,}")


def _read_safetensors(path: Path, layout: Layout) -> dict[str, torch.Tensor]:
    _check_header(path)
    with safetensors.safe_open(path, framework="pt") as content:
        return {name: content.get_tensor(name) for name in filter(layout.wants, content.keys())}


def _read_pth(path: Path, layout: Layout) -> dict[str, torch.Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"expected a table of tensors, got {type(content).__name__}")
    return {name: value for name, value in content.items() if layout.wants(name) and isinstance(value, torch.Tensor)}


_READERS: Final = {".safetensors": _read_safetensors, ".pth": _read_pth}

# What the readers raise on damaged and hostile files: the restricted unpickler of torch lets through whatever its
# operations meet in bytes that make no sense.
_DAMAGE: Final = (
    safetensors.SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
