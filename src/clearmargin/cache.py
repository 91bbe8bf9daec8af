"""The folder for everything that can be had again: computed once more, or downloaded once more.

It grows up to a limit. What was used longest ago goes first; what was fetched, and the record of evaluations, stay.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clearmargin.errors import UsageError
from clearmargin.unfinished import is_being_written

LIMIT_VARIABLE = "CLEARMARGIN_CACHE_LIMIT"
DEFAULT_LIMIT_BYTES = 20 * 10**9
IN_USE_SECONDS = 2 * 86_400  # a study that is under way may have opened its entry this long ago
# Folders of the cache whose entries are computed, and what a person calls them
COMPUTED = {
    "listings": "lists of the images in archives",
    "pixels": "decoded images",
    "trunk": "outputs of frozen layers",
    "features": "features of images",
    "near-copies": "near copies found",
}
FETCHED = {"weights": "weights", "data": "data sets"}
_UNITS = {"": 0, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache.

    Attributes
    ----------
    kind
        Folder it lies in: a key of `COMPUTED` or `FETCHED`.
    size_bytes
        Of the disk; a file with holes takes less than its length.
    used
        When it was last used, in seconds since 1970.
    """

    path: Path
    kind: str
    size_bytes: int
    used: float


def cache_folder() -> Path:
    """``CLEARMARGIN_CACHE``, or the user's cache folder.

    Raises
    ------
    UsageError
        When the variable names the home of somebody who has none.
    """
    chosen = os.environ.get("CLEARMARGIN_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise UsageError(f"CLEARMARGIN_CACHE can't be used, got {chosen!r}: {error} Give a whole path.") from error
    import pooch

    return Path(pooch.os_cache("clearmargin"))


def mark_used(entry: Path) -> None:
    """Note that an entry is in use just now, so that it is among the last to be trimmed."""
    with suppress(OSError):  # somebody else's cache may be read, and not written to
        os.utime(entry)


def cache_entries(folder: Path | None = None) -> list[CacheEntry]:
    """Everything in the cache that takes space, the least recently used first."""
    root = folder or cache_folder()
    found = []
    for kind in (*COMPUTED, *FETCHED):
        with suppress(OSError):
            found += [_entry(path, kind) for path in (root / kind).iterdir() if not is_being_written(path)]
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def trim_cache(
    limit_bytes: int, folder: Path | None = None, *, in_use_seconds: float = IN_USE_SECONDS
) -> list[CacheEntry]:
    """Remove what was computed, the least recently used first, until the whole cache takes at most so many bytes.

    Parameters
    ----------
    in_use_seconds
        What was used so recently stays, whatever it takes: another process may be at work on it.

    Returns
    -------
    What was removed.
    """
    entries = cache_entries(folder)
    excess = sum(entry.size_bytes for entry in entries) - limit_bytes
    removed = []
    for entry in entries:
        if excess <= 0:
            break
        if entry.kind in COMPUTED and _remove(entry, in_use_seconds):
            removed.append(entry)
            excess -= entry.size_bytes
    return removed


def clear_cache(
    kinds: Sequence[str] = tuple(COMPUTED), folder: Path | None = None, *, in_use_seconds: float = IN_USE_SECONDS
) -> list[CacheEntry]:
    """Remove the entries of these kinds (keys of `COMPUTED` and `FETCHED`) that are not in use; return which."""
    return [entry for entry in cache_entries(folder) if entry.kind in kinds and _remove(entry, in_use_seconds)]


def cache_limit() -> int:
    """Bytes to which the cache is trimmed: ``CLEARMARGIN_CACHE_LIMIT``, or 20 GB.

    Raises
    ------
    UsageError
        When the variable is not a size.
    """
    asked = os.environ.get(LIMIT_VARIABLE)
    return DEFAULT_LIMIT_BYTES if not asked else parse_size(asked, LIMIT_VARIABLE)


def parse_size(text: str, where: str) -> int:
    """Bytes of ``500MB``, ``2.5 GB``, ``0``; units are powers of 1000, and only 0 needs none.

    Raises
    ------
    UsageError
        Naming ``where``, when it is not a size.
    """
    match = _SIZE.fullmatch(text)
    if match is None or not (match[2] or float(match[1]) == 0):
        raise UsageError(f"{where} needs a size such as 500MB or 20GB, got {text!r}.")
    return round(float(match[1]) * _UNITS[match[2].lower()])


def _entry(path: Path, kind: str) -> CacheEntry:
    inside = [path]
    if path.is_dir() and not path.is_symlink():
        with suppress(OSError):
            inside += path.rglob("*")
    size, used = 0, 0.0
    for each in inside:
        with suppress(OSError):  # it may vanish while we look
            found = each.lstat()
            size += 512 * found.st_blocks if hasattr(found, "st_blocks") else found.st_size
            used = max(used, found.st_mtime)
    return CacheEntry(path, kind, size, used)


def _remove(entry: CacheEntry, in_use_seconds: float) -> bool:
    """Take an entry away whole, unless it was used since: it leaves its place at once, so that nobody opens half of it.

    What can't be deleted then is an entry of its own, to be tried again.
    """
    path = entry.path
    leaving = path.with_name(f".{path.name}.leaving")
    if time.time() - _entry(path, entry.kind).used < in_use_seconds:
        return False
    try:
        path.rename(leaving)
    except OSError:
        return False
    with suppress(OSError):
        if leaving.is_dir() and not leaving.is_symlink():
            shutil.rmtree(leaving)
        else:
            leaving.unlink()
    return True
