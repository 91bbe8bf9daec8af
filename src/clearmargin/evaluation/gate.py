"""Telling images that are unlike anything the model was trained on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GateRule:
    """Fixed on the validation part: an image whose distance is larger than the threshold is unlike the training part.

    Attributes
    ----------
    false_alarms
        Share of images like those of the validation part that is meant to be called unlike.
    threshold
        Distance, in the unit of `gate`.
    sha256
        Of ``gate.safetensors``, hex.
    """

    false_alarms: float
    threshold: float
    sha256: str
