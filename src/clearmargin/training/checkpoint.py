"""What is needed to go on after an epoch: one file of tensors with the rest as JSON in its header."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn, optim

from clearmargin.errors import RunFolderError
from clearmargin.files import atomic_path

FORMAT = 1


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
    """Write all of it, whole or not at all."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    metadata = {"format": str(FORMAT), "progress": json.dumps(asdict(progress))}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata=metadata)


def load_checkpoint(
    path: Path, settings: str, model: nn.Module, optimizer: optim.Optimizer
) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Put model and optimiser where they were; return the progress and the best weights so far.

    Raises
    ------
    RunFolderError
        When the file is damaged or belongs to other settings.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        progress = Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise RunFolderError(
            f"The checkpoint {path.parent.parent.name}/{path.parent.name}/{path.name} is damaged ({error}): "
            "delete it to train this contender from the start."
        ) from error
    if progress.settings != settings:
        raise RunFolderError(
            f"The checkpoint of '{path.parent.parent.name}' was made with other settings than the recipe now asks "
            "for: resume with the same recipe, or choose another --out."
        )
    model.load_state_dict(_below("model.", tensors))
    layout = optimizer.state_dict()
    layout["state"] = _optimizer_state(_below("optimizer.", tensors))
    optimizer.load_state_dict(layout)
    return progress, _below("best.", tensors)


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _optimizer_state(flat: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    return state
