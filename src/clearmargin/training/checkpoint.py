"""What is needed to go on with a training: one file of tensors with the rest as JSON in its header, and the one before.

``state.safetensors`` is the newest. A new one is written beside it and read back; only then does the former become
``previous.safetensors``. So one that is whole is there at any moment.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn, optim

from clearmargin.errors import DiskError, RunFolderError, WorkError
from clearmargin.files import move_into_place, remove, write_tensors

FORMAT = "4"
PREVIOUS, NEXT = "previous.safetensors", "next.safetensors"
_DAMAGE = (  # what readers of bytes without sense raise
    *(SafetensorError, LookupError, ValueError, TypeError),
    *(AttributeError, ArithmeticError, RecursionError),
)
_PASSING = (OSError, MemoryError, RuntimeError)  # the disk is away, or memory is short, which torch calls the last
_SAME = "With the same versions and as many threads, the result will be the same."
_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training has come.

    Within an epoch, its random states go with the tensors. Between epochs they need no place: the order of an epoch,
    its dropout and its augmentation follow from (seed, epoch) alone.

    Attributes
    ----------
    settings
        What was asked for, and of what network, as JSON: a checkpoint of anything else is refused.
    batches_done, sums, epoch_seconds
        Of the epoch that is under way: its batches that were learned from, its row of the history so far, its time.
    computed_with
        Versions, and the number of threads, that it began with.
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
    computed_with: dict[str, str | int] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """The number format it began with."""
        return getattr(torch, self.precision.removeprefix("torch."))


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


_Held = tuple[Progress, dict[str, torch.Tensor]]


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
    except (*_DAMAGE, *_PASSING, RunFolderError) as error:
        raise DiskError(
            f"{waiting} can't be read back as it was written ({error}): the disk may be failing. "
            "The checkpoint before it is kept."
        ) from error
    if path.exists():
        move_into_place(path, path.with_name(PREVIOUS))
    move_into_place(waiting, path)


def mend_checkpoint(path: Path) -> Progress | None:
    """Put the newest checkpoint that is whole into its place, and tell how far it came; None when there is none.

    Of one that is damaged, and of what is done instead, the log tells; damaged files are removed.

    Raises
    ------
    RunFolderError
        When one is of another format, so that another version can go on with it: nothing is removed then.
    WorkError
        When one can't be read at the moment, which says nothing about it: nothing is removed then.
    DiskError
        When the file system refuses.
    """
    held = _mended(path)
    return None if held is None else held[0]


def remove_checkpoint(path: Path) -> None:
    """Remove it and the one before, lest a training that starts anew falls back to them.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    for place in (path, path.with_name(PREVIOUS), path.with_name(NEXT)):
        remove(place)


def load_checkpoint(path: Path, settings: str, model: nn.Module, optimizer: optim.Optimizer) -> Restored | None:
    """Put model and optimiser where they were; None when there is no checkpoint that is whole.

    Raises
    ------
    RunFolderError
        When it belongs to other settings or to another network, or as `mend_checkpoint`.
    WorkError, DiskError
        As `mend_checkpoint`.
    """
    held = _mended(path)
    if held is None:
        return None
    progress, tensors = held
    if progress.settings != settings:
        raise RunFolderError(
            f"{_shown(path)} was made with other settings, another network or other pretrained weights than now: "
            "resume with the same recipe and the same files, or choose another --out."
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


def _mended(path: Path) -> _Held | None:
    previous, shown = path.with_name(PREVIOUS), _shown(path)
    newest = _attempt(path)
    if newest is not None and not isinstance(newest, str):
        return newest
    before = _attempt(previous)
    if before is not None and not isinstance(before, str):
        if newest is not None:
            _log.warning("%s is damaged (%s): training goes on from the one before it. %s", shown, newest, _SAME)
        move_into_place(previous, path)
        return _mended(path)
    if newest is not None or before is not None:
        told = "there is no other that is whole, so that this contender is trained from the start"
        _log.warning("%s is damaged (%s): %s. %s", shown, newest or before, told, _SAME)
        for place in (path, previous):
            remove(place)
    return None


def _attempt(path: Path) -> _Held | str | None:
    """What a checkpoint holds; in words what is wrong with one that is damaged; None when there is none.

    Raises
    ------
    RunFolderError
        When it is of another format.
    WorkError
        When it can't be read at the moment.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        return str(error) or type(error).__name__
    except _PASSING as error:
        said = error.strerror if isinstance(error, OSError) else None
        reason = said or " ".join(str(error).split()) or "out of memory"
        raise WorkError(
            f"{_shown(path)} can't be read at the moment ({reason}): nothing was removed. Resume when it can; to train "
            f"this contender from the start, delete {path.parent}."
        ) from error


def _shown(path: Path) -> str:
    return f"The checkpoint {path.parent.parent.name}/{path.parent.name}/{path.name}"


def _read(path: Path) -> _Held:
    """What a checkpoint holds, its hash checked.

    Raises
    ------
    RunFolderError
        When it is of another format.
    OSError, MemoryError, RuntimeError
        When it can't be read at the moment.
    Exception
        One of `_DAMAGE`, when it is damaged.
    """
    with path.open("rb", buffering=0) as plain:  # of a mapped file, an error of the disk would end the process
        piece, size = bytearray(2**20), 0
        while read := plain.readinto(piece):
            size += read
    if not size:
        raise ValueError("it is empty")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    found = metadata["format"]
    if found != FORMAT:
        if not re.fullmatch("[0-9]{1,4}", found):
            raise ValueError("its format is no number")
        raise RunFolderError(
            f"{_shown(path)} was written by another version of clearmargin (its format is {found}, expected {FORMAT}): "
            "nothing was removed. Resume with that version; to train this contender from the start with this one, "
            f"delete {path.parent}."
        )
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
