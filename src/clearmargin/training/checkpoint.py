"""What is needed to go on with a training: one file of tensors with the rest as JSON in its header, and the one before.

``state.safetensors`` is the newest. A new one is written beside it and read back; only then does the former become
``previous.safetensors``. So one that is whole is there at any moment.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn, optim

from clearmargin.errors import DiskError, RunFolderError
from clearmargin.files import move_into_place, write_tensors

FORMAT = "3"
PREVIOUS, NEXT = "previous.safetensors", "next.safetensors"
_DAMAGE = (  # what readers of bytes without sense raise
    *(SafetensorError, OSError, LookupError, ValueError, TypeError),
    *(AttributeError, RuntimeError, MemoryError, ArithmeticError),
)
_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training has come.

    Within an epoch, its random states go with the tensors. Between epochs they need no place: the order of an epoch,
    its dropout and its augmentation follow from (seed, epoch) alone.

    Attributes
    ----------
    settings
        What was asked for, as JSON: a checkpoint of other settings is refused.
    batches_done, sums, epoch_seconds
        Of the epoch that is under way: its batches that were learned from, its row of the history so far, its time.
    """

    settings: str
    epochs_done: int = 0
    best_epoch: int = 0
    best_score: float = float("-inf")
    seconds: float = 0.0
    precision: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    batches_done: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    epoch_seconds: float = 0.0


@dataclass(frozen=True)
class Restored:
    """What a checkpoint holds beside the weights and the optimiser's state.

    Attributes
    ----------
    best
        Weights of the best epoch so far; none before the first.
    random
        Random states within an epoch, by name; none between epochs.
    """

    progress: Progress
    best: dict[str, torch.Tensor]
    random: dict[str, torch.Tensor]


def save_checkpoint(
    path: Path,
    progress: Progress,
    model: nn.Module,
    best: Mapping[str, torch.Tensor],
    optimizer: optim.Optimizer,
    random: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write all of it, whole or not at all, and keep what was there as the one before.

    Raises
    ------
    DiskError
        When the file system refuses, or gives back something else than was written; what was there is untouched.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.items()}
    tensors |= {f"random.{key}": value for key, value in (random or {}).items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    text = json.dumps(asdict(progress))
    waiting = path.with_name(NEXT)
    write_tensors(waiting, tensors, {"format": FORMAT, "progress": text, "sha256": _sha256(text, tensors)})
    try:
        _read(waiting)
    except _DAMAGE as error:
        raise DiskError(
            f"{waiting} can't be read back as it was written ({error}): the disk may be failing. "
            "The checkpoint before it is kept."
        ) from error
    if path.exists():
        move_into_place(path, path.with_name(PREVIOUS))
    move_into_place(waiting, path)


def mend_checkpoint(path: Path) -> bool:
    """Put the newest checkpoint that is whole into its place; True when there is one.

    Of one that is damaged, and of what is done instead, the log tells; damaged files are removed.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    previous, shown = path.with_name(PREVIOUS), _shown(path)
    damage = {place: _damage(place) for place in (path, previous) if place.exists()}
    if path in damage and damage[path] is None:
        return True
    sound = previous in damage and damage[previous] is None
    if path in damage:
        instead = (
            "training goes on from the one before it"
            if sound
            else "there is no other that is whole, so that this contender is trained from the start"
        )
        _log.warning("%s is damaged (%s): %s. The result will be the same.", shown, damage[path], instead)
    elif previous in damage and not sound:
        _log.warning("%s is damaged (%s): this contender is trained from the start.", shown, damage[previous])
    if sound:
        move_into_place(previous, path)
    else:
        for place in damage:
            _remove(place)
    return sound


def remove_checkpoint(path: Path) -> None:
    """Remove it and the one before, lest a training that starts anew falls back to them.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    for place in (path, path.with_name(PREVIOUS), path.with_name(NEXT)):
        _remove(place)


def load_checkpoint(path: Path, settings: str, model: nn.Module, optimizer: optim.Optimizer) -> Restored | None:
    """Put model and optimiser where they were; None when there is no checkpoint that is whole.

    Raises
    ------
    RunFolderError
        When it belongs to other settings or to another network.
    """
    if not mend_checkpoint(path):
        return None
    progress, tensors = _read(path)
    if progress.settings != settings:
        raise RunFolderError(
            f"{_shown(path)} was made with other settings than the recipe now asks for: resume with the same recipe, "
            "or choose another --out."
        )
    try:
        model.load_state_dict(_below("model.", tensors))
        layout = optimizer.state_dict()
        layout["state"] = _optimizer_state(_below("optimizer.", tensors), optimizer)
        optimizer.load_state_dict(layout)
    except (RuntimeError, LookupError) as error:
        raise RunFolderError(
            f"{_shown(path)} was made with another network: resume with the same recipe, or choose another --out."
        ) from error
    # copies: what was read is a view of the file, which the next checkpoint replaces
    best, random = (
        {key: value.clone() for key, value in _below(kind, tensors).items()} for kind in ("best.", "random.")
    )
    return Restored(progress, best, random)


def stored_precision(path: Path) -> torch.dtype | None:
    """The number format of an interrupted training, None when there is none or it can't be read."""
    try:
        with safe_open(path, framework="pt") as file:
            name = json.loads((file.metadata() or {})["progress"])["precision"]
    except _DAMAGE:
        return None  # `mend_checkpoint` says what is wrong with it
    return {"torch.float32": torch.float32, "torch.bfloat16": torch.bfloat16}.get(name)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"Could not remove {path}: {error.strerror or error}.") from error


def _shown(path: Path) -> str:
    return f"The checkpoint {path.parent.parent.name}/{path.parent.name}/{path.name}"


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, None when it is whole."""
    try:
        _read(path)
    except _DAMAGE as error:
        return str(error) or type(error).__name__
    return None


def _read(path: Path) -> tuple[Progress, dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata["format"] != FORMAT:
        raise ValueError(f"it is of format {metadata['format']}, expected {FORMAT}")
    if metadata["sha256"] != _sha256(metadata["progress"], tensors):
        raise ValueError("its SHA-256 does not fit")
    return Progress(**json.loads(metadata["progress"])), tensors


def _sha256(progress: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex, over the progress and all names, types, shapes and values: it is there to notice accidents."""
    digest = hashlib.sha256(progress.encode())
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
