"""A finished run tested on images from elsewhere: frozen weights, temperature and thresholds, and nothing learned.

Nothing is imported before it is used: who asks whether a model is the one that was evaluated tests nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmargin.external.testing import ExternalTest, evaluate_external
    from clearmargin.external.training_data import write_training_data

__all__ = ["ExternalTest", "evaluate_external", "write_training_data"]

_LAZY = {
    "ExternalTest": "clearmargin.external.testing",
    "evaluate_external": "clearmargin.external.testing",
    "write_training_data": "clearmargin.external.training_data",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'clearmargin.external' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
