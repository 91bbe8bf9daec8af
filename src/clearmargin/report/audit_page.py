"""The audit as a page of its own: what was looked at and what was noticed, with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from clearmargin.errors import RunFolderError
from clearmargin.files import write_text
from clearmargin.language import tr
from clearmargin.records import PARTS
from clearmargin.report.findings import findings_facts
from clearmargin.report.folder import read_json
from clearmargin.report.methods import source_words
from clearmargin.report.templates import templates
from clearmargin.report.thumbnails import Pictures
from clearmargin.report.wording import without_folders


@dataclass(frozen=True)
class ClassRow:
    """One class: its images in all, and in each part that the source gives."""

    name: str
    images: int
    parts: tuple[int, ...]


def write_audit_page(
    folder: Path,
    name: str,
    version: str,
    pictures: Pictures | None = None,
    audit: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``audit.html`` from the ``audit.json`` in the same folder.

    Parameters
    ----------
    name
        What the data are called.
    version
        That of the program.
    pictures
        Gives images by name, as `write_report` takes them; thumbnails are kept in ``figures/audit``. None for a table.
    audit
        The content of ``audit.json``, while that is not in its place yet.

    Returns
    -------
    The path of the page. The same files give the same bytes.

    Raises
    ------
    RunFolderError
        When ``audit.json`` is missing or damaged.
    DiskError
        When the file system refuses.
    """
    audit = read_json(folder / "audit.json") if audit is None else audit
    try:
        page = templates().get_template("audit_page.html").render(_facts(audit, folder, name, version, pictures))
    except (LookupError, TypeError, AttributeError, OverflowError, jinja2.UndefinedError) as error:
        raise RunFolderError(
            f"{folder / 'audit.json'} doesn't hold what the page needs ({type(error).__name__}: {error}): it is "
            "damaged, or of another version of clearmargin. Audit the data again."
        ) from error
    path = folder / "audit.html"
    write_text(path, page)
    return path


def _facts(
    audit: Mapping[str, Any], folder: Path, name: str, version: str, pictures: Pictures | None
) -> dict[str, Any]:
    kind, given = audit.get("source_kind", ""), audit.get("given") or {}
    parts = [part for part in PARTS if part in given]
    return {
        **findings_facts(audit, None if kind == "table" else folder, pictures),
        "title": without_folders(name),
        "version": version,
        "noun": "row" if kind == "table" else "image",
        "source": tr("a table of numbers") if kind == "table" else source_words(kind),
        "counts": audit["counts"],
        "simulated": bool(audit.get("simulated")),
        "parts": parts,
        "part_sizes": [sum(given[part].values()) for part in parts],
        "classes": [
            ClassRow(label, images, tuple(given[part].get(label, 0) for part in parts))
            for label, images in (audit.get("classes") or {}).items()
        ],
    }
