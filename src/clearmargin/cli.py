"""The command line: thin, on top of the library. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from clearmargin.cache_commands import app as cache_app
from clearmargin.console import RUN_KEPT, STEPS_KEPT, print_json, stopping
from clearmargin.console import plain as _plain
from clearmargin.console import print_table as _print
from clearmargin.console import say as _say
from clearmargin.data_commands import app as data_app
from clearmargin.errors import ClearmarginError
from clearmargin.evaluate_command import evaluate
from clearmargin.export_command import export
from clearmargin.predict_command import predict
from clearmargin.serve_command import serve
from clearmargin.split_command import GroupByOption, GroupPatternOption, in_options, split
from clearmargin.tune_command import tune

if TYPE_CHECKING:
    from clearmargin.description import NetworkDescription

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing boxes would cost a quarter of the time a help may take
    help="From a folder of labelled tumour images to a result a reviewer believes.",
    epilog="Research use only, not a medical device. Exit status: 0 done, 1 the work failed, 2 bad input or usage.",
)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A TOML file, or a shipped name: tumor, mnist, mnist-fast, mnist-tutorial, cifar10, "
        "cifar10-fast, cifar10-hour, cifar10-vgg16, boston, demo.",
        show_default=False,
    ),
]
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A path or a name of `clearmargin data list`, as --data of `clearmargin run`.",
        show_default=False,
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)]
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Class folders, a zip or tar of them, manifest CSV, NPZ, IDX, CIFAR-10 batches, a table for a regression, "
        "or a name of `clearmargin data list`. Those the recipe names by default.",
    ),
]
OutOption = Annotated[Path | None, typer.Option(metavar="DIR", help="Run folder to make; runs/RECIPE by default.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. training.epochs=3. Repeatable."),
]
LanguageOption = Annotated[
    str | None,
    typer.Option(metavar="en|zh", help="Of the report: English, or Simplified Chinese. As the recipe says by default."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run in --out, if there is one.")
]
RepeatsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Split, train and evaluate over N seeds; as --set evaluation.repeats=N.", show_default=False
    ),
]
TargetOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="For a table of numbers: the column to be predicted.")
]
QuickOption = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Leave out the search for wrong labels. It looks at each image with VGG16, where its weights are at hand: "
        "about 5 minutes for 3,000 images on two cores. A study with VGG16 on the same images, and the next audit, "
        "find that done.",
    ),
]
ContenderOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which model of the run; the best on validation by default.")
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
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the images, the split and the training.")] = 0,
    resume: ResumeOption = False,
    language: LanguageOption = None,
) -> None:
    """Run a small study on simulated images, offline."""
    _run("demo", None, out, [f"seed={seed}", *_language(language)], resume, as_json=False)


@app.command("run")
def run(
    recipe: RecipeArgument,
    data: DataOption = None,
    out: OutOption = None,
    changes: SetOption = None,
    group_pattern: GroupPatternOption = None,
    repeats: RepeatsOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
    language: LanguageOption = None,
) -> None:
    """Run a study from data to report. It audits, splits, trains, compares and shows every mistake."""
    pattern = [] if group_pattern is None else [f"data.group_pattern={json.dumps(group_pattern)}"]
    times = [] if repeats is None else [f"evaluation.repeats={repeats}"]
    _run(recipe, data, out, [*(changes or []), *pattern, *times, *_language(language)], resume, as_json)


def _language(language: str | None) -> list[str]:
    """The language of the report as a setting of the recipe."""
    return [] if language is None else [f"report.language={json.dumps(language)}"]


def _run(recipe: str, data: str | None, out: Path | None, changes: list[str], resume: bool, as_json: bool) -> None:
    with stopping(RUN_KEPT, "--resume"):
        from clearmargin.outcome import print_outcome
        from clearmargin.study import run as run_study

        finished = run_study(recipe, data=data, out=out, overrides=changes, resume=resume)
    if as_json:
        typer.echo(json.dumps({"run": str(finished.folder), "report": str(finished.report), **finished.evaluation}))
    else:
        print_outcome(finished)


@app.command("describe")
def describe(
    recipe: RecipeArgument,
    data: DataOption = None,
    changes: SetOption = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="How many classes there are, when the data are not at hand.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe the networks of a recipe. Layers, output shapes, parameters, multiply-adds, receptive fields."""
    from clearmargin.description import describe as describe_study

    described = describe_study(recipe, data=data, overrides=changes or [], classes=classes)
    if as_json:
        print_json(described.as_json())
        return
    for network in described.contenders:
        _print_network(network)


def _print_network(network: NetworkDescription) -> None:
    from rich.table import Table

    if not network.layers:
        typer.echo(f"{_plain(network.name)}: trained elsewhere, {network.frozen:,} parameters.\n")
        return
    table = Table(title=_plain(network.name), title_justify="left")
    table.add_column("layer", overflow="fold")
    kinds = ["trained", "frozen"] if network.frozen else ["parameters"]
    for heading in ("output", *kinds, "multiply-adds", "receptive field"):
        table.add_column(heading, justify="right")

    def parameters(trained: int, frozen: int) -> list[str]:
        return [f"{trained:,}", *([f"{frozen:,}"] if network.frozen else [])]

    image = len(network.input) == 3
    table.add_row("input", _sides(network.input))
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
    data: DataArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for audit.json and audit.html, the page with pictures.")
    ] = None,
    target: TargetOption = None,
    group_pattern: GroupPatternOption = None,
    group_by: GroupByOption = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong with the data. Prints findings; with --out a page that shows them."""
    from clearmargin.auditing import audit_data
    from clearmargin.outcome import print_audit

    with stopping(STEPS_KEPT), in_options():
        found = audit_data(data, target=target, group_pattern=group_pattern, group_by=group_by, out=out, quick=quick)
    if as_json:
        print_json(found.as_json())
    else:
        print_audit(found, out)


app.command("predict")(predict)
app.command("split")(split)
app.command("evaluate")(evaluate)
app.command("tune")(tune)
app.command("export")(export)
app.command("serve")(serve)


@app.command("leakage")
def leakage(
    data: DataArgument,
    seeds: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=100, help="How often every image is tested, on each kind of split."),
    ] = 5,
    group_pattern: GroupPatternOption = None,
    group_by: GroupByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what leaks are worth. One simple classifier on given parts, random splits, leak-free splits."""
    from clearmargin.auditing import leakage_of_data

    with stopping(STEPS_KEPT), in_options():
        found = leakage_of_data(data, seeds=seeds, group_pattern=group_pattern, group_by=group_by)
    if as_json:
        print_json(found)
        return
    from clearmargin.outcome import print_leakage

    print_leakage(found)


@app.command("report")
def report(run: RunFolder, language: LanguageOption = None) -> None:
    """Write the pages of a finished run anew.

    The report, and one page for each external test.
    """
    from clearmargin.environment import describe_environment
    from clearmargin.report import write_report
    from clearmargin.report.external_page import write_external_pages
    from clearmargin.runs import open_run

    folder = open_run(run).folder
    typer.echo(f"Report: {write_report(folder, language=language)}")
    for page in write_external_pages(folder, describe_environment()["clearmargin"], language):
        typer.echo(f"External test: {page}")


@app.command("learn")
def learn(
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own image; default: a simulated one.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A finished run folder: look into one of its models too.")
    ] = None,
    contender: ContenderOption = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML file to write.")] = Path("learn.html"),
) -> None:
    """Write a page that explains what a CNN computes. Convolution, pooling and more, on an image of yours."""
    from clearmargin.learn.page import write_page

    typer.echo(f"Written: {write_page(out, image, model, contender)}")


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


def process() -> NoReturn:
    """`main` in a process of its own, where the garbage collector is kept from what is never garbage.

    Importing torch makes half a million objects that stay. They are looked through more seldom, and not once more at
    the end: together a third of the time of a command that ends at once.
    """
    gc.set_threshold(100_000, 20, 20)
    try:
        main()
    finally:
        gc.freeze()
