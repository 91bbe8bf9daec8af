"""What lies beside the report for authors and reviewers: methods text, model card, and the checker.

``check.py`` is the program's own checker, copied: it computes every figure anew and needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from clearmargin.files import write_bytes, write_text
from clearmargin.report.checklist import checklist
from clearmargin.report.folder import RunFiles
from clearmargin.report.methods_paragraph import methods_text
from clearmargin.report.model_card import model_card
from clearmargin.report.regression.folder import RegressionRun
from clearmargin.report.wording import visible


def for_authors(run: RunFiles | RegressionRun, steps: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The checklist and the methods text, for the page."""
    return {"checklist": checklist(run, run.contenders), "methods_text": methods_text(run, steps)}


def write_companions(run: RunFiles | RegressionRun, steps: Sequence[tuple[str, str]]) -> None:
    """Write ``methods.txt``, ``MODEL_CARD.md`` and ``check.py`` into the run folder.

    Raises
    ------
    DiskError
        When the file system refuses.
    """
    paragraphs = [visible(paragraph) for paragraph in methods_text(run, steps)]
    write_text(run.folder / "methods.txt", "\n\n".join(paragraphs) + "\n")
    write_text(run.folder / "MODEL_CARD.md", model_card(run, run.contenders))
    write_bytes(run.folder / "check.py", (resources.files("clearmargin") / "check.py").read_bytes())
