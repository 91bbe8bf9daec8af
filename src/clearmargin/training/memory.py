"""Memory that is freed is used again, instead of being given back to the system at every step."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

# glibc's names for mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST_REUSED = 32 << 20  # bytes; the most glibc allows on 64-bit systems
_KEPT = 512 << 20
_PADDING = 64 << 20


def reuse_freed_memory(*, one_arena: bool = False) -> bool:
    """Ask glibc to keep what is freed; return whether it does.

    By default it maps every block of some megabytes anew and gives it back when it is freed, so that each step of a
    training touches fresh pages, which the system first has to fill with zeros. Elsewhere than under glibc nothing is
    changed. It counts for the whole process; the peak of memory stays what it was.

    Parameters
    ----------
    one_arena
        For all threads that begin from now on the same heap: one of their own could not grow, and would be given back.
    """
    if not sys.platform.startswith("linux"):
        return False
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        settings = [(_MMAP_THRESHOLD, _LARGEST_REUSED), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PADDING)]
        settings += [(_ARENA_MAX, 1)] if one_arena else []
        done = [mallopt(name, value) for name, value in settings]  # each is tried, whatever becomes of the others
        return all(one == 1 for one in done)
    return False
