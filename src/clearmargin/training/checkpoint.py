"""What is needed to go on after an epoch: one file of tensors with the rest as JSON in its header."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn, optim

from clearmargin.errors import RunFolderError
from clearmargin.files import write_tensors

FORMAT = "2"


@dataclass
class Progress:
    """How far a training has come.

    Random states need no place here: the order of an epoch, its dropout and its augmentation follow from
    (seed, epoch) alone.
    """

    settings: str  # what was asked for, as JSON: a checkpoint of other settings is refused
    epochs_done: int = 0
    best_epoch: int = 0
    best_score: float = float("-inf")
    seconds: float = 0.0
    precision: str = ""
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(
    path: Path, progress: Progress, model: nn.Module, best: dict[str, torch.Tensor], optimizer: optim.Optimizer
) -> None:
    """Write all of it, whole or not at all.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    text = json.dumps(asdict(progress))
    write_tensors(path, tensors, {"format": FORMAT, "progress": text, "checksum": _checksum(text, tensors)})


def load_checkpoint(
    path: Path, settings: str, model: nn.Module, optimizer: optim.Optimizer
) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Put model and optimiser where they were; return the progress and the best weights so far.

    Raises
    ------
    RunFolderError
        When the file is damaged or belongs to other settings.
    """
    shown = f"The checkpoint {path.parent.parent.name}/{path.parent.name}/{path.name}"
    try:
        progress, tensors = _read(path)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"{shown} is damaged ({error}): delete it to train this contender from the start."
        ) from error
    if progress.settings != settings:
        raise RunFolderError(
            f"{shown} was made with other settings than the recipe now asks for: resume with the same recipe, or "
            "choose another --out."
        )
    try:
        model.load_state_dict(_below("model.", tensors))
        layout = optimizer.state_dict()
        layout["state"] = _optimizer_state(_below("optimizer.", tensors), optimizer)
        optimizer.load_state_dict(layout)
    except (RuntimeError, LookupError) as error:
        raise RunFolderError(
            f"{shown} was made with another network: resume with the same recipe, or choose another --out."
        ) from error
    # a copy: what was read is a view of the file, which the next checkpoint replaces
    return progress, {key: value.clone() for key, value in _below("best.", tensors).items()}


def stored_precision(path: Path) -> torch.dtype | None:
    """The number format of an interrupted training, None when there is none or it can't be read."""
    try:
        with safe_open(path, framework="pt") as file:
            name = json.loads((file.metadata() or {})["progress"])["precision"]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None  # `load_checkpoint` says what is wrong with it
    return {"torch.float32": torch.float32, "torch.bfloat16": torch.bfloat16}.get(name)


def _read(path: Path) -> tuple[Progress, dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata["format"] != FORMAT:
        raise ValueError(f"it is of format {metadata['format']}, expected {FORMAT}")
    if metadata["checksum"] != _checksum(metadata["progress"], tensors):
        raise ValueError("its checksum does not fit")
    return Progress(**json.loads(metadata["progress"])), tensors


def _checksum(progress: str, tensors: dict[str, torch.Tensor]) -> str:
    """CRC-32 (hex) over the progress and all names, types, shapes and values: it is there to notice accidents."""
    checksum = zlib.crc32(progress.encode())
    for key, value in sorted(tensors.items()):
        checksum = zlib.crc32(f"{key} {value.dtype} {tuple(value.shape)}".encode(), checksum)
        checksum = zlib.crc32(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimizer_state(flat: dict[str, torch.Tensor], optimizer: optim.Optimizer) -> dict[int, dict[str, torch.Tensor]]:
    """State by parameter number, laid out in memory as the parameter is: the fused optimisers walk both in step."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        alike = value.shape == parameter.shape
        state.setdefault(int(number), {})[name] = torch.empty_like(parameter.data).copy_(value) if alike else value
    return state
