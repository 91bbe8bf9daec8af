"""What an image looks like in a few numbers: brightness, contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Appearance:
    """Measured on the grey 8-bit image at its original size.

    Attributes
    ----------
    brightness, contrast
        Mean and standard deviation of the pixels, grey levels from 0 to 255.
    """

    brightness: float
    contrast: float


def appearance(grey: np.ndarray) -> Appearance:
    """Measure a grey image.

    Parameters
    ----------
    grey
        uint8 of shape (height, width).
    """
    values = grey.astype(np.float32)
    return Appearance(round(float(values.mean()), 3), round(float(values.std()), 3))
