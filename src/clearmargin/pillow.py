"""What Pillow does on damaged files: the errors it raises, and the warnings that nobody can use."""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

# What Pillow's plugins are known to raise on damaged files. They parse by indexing, unpacking and arithmetic
# and leave most mistakes of the file to Python, hence the length of the list. Anything else is a bug of ours
# and must be seen.
DAMAGE = (
    OSError,  # truncated, unidentified, refused by libjpeg, libtiff or libwebp
    SyntaxError,  # Pillow's word for a broken header
    ValueError,  # with UnicodeError: tags, chunks, conversions that do not exist
    EOFError,
    struct.error,
    zlib.error,
    LookupError,  # IndexError, KeyError: tables and tags that are not there
    ArithmeticError,  # ZeroDivisionError, OverflowError: resolutions, sizes
    TypeError,
    AttributeError,
    NameError,  # UnboundLocalError: a branch of a parser that was never reached in a sound file
    AssertionError,
    RuntimeError,  # with NotImplementedError and RecursionError
    MemoryError,
    BufferError,
    Image.DecompressionBombError,
)

_quiet_lock = threading.Lock()
_quiet_count = 0
_QUIET_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Hide Pillow's warnings (broken tags, large images) while any thread decodes.

    `warnings.catch_warnings` swaps the whole list of filters, so threads that overlap would restore each
    other's. Here one filter, for Pillow's modules only, goes in front and the last to leave takes it out.
    """
    global _quiet_count
    with _quiet_lock:
        _quiet_count += 1
        if _QUIET_FILTER not in warnings.filters[:1]:
            warnings.filters.insert(0, _QUIET_FILTER)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_count -= 1
            while not _quiet_count and _QUIET_FILTER in warnings.filters:
                warnings.filters.remove(_QUIET_FILTER)  # type: ignore[attr-defined]
