"""The folder for everything that can be had again: computed once more, or downloaded once more."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``CLEARMARGIN_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("CLEARMARGIN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("clearmargin"))
