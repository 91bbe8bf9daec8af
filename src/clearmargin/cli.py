"""The command line: thin, on top of the library. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from clearmargin.console import plain as _plain
from clearmargin.console import print_table as _print
from clearmargin.console import say as _say
from clearmargin.data_commands import app as data_app
from clearmargin.errors import ClearmarginError, UsageError

if TYPE_CHECKING:
    from clearmargin.description import NetworkDescription, StudyDescription
    from clearmargin.prediction import FilePredictions
    from clearmargin.runs import Run

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing boxes would cost a quarter of the time a help may take
    help="From a folder of labelled tumour images to a result a reviewer believes.",
    epilog="Research use only, not a medical device. Exit status: 0 done, 1 the work failed, 2 bad input or usage.",
)
app.add_typer(data_app, name="data")

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)]
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Folder, zip, tar, manifest CSV, NPZ, IDX, a table (CSV), or a name of `clearmargin data list`.",
    ),
]
OutOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Run folder to make.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. training.epochs=3. Repeatable."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
TargetOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The data are a table, and this column is to be predicted.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from clearmargin import __version__

        typer.echo(f"clearmargin {__version__}")
        raise typer.Exit


@app.command("demo")
def demo(
    out: OutOption = None,
    seed: Annotated[int, typer.Option(help="Of the images, the split and the training.")] = 0,
    resume: ResumeOption = False,
) -> None:
    """Run a small study on simulated images, offline."""
    _run("demo", None, out, [f"seed={seed}"], resume, as_json=False)


@app.command("run")
def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped name (tumor, mnist, cifar10, boston …) or a TOML file.")
    ],
    data: DataOption = None,
    out: OutOption = None,
    changes: SetOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study from data to report. It audits, splits, trains, compares and shows every mistake."""
    _run(recipe, data, out, changes or [], resume, as_json)


def _run(recipe: str, data: str | None, out: Path | None, changes: list[str], resume: bool, as_json: bool) -> None:
    from clearmargin.study import run as run_study

    try:
        finished = run_study(recipe, data=data, out=out, overrides=changes, resume=resume)
    except KeyboardInterrupt:
        _say("Stopped. What is done is kept: give the same command again with --resume.")
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps({"run": str(finished.folder), "report": str(finished.report), **finished.evaluation}))
    else:
        _print_result(finished)


def _print_result(finished: Run) -> None:
    figures = finished.evaluation
    if figures["task"] == "regression":
        _print_regression(figures)
    else:
        _print_classification(figures)
    for comparison in figures["comparisons"]:
        typer.echo(comparison["sentence"])
    typer.echo(f"Report: {finished.report}")


def _print_classification(figures: dict[str, Any]) -> None:
    metrics = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
    table = _figures_table(
        f"{figures['n']:,} test images", ("accuracy", "balanced accuracy", "macro F1", "AUC", "mistakes")
    )
    for name, said in figures["contenders"].items():
        cells = [_figure(said["metrics"][metric]) for metric in metrics]
        table.add_row(_plain(name), *cells, f"{said['errors']:,}")
    baseline = figures["baseline"]
    table.add_row("always the commonest class", f"{baseline['accuracy']:.3f}", f"{baseline['balanced_accuracy']:.3f}")
    _print(table)
    _print_repeats(figures, {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "errors": "mistakes"})


def _print_regression(figures: dict[str, Any]) -> None:
    metrics = ("rmse", "mae", "mse", "r2")
    title = f"{_plain(figures['target'])} in {figures['n']:,} test rows"
    table = _figures_table(title, ("RMSE", "MAE", "MSE", "R²"))
    for name, said in {**figures["contenders"], **figures["baselines"]}.items():
        table.add_row(_plain(name), *(_figure(said["metrics"][metric]) for metric in metrics))
    for reference in figures["references"]:
        table.add_row(
            _plain(reference["name"]),
            *(f"{reference['value']:.3f}" if reference["metric"] == metric else "" for metric in metrics),
        )
    _print(table)
    _print_repeats(figures, {"rmse": "RMSE", "mae": "MAE", "r2": "R²"})


def _print_repeats(figures: dict[str, Any], metrics: dict[str, str]) -> None:
    """Mean, spread and range over the seeds, when there are several."""
    if "repeats" not in figures:
        return
    repeats = figures["repeats"]
    title = f"mean ± standard deviation (range) over {len(repeats['seeds'])} seeds"
    table = _figures_table(title, tuple(metrics.values()))
    for name, said in {**repeats["contenders"], **repeats["baselines"]}.items():
        cells = [said[metric] for metric in metrics]
        told = [f"{c['mean']:.3f} ± {c['sd']:.3f} ({c['min']:.3f}–{c['max']:.3f})" for c in cells]
        table.add_row(_plain(name), *told)
    _print(table)
    for comparison in repeats["comparisons"]:
        typer.echo(comparison["sentence"])


def _figures_table(title: str, headings: tuple[str, ...]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("contender")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _figure(figure: dict[str, Any]) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "undefined"
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f}–{high:.3f})"


@app.command("predict")
def predict(
    run: RunFolder,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|FOLDER|TABLE...", help="Images, folders of them, or tables.")
    ],
    contender: Annotated[str | None, typer.Option(metavar="NAME", help="Model; default: best on validation.")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
) -> None:
    """Predict images, or the rows of a CSV table, with a model of a finished run."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: take one.")
    from clearmargin.prediction import predict_files
    from clearmargin.runs import open_run

    result = predict_files(open_run(run).contender(contender), images)
    for name, reason in result.failures.items():
        _say(f"{name} left out: {reason}")
    if as_json:
        typer.echo(json.dumps(result.as_json(), ensure_ascii=False, indent=1))
    elif as_csv:
        typer.echo(result.as_csv(), nl=False)
    else:
        _print_predictions(result)
    if result.failures:
        raise typer.Exit(1)


def _print_predictions(result: FilePredictions) -> None:
    from rich.table import Table

    if result.table.empty:
        return
    table = Table(title=f"by {_plain(result.contender)}", title_justify="left")
    for place, heading in enumerate(result.table.columns):
        table.add_column(_plain(heading), justify="left" if place < 2 else "right", overflow="fold")
    for row in result.table.itertuples(index=False, name=None):
        said = f"{row[1]:.6g}" if isinstance(row[1], float) else _plain(row[1])
        table.add_row(_plain(row[0]), said, *(f"{probability:.3f}" for probability in row[2:]))
    _print(table)


@app.command("describe")
def describe(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped name, or a TOML file.")],
    data: DataOption = None,
    changes: SetOption = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="How many classes there are, when the data are not at hand.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe the networks of a recipe. Layers, output shapes, parameters, multiply-adds, receptive fields."""
    from clearmargin.description import describe as describe_study

    described = describe_study(recipe, data=data, overrides=changes or [], classes=classes)
    if as_json:
        typer.echo(json.dumps(described.as_json(), ensure_ascii=False, indent=1))
        return
    for network in described.contenders:
        _print_network(network, described)


def _print_network(network: NetworkDescription, study: StudyDescription) -> None:
    from rich.table import Table

    table = Table(title=_plain(network.name), title_justify="left")
    table.add_column("layer", overflow="fold")
    kinds = ["trained", "frozen"] if network.frozen else ["parameters"]
    for heading in ("output", *kinds, "multiply-adds", "receptive field"):
        table.add_column(heading, justify="right")

    def parameters(trained: int, frozen: int) -> list[str]:
        return [f"{trained:,}", *([f"{frozen:,}"] if network.frozen else [])]

    image = len(study.input) == 3
    table.add_row("input", _sides(study.input))
    for row in network.layers:
        split = (row.parameters, 0) if row.trained else (0, row.parameters)
        seen = f"{row.receptive_field}x{row.receptive_field}" if image else str(row.receptive_field)
        cells = [_sides(row.output), *parameters(*split), f"{row.multiply_adds:,}", seen]
        table.add_row(row.layer, *cells)
    table.add_section()
    table.add_row("total", "", *parameters(network.trained, network.frozen), f"{network.multiply_adds:,}")
    _print(table)
    typer.echo(f"{network.trained + network.frozen:,} parameters, {network.trained:,} of them trained.\n")


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@app.command("audit")
def audit(
    data: Annotated[str, typer.Argument(metavar="DATA")], target: TargetOption = None, as_json: JsonOption = False
) -> None:
    """Look for what is wrong with the data. Prints findings, as a table or as JSON."""
    from clearmargin.study import audit_data

    found = audit_data(data, target=target)
    if as_json:
        typer.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
        return
    from rich.table import Table

    counts = found.counts
    what = "rows can be used" if target else f"images can be used, in {len(found.classes)} classes"
    typer.echo(f"{counts['decoded']:,} of {counts['found']:,} {what}.")
    table = Table(show_lines=True)
    for heading in ("severity", "finding", "what to do"):
        table.add_column(heading)
    for finding in found.findings:
        table.add_row(finding.severity, _plain(finding.message), _plain(finding.remedy))
    if found.findings:
        _print(table)
    else:
        typer.echo("Nothing was found that is wrong.")


@app.command("split")
def split(
    data: Annotated[str, typer.Argument(metavar="DATA")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="CSV to write: name, label, group, part.")] = Path(
        "split.csv"
    ),
    seed: Annotated[int, typer.Option(help="Another seed, another split.")] = 0,
    target: TargetOption = None,
) -> None:
    """Split data by patient, copies and class. 8:1:1; writes who goes where."""
    from clearmargin.study import split_data

    made = split_data(data, out, seed=seed, target=target)
    for part in ("train", "validation", "test"):
        typer.echo(f"{part}: {len(made.rows(part)):,} {'rows' if target else 'images'}")
    typer.echo(f"Written: {out}")


@app.command("report")
def report(run: RunFolder) -> None:
    """Write the report of a finished run anew."""
    from clearmargin.report import write_report
    from clearmargin.runs import open_run

    typer.echo(f"Report: {write_report(open_run(run).folder)}")


@app.command("learn")
def learn(
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own image; default: a simulated one.")
    ] = None,
    model: Annotated[Path | None, typer.Option(metavar="RUN", help="Finished run: look into its best model.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML file to write.")] = Path("learn.html"),
) -> None:
    """Write a page that explains convolution, pooling, activations and more, on an image of yours."""
    from clearmargin.learn.page import write_page

    typer.echo(f"Written: {write_page(out, image, model)}")


def main() -> NoReturn:
    """Run the command; a mistake of the user's is one message on stderr, never a traceback."""
    try:
        app(standalone_mode=True)
    except ClearmarginError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_status)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(0)
