"""Writing the report of a regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clearmargin.evaluation.intervals import too_few_groups
from clearmargin.evaluation.rounds import first_round, tested_in_all
from clearmargin.language import tr, using
from clearmargin.report import data_flow, findings, leakage, methods, overview, proof, tuning, wording
from clearmargin.report.drawing import language_of_files, write_drawings
from clearmargin.report.figures import SERIES
from clearmargin.report.marking import marked
from clearmargin.report.regression import methods as own_methods
from clearmargin.report.regression import overview as own
from clearmargin.report.regression import results
from clearmargin.report.regression.folder import RegressionRun, read_regression
from clearmargin.report.repeats import figure_files, repeats
from clearmargin.report.results import learning_curves


def regression_facts(run_folder: Path) -> dict[str, Any]:
    """Write ``figures/*.svg`` from the files of a finished regression, and gather what its page shows.

    Raises
    ------
    RunFolderError
        When a file is missing or damaged, or when two files contradict each other.
    DiskError
        When the file system refuses.
    """
    run = read_regression(run_folder)
    first = _first_screen(run)
    with marked(first["leaks"]):
        look = own.looks(run)
        with using(language_of_files()):
            files = {**results.figure_files(run), **figure_files(run, look), **tuning.figure_files(run)}
            write_drawings(run_folder / "figures", files)
        drawn = {**_data(run), **_results(run), "repeats": repeats(run, look), "tuning": tuning.tuning(run)}
    own_section = {"price": leakage.price_of_leakage(run), "how": _how(run)}
    return {**first, **drawn, **own_section, "run": run, "noun": "row"}


def _first_screen(run: RegressionRun) -> dict[str, Any]:
    sentences, further = own.verdict(run)
    rows, scale = own.differences(run)
    checks = proof.leak_checks(run, run.contenders[0].estimates.names, "row")
    look = own.looks(run)
    return {
        "title": run.recipe.get("name") or tr("Study"),
        "version": run.environment["clearmargin"],
        "standing": proof.standing(run, checks, "row"),
        "verdict": sentences,
        "further_pairs": further,
        "columns": own.columns(run),
        "references": overview.references(run),
        "costs": overview.contender_costs(run.contenders),
        "differences": rows,
        "difference_scale": scale,
        "interval_methods": own.interval_methods(run),
        "checks": checks,
        "leaks": not all(check.holds for check in checks),
        "round": wording.retold_text(first_round(run.evaluation)),
        "tested": wording.retold_text(tested_in_all(run.evaluation, len(run.split_rows), "row")).replace(
            ",", wording.THIN
        ),
        "caption": overview.table_caption(run.evaluation, "row"),
        "parts_origin": methods.parts_origin(run),
        "too_few_groups": too_few_groups(run.evaluation),
        "few_rows": run.evaluation["n"] < own.FEW_TEST_ROWS,
        "looks_by_name": look,
        "looks": list(look.values()),
        "series": SERIES,
    }


def _data(run: RegressionRun) -> dict[str, Any]:
    meanings = results.column_meanings(run)
    return {
        "flow": data_flow.data_flow(run, noun="row"),
        **findings.findings_facts(run.audit),
        "target_table": results.target_table(run),
        "target_meaning": meanings.get(run.target, ""),
        "meanings": meanings,
        "input_table": results.input_table(run),
    }


def _results(run: RegressionRun) -> dict[str, Any]:
    look = own.looks(run)
    validation_rows = sum(run.split["counts"].get("validation", {}).values())
    return {
        "curves": [
            learning_curves(contender, look[contender.name], validation_rows, results.QUANTITIES)
            for contender in run.contenders
        ],
        "scatters": results.scatter_panels(run),
        "details": results.details(run),
        "other_names": results.other_names(run),
        "points_note": results.points_note(run),
    }


def _how(run: RegressionRun) -> dict[str, Any]:
    return {
        "steps": own_methods.steps(run),
        "recipe": methods.recipe_text(run),
        "command": methods.command(run),
        "times": methods.times(run),
    }
