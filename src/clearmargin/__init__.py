"""From a folder of labelled tumour images to a result a reviewer believes.

    import clearmargin as cm

    run = cm.run("tumor", data="brain-tumor-mri.zip", out="runs/tumor")
    run.evaluation["contenders"]["VGG16"]["metrics"]["balanced_accuracy"]
    run.predictions
    run.contenders["VGG16"].predict(["one.jpg", "another.png"])

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clearmargin import telemetry
from clearmargin.errors import ClearmarginError, UsageError, WorkError

if TYPE_CHECKING:
    from clearmargin.runs import Run, open_run
    from clearmargin.study import run
    from clearmargin.trained import TrainedContender

telemetry.switch_off()

__version__ = "0.1.0"
__all__ = [
    "ClearmarginError",
    "Run",
    "TrainedContender",
    "UsageError",
    "WorkError",
    "__version__",
    "open_run",
    "run",
]

_LAZY = {
    "Run": "clearmargin.runs",
    "TrainedContender": "clearmargin.trained",
    "open_run": "clearmargin.runs",
    "run": "clearmargin.study",
}


def __getattr__(name: str) -> Any:
    if name == "learn":
        return import_module("clearmargin.learn")
    if name not in _LAZY:
        raise AttributeError(f"module 'clearmargin' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
