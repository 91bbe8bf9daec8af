"""What people see: the figures and one offline HTML file.

Nothing is imported before it is used: a server that takes a word from here has no need of the figures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmargin.report.audit_page import write_audit_page
    from clearmargin.report.page import write_report

__all__ = ["write_audit_page", "write_report"]

_LAZY = {"write_audit_page": "clearmargin.report.audit_page", "write_report": "clearmargin.report.page"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'clearmargin.report' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
