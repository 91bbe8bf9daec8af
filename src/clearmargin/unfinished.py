"""The names of what is being written, and whether whoever writes is still there."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path

_DAY_SECONDS = 86_400
_IDENTITIES = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
_LONGEST = 50  # characters of the name: with four bytes each and what is added, it stays below 255 bytes


def _machine() -> str:
    """Where process numbers mean the same: this machine, or this container on it."""
    place = platform.node() + _installation()
    with suppress(OSError):  # the same on every machine, outside of containers
        place += str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _installation() -> str:
    """What tells machines of one name apart, some "localhost" and another; empty where the system has no such thing.

    The number of the installation stays over a restart, that of the start is there in every container.
    """
    for path in _IDENTITIES:
        with suppress(OSError):
            said = path.read_bytes()[:100].decode("ascii", "replace").strip()
            if said not in ("", "uninitialized"):
                return said
    return ""


_MACHINE = _machine()


def temporary_beside(target: Path) -> Path:
    """A name that nobody else takes, beside ``target``, to write under until it is whole."""
    # Leading dot, target, machine, process, anything, "tmp": `_is_stale` reads it back.
    return target.with_name(f".{target.name[:_LONGEST]}.{_MACHINE}.{os.getpid()}.{uuid.uuid4().hex[:12]}.tmp")


def is_unfinished(name: str) -> bool:
    """True for the names of `temporary_beside`."""
    return name.startswith(".") and name.endswith(".tmp")


def is_being_written(path: Path) -> bool:
    """True for what lies beside its place until it is whole, unless it was left there."""
    return is_unfinished(path.name) and not _is_stale(path)


def sweep_left(folder: Path) -> None:
    """Remove what processes that are gone had not finished in a folder; what others are writing stays."""
    for path in folder.glob(".*.tmp"):
        if _is_stale(path):
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_stale(temporary: Path) -> bool:
    """True when the process that wrote it is gone, or nothing was written for a day."""
    with suppress(OSError):  # it may vanish while we look
        inside = temporary.iterdir() if temporary.is_dir() else ()
        newest = max(path.stat().st_mtime for path in (temporary, *inside))
        if time.time() - newest > _DAY_SECONDS:
            return True
    parts = temporary.name.rsplit(".", 4)  # target, machine, process, anything, "tmp"
    ours = len(parts) == 5 and parts[1] == _MACHINE and parts[2].isdecimal()
    return ours and not _is_running(int(parts[2]))


def _is_running(process: int) -> bool:
    if os.name == "nt":  # there, os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # someone else's, or no number of ours
        return True
    return True
