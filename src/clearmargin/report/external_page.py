"""The page of an external test, and what the report of a run says of the external tests it had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from clearmargin.errors import RunFolderError
from clearmargin.files import is_sealed, write_text
from clearmargin.language import tr, using
from clearmargin.report.folder import read_json, recipe_language
from clearmargin.report.templates import templates
from clearmargin.report.wording import short

VALUES_SHOWN = 4


def _metrics() -> tuple[tuple[str, str], ...]:
    """Columns of the first table: keys and titles."""
    return (
        ("accuracy", tr("Accuracy")),
        ("balanced_accuracy", tr("Balanced accuracy")),
        ("auc", tr("AUC")),
        ("log_loss", tr("Log loss")),
    )


def _measure(name: str) -> str:
    """What a row of the shift table is about."""
    words = {
        "width_px": tr("width, pixels"),
        "height_px": tr("height, pixels"),
        "bytes": tr("size of the file, bytes"),
        "brightness": tr("brightness, grey levels"),
        "contrast": tr("contrast, grey levels"),
        "sharpness": tr("sharpness"),
        "dark_share": tr("share of nearly black pixels"),
        "bright_share": tr("share of nearly white pixels"),
        "colourfulness": tr("colourfulness, grey levels"),
        "text_marks": tr("letters in the image"),
        "class": tr("class"),
        "image_size": tr("size of the image"),
        "mode": tr("mode of colour"),
        "format": tr("file format"),
        "border": tr("border of one grey level"),
    }
    return words.get(name, name)


def write_external_page(folder: Path, version: str) -> Path:
    """Write ``external.html`` from ``external.json`` and ``evaluation.json`` in the same folder.

    Parameters
    ----------
    version
        That of the program.

    Raises
    ------
    RunFolderError
        When a file is missing or damaged.
    DiskError
        When the file system refuses.
    """
    record, evaluation = _read(folder), read_json(folder / "evaluation.json", ("contenders", "n"))
    try:
        page = templates().get_template("external_page.html").render(_facts(record, evaluation, version))
    except (LookupError, TypeError, AttributeError, OverflowError, jinja2.UndefinedError) as error:
        raise RunFolderError(
            f"{folder} doesn't hold what the page needs ({type(error).__name__}: {error}): it is damaged, or of "
            "another version of clearmargin. Make the external test again."
        ) from error
    path = folder / "external.html"
    write_text(path, page)
    return path


def write_external_pages(run_folder: Path, version: str, language: str | None = None) -> list[Path]:
    """Write the page of every external test in a run folder anew.

    Parameters
    ----------
    version
        That of the program.
    language
        ``en`` or ``zh``; None for that of the run's recipe.

    Raises
    ------
    RunFolderError, DiskError
        As `write_external_page`.
    """
    with using(language or recipe_language(run_folder)):
        return [
            write_external_page(path.parent, version) for path in sorted(run_folder.glob("external/*/external.json"))
        ]


def external_tests(run_folder: Path) -> list[dict[str, Any]]:
    """The external tests in a run folder, for the first screen of its report: where their pages lie, what they found.

    Raises
    ------
    RunFolderError
        When one was edited or damaged.
    """
    return [
        {
            "page": f"external/{path.parent.name}/external.html",
            "name": record["data"]["name"],
            "sentences": record["sentences"],
        }
        for path in sorted(run_folder.glob("external/*/external.json"))
        for record in [_read(path.parent)]
    ]


def _read(folder: Path) -> dict[str, Any]:
    record = read_json(folder / "external.json", ("data", "overlap", "shift", "internal", "sentences"))
    if not is_sealed(record):
        raise RunFolderError(f"{folder / 'external.json'} was edited or damaged: make the external test again.")
    if "all_images" not in record:
        raise RunFolderError(
            f"{folder / 'external.json'} lacks all_images: its figures count copies of training images, as an earlier "
            "version of clearmargin did. Move the folder away and make the external test again."
        )
    return record


def _facts(record: Mapping[str, Any], evaluation: Mapping[str, Any], version: str) -> dict[str, Any]:
    contenders = evaluation["contenders"]
    return {
        "title": f"{record['study']} – {record['data']['name']}",
        "version": version,
        "record": record,
        "evaluation": evaluation,
        "overlap": record["overlap"],
        "metrics": _metrics(),
        "rows": _rows(record, evaluation),
        "confident": [(name, said) for name, said in contenders.items() if "conformal" in said],
        "shifts": [_shift(row) for row in record["shift"]],
    }


def _rows(record: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each contender the images tested, the internal test, and all new images where some were left out."""
    rows = []
    internal, whole = record["internal"], record["all_images"]
    for name, said in evaluation["contenders"].items():
        rows.append({"name": name, "on": tr("images from elsewhere"), "n": evaluation["n"], "metrics": said["metrics"]})
        metrics = internal["contenders"][name]
        rows.append({"name": name, "on": tr("internal test"), "n": internal["n"], "metrics": metrics})
        if whole:
            metrics = whole["contenders"][name]
            rows.append({"name": name, "on": tr("with copies of training images"), "n": whole["n"], "metrics": metrics})
    return rows


def _shift(row: Mapping[str, Any]) -> dict[str, Any]:
    sides = {key: _side(row["kind"], row[key]) for key in ("training", "new")}
    effect = "–" if row["effect"] is None else f"{row['effect']:.2f}"
    return {"title": _measure(row["what"]), "effect": effect, "notable": row["notable"], **sides}


def _side(kind: str, said: Mapping[str, Any]) -> str:
    if kind == "number":
        return f"{said['mean']:.4g} ± {said['sd']:.3g}"
    total, items = sum(said.values()), list(said.items())
    shown = [f"{short(name, 24)} {100 * count / total:.0f} %" for name, count in items[:VALUES_SHOWN]]
    return ", ".join([*shown, *(["…"] if len(items) > VALUES_SHOWN else [])])
