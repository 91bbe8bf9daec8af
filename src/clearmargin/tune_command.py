"""``clearmargin tune``: search for better settings of one contender."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearmargin.console import RUN_KEPT, plain, print_table, stopping

if TYPE_CHECKING:
    from clearmargin.tuning import Tuned

SHOWN = 5  # of the best trials


def tune(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A TOML file, or a shipped name, as for run.", show_default=False)
    ],
    trials: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="How many in all, with those that are done. The first is untuned."),
    ] = 40,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Begin no trial after so many minutes.", show_default=False)
    ] = None,
    contender: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which one to tune. By default the one with spaces in the recipe; else VGG16, else the first.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(metavar="K", min=0, help="Judge trials over K inner folds, not by the one validation part."),
    ] = 0,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="As for run. Those the recipe names by default.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder to make; runs/RECIPE-tuned by default.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, or make it a space. Repeatable."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the search in --out; or take part in it while another process is at work."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Search for better settings of a contender. Trials are judged on validation; the best goes to the test part."""
    with stopping(RUN_KEPT, "--resume"):
        from clearmargin.tuning import tune as search

        done = search(
            recipe,
            trials=trials,
            minutes=minutes,
            contender=contender,
            folds=folds,
            data=data,
            out=out,
            overrides=changes or [],
            resume=resume,
        )
    if as_json:
        typer.echo(json.dumps(_as_json(done), ensure_ascii=False))
    else:
        _print(done)


def _as_json(done: Tuned) -> dict[str, object]:
    figures = {"run": str(done.folder), "report": str(done.run.report), "tuning": done.summary}
    return {**figures, **done.run.evaluation}


def _print(done: Tuned) -> None:
    from rich.table import Table

    from clearmargin.outcome import print_outcome

    measure = str(done.summary["measure"])
    of = f"{done.summary['folds']} inner folds" if done.summary["folds"] else "the validation part"
    scored = sorted((trial for trial in done.trials if trial.score is not None), key=lambda one: -(one.score or 0.0))
    shown = scored[:SHOWN] + [trial for trial in scored[SHOWN:] if trial.number == 1]
    title = f"{plain(done.summary['contender'])}: the best of {len(done.trials)} trials, judged by {of}"
    table = Table(title=title, title_justify="left")
    for heading in ("trial", measure.replace("_", " "), "settings"):
        table.add_column(heading, justify="left" if heading == "settings" else "right", overflow="fold")
    for trial in shown:
        settings = ", ".join(f"{name} {_value(value)}" for name, value in trial.settings.items())
        name = f"{trial.number} (untuned)" if trial.settings == _untuned(done) else str(trial.number)
        table.add_row(name, f"{(trial.measures or {}).get(measure, float('nan')):.4g}", plain(settings))
    print_table(table)
    counted = Counter(trial.outcome for trial in done.trials)
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counted.items())
    where = done.folder / "tuning" / "trials.csv"
    typer.echo(f"Trials: {outcomes}; {done.summary['seconds']:.0f} s of training in all. Each of them: {where}")
    if done.summary["tuned"] is None:
        typer.echo("No trial was better than the untuned settings.")
    print_outcome(done.run)


def _untuned(done: Tuned) -> dict[str, object]:
    """The settings of the untuned contender."""
    return {name: space["default"] for name, space in done.summary["spaces"].items()}


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
