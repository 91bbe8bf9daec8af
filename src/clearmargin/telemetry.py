"""Libraries that would report home are told not to, before the first of them is imported."""

from __future__ import annotations

import os

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime, from version 1.29 on
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # a convention that several follow
}


def switch_off() -> None:
    """Set the variables that such libraries look at, whatever they were; processes that are started inherit them."""
    os.environ.update(SWITCHES)
