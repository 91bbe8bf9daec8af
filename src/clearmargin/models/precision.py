"""Which number format this processor computes convolutions fastest in."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import nn

from clearmargin.cache import cache_folder
from clearmargin.errors import DiskError
from clearmargin.files import write_json
from clearmargin.locks import sole_writer_of
from clearmargin.unfinished import sweep_left

# bfloat16 has to be clearly faster: it costs accuracy of the arithmetic, and a close race would fall differently
# from run to run. Processors with AMX or with two bfloat16 units a core win by two to eight; Sapphire and Emerald
# Rapids with AMX hidden by the hypervisor lose by a half, although they list avx512_bf16.
CLEARLY_FASTER = 1.2
FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_precision(setting: str, *, little_work: bool = False) -> torch.dtype:
    """The number format for a ``precision`` setting: ``float32``, ``bfloat16``, or chosen for ``auto``.

    Parameters
    ----------
    little_work
        ``auto`` is then float32: where the convolutions take no time, bfloat16 would cost digits and save nothing.
        Otherwise it is measured.
    """
    asked = FORMATS.get(setting)
    return asked or (torch.float32 if little_work else fastest_precision())


@cache
def fastest_precision() -> torch.dtype:
    """What is faster on this machine, measured once.

    It is kept in the cache folder: a close race might fall otherwise when a run that was stopped goes on, or in another
    process that works on the same. Where that folder can't be written, each process measures.
    """
    machine = f"{_processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    path = cache_folder() / "precision.json"
    found = FORMATS.get(_stored(path).get(machine, ""))
    if found is None:
        with suppress(DiskError), sole_writer_of(path.parent, "precision", "measures which number format is faster"):
            stored = _stored(path)
            found = FORMATS.get(stored.get(machine, ""))  # the first that measured is right for all
            if found is None:
                found = _measured()
                sweep_left(path.parent)
                write_json(path, {**stored, machine: name_of(found)})
    return found or _measured()


def name_of(precision: torch.dtype) -> str:
    """Its key in `FORMATS`."""
    return str(precision).removeprefix("torch.")


def _processor() -> str:
    """What /proc/cpuinfo says of the first core, as far as it stays the same from start to start."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
        said = "\n".join(line for line in lines if line.startswith(("model name", "Model", "flags", "Features")))
        return hashlib.sha256(said.encode()).hexdigest()[:16]
    return platform.machine()


def _stored(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(said, str) for said in found.values())
    return found if whole else {}


def _measured() -> torch.dtype:
    """Time one middle-sized convolution in both formats (about 0.1 s)."""
    seconds = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    faster = seconds[torch.float32] > CLEARLY_FASTER * seconds[torch.bfloat16]
    return torch.bfloat16 if faster else torch.float32


def _seconds(dtype: torch.dtype, repeats: int = 5) -> float:
    conv = nn.Conv2d(128, 128, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.zeros(4, 128, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    best = float("inf")
    with torch.inference_mode():
        conv(images)
        for _ in range(repeats):
            start = time.perf_counter()
            conv(images)
            best = min(best, time.perf_counter() - start)
    return best
