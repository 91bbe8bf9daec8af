"""Near-duplicates of images that were searched before: found once, read from then on.

The search is arithmetic on floating-point numbers, whose last bits depend on the number of threads. What was found once
is kept, so that a run that goes on, or is repeated, finds just the same.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from clearmargin.audit.near_copies import ORIENTATION_WORDS, NearCopies, find_near_copies
from clearmargin.cache import cache_folder, mark_used
from clearmargin.files import write_bytes
from clearmargin.locks import sole_writer_of
from clearmargin.records import Rows
from clearmargin.unfinished import sweep_left

_FORMAT = 1  # raise it when anything changes in the search: miniatures, candidates, alignment, crowding, chains
_AT_ONCE = 1024


def near_copies_of(miniatures: Rows, progress: Callable[[int, int], None] | None = None) -> NearCopies:
    """What `find_near_copies` finds, from the cache when these miniatures were searched before.

    Raises
    ------
    DiskError
        When the cache can't be written.
    """
    path = cache_folder() / "near-copies" / f"{_key(miniatures)}.bin"
    mark_used(path)
    found = _stored(path, miniatures.shape[0])
    if found is not None:
        return found
    with sole_writer_of(path.parent.parent, f"near-copies-{path.stem}", "looks for near copies among these images"):
        found = _stored(path, miniatures.shape[0])
        if found is None:
            found = find_near_copies(miniatures, progress=progress)
            _store(path, found)
        return found


def _key(miniatures: Rows) -> str:
    digest = hashlib.blake2b(f"{_FORMAT} {miniatures.shape}".encode(), digest_size=16)
    for start in range(0, miniatures.shape[0], _AT_ONCE):
        digest.update(miniatures.read(np.arange(start, min(start + _AT_ONCE, miniatures.shape[0]))).tobytes())
    return digest.hexdigest()


def _store(path: Path, found: NearCopies) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pairs=found.pairs,
        similarity=found.similarity,
        orientation=found.orientation,
        clusters=found.clusters,
        chained=np.array(found.chained, np.int64),
        parted=np.array(found.parted, np.int64),
    )
    content = buffer.getvalue()
    sweep_left(path.parent)
    write_bytes(path, hashlib.sha256(content).digest() + content)


def _stored(path: Path, images: int) -> NearCopies | None:
    """What is there and whole, else None."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        with np.load(io.BytesIO(content[32:]), allow_pickle=False) as stored:
            names = ("pairs", "similarity", "orientation", "clusters", "chained", "parted")
            pairs, similarity, orientation, clusters, chained, parted = (stored[name] for name in names)
    except (OSError, ValueError, LookupError, EOFError, BadZipFile):
        return None
    whole = clusters.shape == (images,) and pairs.shape == (len(similarity), 2) == (len(orientation), 2)
    if not whole or (len(orientation) and orientation.max() >= len(ORIENTATION_WORDS)):
        return None
    return NearCopies(pairs, similarity, orientation, clusters, tuple(chained.tolist()), int(parted))
