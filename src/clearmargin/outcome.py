"""What a finished study found, as tables on the terminal."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from clearmargin.console import plain, print_table
from clearmargin.evaluation.intervals import too_few_groups
from clearmargin.runs import Run


def print_outcome(finished: Run) -> None:
    """Print the figures of a finished run with their intervals, what they amount to, and where the report is."""
    figures = finished.evaluation
    if figures["task"] == "regression":
        _print_regression(figures)
    else:
        _print_classification(figures)
    for comparison in figures["comparisons"]:
        typer.echo(comparison["sentence"])
    warning = too_few_groups(figures)
    if warning:
        typer.echo(f"Careful: {warning}")
    typer.echo(f"Report: {finished.report}")


def _print_classification(figures: dict[str, Any]) -> None:
    metrics = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
    table = _figures_table(
        f"{figures['n']:,} test images", ("accuracy", "balanced accuracy", "macro F1", "AUC", "mistakes")
    )
    for name, said in figures["contenders"].items():
        cells = [_figure(said["metrics"][metric]) for metric in metrics]
        table.add_row(plain(name), *cells, f"{said['errors']:,}")
    baseline = figures["baseline"]
    table.add_row("always the commonest class", f"{baseline['accuracy']:.3f}", f"{baseline['balanced_accuracy']:.3f}")
    further = _add_references(table, figures, metrics)
    print_table(table)
    for reference in further:
        typer.echo(f"For reference: {reference}")
    _print_repeats(figures, {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "errors": "mistakes"})


def _print_regression(figures: dict[str, Any]) -> None:
    metrics = ("rmse", "mae", "mse", "r2")
    title = f"{plain(figures['target'])} in {figures['n']:,} test rows"
    table = _figures_table(title, ("RMSE", "MAE", "MSE", "R²"))
    for name, said in {**figures["contenders"], **figures["baselines"]}.items():
        table.add_row(plain(name), *(_figure(said["metrics"][metric]) for metric in metrics))
    _add_references(table, figures, metrics)
    print_table(table)
    typer.echo("The baselines learned from training and validation part together.")
    _print_repeats(figures, {"rmse": "RMSE", "mae": "MAE", "r2": "R²"})


def _add_references(table: Table, figures: dict[str, Any], metrics: tuple[str, ...]) -> list[str]:
    """Figures from elsewhere as rows of the table; those it has no column for, as text."""
    further = []
    for reference in figures.get("references", ()):
        name, value = plain(reference["name"]), f"{reference['value']:.3f}"
        if reference["metric"] in metrics:
            table.add_row(name, *(value if reference["metric"] == metric else "" for metric in metrics))
        else:
            further.append(f"{name}, {reference['metric'].replace('_', ' ')} {value}")
    return further


def _print_repeats(figures: dict[str, Any], metrics: dict[str, str]) -> None:
    """Mean, spread and range over the seeds, when there are several."""
    if "repeats" not in figures:
        return
    repeats = figures["repeats"]
    title = f"mean ± standard deviation (range) over {len(repeats['seeds'])} seeds"
    table = _figures_table(title, tuple(metrics.values()))
    for name, said in {**repeats["contenders"], **repeats["baselines"]}.items():
        table.add_row(plain(name), *(_spread(said[metric]) for metric in metrics))
    print_table(table)
    for comparison in repeats["comparisons"]:
        typer.echo(comparison["sentence"])


def _spread(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "undefined"
    deviation = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{deviation} ({figure['min']:.3f}–{figure['max']:.3f})"


def _figures_table(title: str, headings: tuple[str, ...]) -> Table:
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
