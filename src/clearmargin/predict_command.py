"""``clearmargin predict``: what a model says of files and folders, printed or written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearmargin.console import ConsoleProgress, plain, print_json, print_table, print_text, say, stopping, visible
from clearmargin.cores import share_cores
from clearmargin.errors import UsageError

if TYPE_CHECKING:
    from clearmargin.prediction import FilePredictions
    from clearmargin.records import Progress
    from clearmargin.trained import TrainedContender


def predict(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE.onnx", help="A finished run folder, or what was exported.", show_default=False
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE|FOLDER|ZIP|TABLE", help="Images, folders, zips or tars of them, or tables."),
    ],
    contender: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which model of the run; the best on validation by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a CSV file, a row for each image, and print a summary."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the file --out, if there is one.")] = False,
) -> None:
    """Predict with a model of a finished run. It takes images, or the rows of CSV tables."""
    _check_options(as_json, as_csv, out, resume)
    share_cores()
    chosen, leaky = _open(run, contender)
    if leaky:
        say("Careful: the split of this run leaks: on new patients, expect less than its figures promise.")
    if out is not None:
        _predict_into(chosen, images, out, resume, as_json)
        return
    from clearmargin.prediction import predict_files

    with ConsoleProgress() as progress:
        result = predict_files(chosen, images, _once_long(progress))
    for name, reason in result.failures.items():
        say(f"{name} left out: {reason}")
    if result.without_image:
        say(f"Passed over, DICOM without an image, such as reports: {result.without_image:,}.")
    if result.unlike:
        say(
            f"Careful: {result.unlike} of {len(result.table)} images look unlike anything this model was trained on; "
            "what it says of them means nothing."
        )
    if as_json:
        print_json(result.as_json())
    elif as_csv:
        print_text(result.as_csv())
    else:
        _print_predictions(result)
    if result.failures:
        raise typer.Exit(1)


LONG = 500  # images; fewer are done before a bar could be read


def _once_long(progress: Progress) -> Progress:
    def shown(what: str, done: int, total: int, note: str) -> None:
        if total >= LONG:
            progress(what, done, total, note)

    return shown


def _check_options(as_json: bool, as_csv: bool, out: Path | None, resume: bool) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: take one.")
    if resume and out is None:
        raise UsageError("--resume goes on with a file: name it with --out.")
    if as_csv and out is not None:
        raise UsageError("--csv prints, and --out writes a CSV file: take one.")


def _open(run: Path, contender: str | None) -> tuple[TrainedContender, bool]:
    """The model, and whether the split of its run leaks."""
    from clearmargin.exported import is_exported, open_exported

    if is_exported(run):
        if contender is not None:
            raise UsageError("--contender names a model of a run, and an exported file holds one.")
        exported = open_exported(run)
        if exported.classes:
            say("An exported file has no gate: it does not tell images unlike those it was trained on.")
        return exported, exported.about.leaky
    from clearmargin.runs import open_run

    opened = open_run(run)
    return opened.contender(contender), bool(opened.evaluation.get("leaky"))


def _predict_into(chosen: TrainedContender, images: list[Path], out: Path, resume: bool, as_json: bool) -> None:
    from clearmargin.files import check_output_file
    from clearmargin.prediction_file import predict_into

    check_output_file(out, "predictions.csv", None, "images")
    with stopping("What is done is kept.", "--resume"), ConsoleProgress() as progress:
        summary = predict_into(chosen, images, out, resume=resume, progress=progress)
    if as_json:
        print_json({"contender": chosen.name, "file": str(out), **asdict(summary)})
    else:
        for sentence in summary.sentences():
            typer.echo(visible(sentence))
        typer.echo(visible(f"Written: {out}"))
    if summary.failed:
        raise typer.Exit(1)


def _print_predictions(result: FilePredictions) -> None:
    from rich.table import Table

    if result.table.empty:
        return
    table = Table(title=f"by {plain(result.contender)}", title_justify="left")
    for place, heading in enumerate(result.table.columns):
        table.add_column(plain(heading), justify="left" if place < 2 else "right", overflow="fold")
    for row in result.table.itertuples(index=False, name=None):
        said = f"{row[1]:.6g}" if isinstance(row[1], float) else plain(row[1])
        table.add_row(plain(row[0]), said, *map(_cell, row[2:]))
    print_table(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, tuple):
        return plain(", ".join(value))
    return f"{value:.3f}" if isinstance(value, float) else plain(value)
