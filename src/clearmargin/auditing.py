"""Data looked at without a study: what is wrong with them, and what leaks are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clearmargin.audit import Audit
from clearmargin.claim import check_apart, check_audit_folder, sole_writer
from clearmargin.console import shown_progress
from clearmargin.errors import NotImagesError, UsageError
from clearmargin.files import atomic_path, json_bytes
from clearmargin.preparation import audit_inputs, named, own_column, pictures_of, read_inputs
from clearmargin.recipe import Data, SplitSettings, check_settings
from clearmargin.records import Inputs, Preprocessing, Progress


def audit_data(
    data: str | Path,
    *,
    target: str | None = None,
    group_pattern: str | None = None,
    group_by: str | None = None,
    out: Path | None = None,
    quick: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Audit data without training on them; decodes images at the default size (smaller ones at theirs).

    Parameters
    ----------
    target
        The data are a table, and this column is what would be learned.
    group_pattern
        Finds the patients in the names of images.
    group_by
        Column whose equal values belong together, beside patients and copies.
    out
        Folder to write ``audit.json`` and ``audit.html`` into: new, empty, or that of an earlier audit.
    quick
        Leave out the search for wrong labels, which takes features of every image.

    Raises
    ------
    ClearmarginError
        `UsageError` when the data or ``out`` can't be used, `WorkError` when the files can't be written.
    """
    asked = _asked(group_by)
    if target is not None and group_pattern is not None:
        raise UsageError("A group pattern is for images, and a target makes the data a table: leave one out.")
    if out is not None:
        check_audit_folder(out)
        check_apart(out, named(data))
    with shown_progress(progress) as shown:
        inputs, source = read_inputs(_data(data, target, group_pattern), shown, own_column(asked), no_larger=True)
        found = audit_inputs(inputs, source, asked, suspects=not quick, progress=shown)
        if out is not None:
            shown("Writing the audit page", 0, 0, "")
            _write_audit(out, found, named(data), inputs)
    return found


def _write_audit(out: Path, found: Audit, data: str, inputs: Inputs) -> None:
    from clearmargin.environment import describe_environment
    from clearmargin.report import write_audit_page

    # the JSON comes into its place only once the page is in its own: when the disk is full, both stay what they were
    with sole_writer(out), atomic_path(out / "audit.json") as waiting:
        content = json_bytes(found.as_json())
        waiting.write_bytes(content)
        images = isinstance(inputs.preprocessing, Preprocessing)
        pictures = (lambda names: pictures_of(inputs, names)) if images else None
        version = describe_environment()["clearmargin"]
        write_audit_page(out, Path(data).name or data, version, pictures, json.loads(content))


def leakage_of_data(
    data: str | Path,
    *,
    seeds: int = 5,
    group_pattern: str | None = None,
    group_by: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What leaks are worth in a set of images, as `leakage.leakage` measures it with the seeds from 0 on.

    What belongs together is said as for `audit_data`.

    Raises
    ------
    ClearmarginError
        `UsageError` when the data can't be used, or are rows of a table.
    """
    from clearmargin.leakage import leakage

    asked = _asked(group_by)
    with shown_progress(progress) as shown:
        try:
            inputs, source = read_inputs(_data(data, None, group_pattern), shown, own_column(asked), no_larger=True)
        except NotImagesError as error:
            raise NotImagesError(
                f"The price of leakage is measured on images with class names, and {str(data)!r} holds none. Of a "
                "table of numbers, `clearmargin audit DATA --target COLUMN` counts the rows that are copies."
            ) from error
        found = audit_inputs(inputs, source, asked, progress=shown)
        return leakage(inputs, found.copies, found.units, seeds=range(seeds), progress=shown)


def _data(data: str | Path, target: str | None, group_pattern: str | None) -> Data:
    """Data outside a recipe; a name that can't be is left to those who open it, and say so in words."""
    return Data.model_construct(source=named(data), target=target, group_pattern=group_pattern)


def _asked(group_by: str | None) -> SplitSettings:
    """What belongs together outside a recipe."""
    return check_settings("split", {} if group_by is None else {"group_by": group_by}, "the options")
