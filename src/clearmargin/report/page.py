"""Writing the report: one HTML file that needs nothing else, and the figures as files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.intervals import too_few_groups
from clearmargin.evaluation.rounds import first_round, tested_in_all
from clearmargin.files import write_bytes
from clearmargin.language import tr, using
from clearmargin.records import PARTS
from clearmargin.report import (
    calibration,
    data_flow,
    decision,
    findings,
    insides,
    knowing,
    leakage,
    methods,
    mistakes,
    overview,
    proof,
    repeats,
    results,
    subgroups,
    tuning,
    wording,
)
from clearmargin.report.companions import for_authors, write_companions
from clearmargin.report.drawing import language_of_files, write_drawings
from clearmargin.report.external_page import external_tests
from clearmargin.report.figures import SERIES, Look
from clearmargin.report.folder import RunFiles, StudyFiles, read_evaluation, read_run, recipe_language
from clearmargin.report.marking import mark_page, marked
from clearmargin.report.regression.page import regression_facts
from clearmargin.report.shortening import LARGEST_REPORT, MEASURES, Material, arranged
from clearmargin.report.templates import templates
from clearmargin.report.thumbnails import Pictures, Thumbnail, load_thumbnails, save_thumbnails

CLASSES_SPREAD_OUT = 12  # more classes go into boxes of their own that scroll


def write_report(run_folder: Path, pictures: Pictures | None = None, language: str | None = None) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``figures/*.pdf`` from the files of a finished run.

    Parameters
    ----------
    run_folder
        The run folder; only its own files are read.
    pictures
        Gives images by name as uint8 arrays of shape (height, width, 1 or 3), for the gallery of mistakes and the
        findings of the audit; those it does not have are absent from its answer. Thumbnails are kept in
        ``figures/mistakes`` and ``figures/audit``, so that a later call without ``pictures`` still shows them.
    language
        ``en`` or ``zh``; None for that of the run's own recipe.

    Returns
    -------
    The path of the report. The same files give the same bytes.

    Raises
    ------
    UsageError
        When there is no such language.
    RunFolderError
        When a file is missing or damaged, or when two files contradict each other.
    DiskError
        When the file system refuses.
    """
    with using(language or recipe_language(run_folder)):
        return _write(run_folder, pictures)


def _write(run_folder: Path, pictures: Pictures | None) -> Path:
    regression = read_evaluation(run_folder)["task"] == "regression"
    try:
        content = _regression_page(run_folder) if regression else _classification_page(run_folder, pictures)
    except (LookupError, TypeError, AttributeError, OverflowError, jinja2.UndefinedError) as error:
        raise RunFolderError(
            f"The files of {run_folder} don't hold what a page needs ({type(error).__name__}: {error}): one of them is "
            "damaged, or of another version of clearmargin. Run the study again."
        ) from error
    path = run_folder / "report.html"
    write_bytes(path, content)
    return path


def _regression_page(run_folder: Path) -> bytes:
    return _small_enough("regression/page.html", regression_facts(run_folder), [{}])


def _classification_page(run_folder: Path, pictures: Pictures | None) -> bytes:
    facts, material = _classification_facts(run_folder, pictures)
    return _small_enough("page.html", facts, (arranged(material, measure) for measure in MEASURES))


def _small_enough(template: str, facts: dict[str, Any], ways: Iterable[dict[str, Any]]) -> bytes:
    """The first page that is small enough, of several ways to arrange it, the fullest first."""
    steps, size = facts["how"]["steps"], 0
    facts = {**facts, **for_authors(facts["run"], steps)}
    for way in ways:
        page = templates().get_template(template).render({**facts, **way})
        content = (mark_page(page) if facts["leaks"] else page).encode("utf-8")
        size = len(content)
        if size <= LARGEST_REPORT:
            write_companions(facts["run"], steps)
            return content
    raise _too_large(size, facts["run"])


def _classification_facts(run_folder: Path, pictures: Pictures | None) -> tuple[dict[str, Any], Material]:
    """Write the figures of a classification, and gather what its page shows, and what is arranged to fit into it."""
    run = read_run(run_folder)
    first = _first_screen(run)
    material = Material(run, _thumbnails(run, pictures), insides.read_insides(run), results.per_class(run))
    with marked(first["leaks"]):
        drawn = _drawn(material, pictures)
    price = leakage.price_of_leakage(run)
    return {**first, **drawn, "price": price, "run": run, "p_values": overview.p_values}, material


def _drawn(material: Material, pictures: Pictures | None) -> dict[str, Any]:
    """All that has figures or pictures: those for papers are written, those of the page returned."""
    run = material.run
    panels, roc_note = results.roc_panels(run)
    looks = {contender.name: Look(k) for k, contender in enumerate(run.contenders)}
    with using(language_of_files()):
        files = {**results.figure_files(run, panels), **repeats.figure_files(run, looks), **tuning.figure_files(run)}
        for room in (calibration, knowing, decision):
            files |= room.figure_files(run)
        write_drawings(run.folder / "figures", files)
    return {
        **_data(run, pictures),
        **_results(run, material.seen),
        "how": _how(run),
        "insides_in_all": len(material.seen),
        "roc": results.roc_figures(panels),
        "roc_note": roc_note,
        "repeats": repeats.repeats(run, looks),
        "tuning": tuning.tuning(run),
        "calibration": calibration.calibration(run),
        "knowing": knowing.knowing(run),
        "decision": decision.decision_curves(run),
        "subgroups": subgroups.subgroups(run),
    }


def _too_large(size: int, run: StudyFiles) -> RunFolderError:
    classes = run.evaluation.get("classes", ())
    many = f" and {wording.plural(len(classes), 'class', 'classes')}" if classes else ""
    return RunFolderError(
        f"The report of {run.folder} would take {wording.bytes_size(size)}, more than "
        f"{wording.bytes_size(LARGEST_REPORT)}: it has "
        f"{wording.plural(len(run.evaluation['contenders']), 'contender')}{many}. Compare fewer at a time."
    )


def _thumbnails(run: RunFiles, pictures: Pictures | None) -> dict[str, Thumbnail]:
    folder = run.folder / "figures" / "mistakes"
    limit = mistakes.most_shown(len(run.contenders))
    names: dict[str, None] = {}
    for contender in run.contenders:
        rows = mistakes.chosen(contender, limit)
        names.update(dict.fromkeys(contender.predictions.names[rows]))
    if pictures is not None:
        save_thumbnails(folder, list(names), pictures)
    return load_thumbnails(folder, list(names))


def _first_screen(run: RunFiles) -> dict[str, Any]:
    sentences, further = overview.verdict(run)
    rows, scale = overview.differences(run)
    checks = proof.leak_checks(run, run.contenders[0].predictions.names)
    return {
        "title": run.recipe.get("name") or tr("Study"),
        "version": run.environment["clearmargin"],
        "standing": proof.standing(run, checks),
        "verdict": sentences,
        "further_pairs": further,
        "columns": overview.comparison_columns(run),
        "references": overview.references(run),
        "round": wording.retold_text(first_round(run.evaluation)),
        "caption": overview.table_caption(run.evaluation, "image"),
        "tested": wording.retold_text(tested_in_all(run.evaluation, len(run.split_rows), "image")).replace(
            ",", wording.THIN
        ),
        "parts_origin": methods.parts_origin(run),
        "too_few_groups": too_few_groups(run.evaluation),
        "few_groups": overview.few_groups(run.evaluation),
        "rare_class": overview.rare_class(run.evaluation),
        "evaluated": methods.evaluation_number(run.evaluation),
        "costs": overview.contender_costs(run.contenders),
        "sample_size": overview.sample_size(run.evaluation),
        "differences": rows,
        "seconds": any("other_method" in row.facts for row in rows),
        "difference_scale": scale,
        "interval_methods": overview.interval_methods(run),
        "checks": [*checks, *proof.control_check(run)],
        "leaks": not all(check.holds for check in checks),
        "looks": [Look(k) for k in range(len(run.contenders))],
        "series": SERIES,
        "externals": external_tests(run.folder),
    }


def _data(run: RunFiles, pictures: Pictures | None) -> dict[str, Any]:
    return {
        "flow": data_flow.data_flow(run, run.evaluation["classes"]),
        "noun": "image",
        "parts": PARTS,
        **findings.findings_facts(run.audit, run.folder, pictures),
        "many_classes": len(run.evaluation["classes"]) > CLASSES_SPREAD_OUT,
    }


def _results(run: RunFiles, seen: Mapping[str, insides.Inside]) -> dict[str, Any]:
    classes = run.evaluation["classes"]
    validation_samples = sum(run.split["counts"].get("validation", {}).values())
    return {
        "classes": classes,
        "curves": [
            results.learning_curves(contender, Look(k), validation_samples)
            for k, contender in enumerate(run.contenders)
        ],
        "confusions": [results.confusion(contender, classes) for contender in run.contenders],
        "neighbours": any(inside.nearest for inside in seen.values()),
        "insides_of": [seen.get(contender.name) for contender in run.contenders],
    }


def _how(run: RunFiles) -> dict[str, Any]:
    return {
        "steps": methods.steps(run),
        "recipe": methods.recipe_text(run),
        "command": methods.command(run),
        "times": methods.times(run),
    }
