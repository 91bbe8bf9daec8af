"""What a finished study or an audit found, as tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from clearmargin.audit import Audit
from clearmargin.console import plain, print_table
from clearmargin.evaluation.intervals import too_few_groups
from clearmargin.evaluation.rounds import alone, first_round
from clearmargin.files import is_sealed
from clearmargin.records import Finding, Severity
from clearmargin.runs import Run, read_json

MANY_SAMPLES = 2000  # a fourth decimal of a share says something
SEVERITY_STYLES: dict[Severity, str] = {"serious": "bold red", "warning": "yellow", "note": "dim"}
Writer = Callable[[float], str]


def print_outcome(finished: Run) -> None:
    """Print the figures of a finished run with their intervals, what they amount to, and where the report is."""
    figures = finished.evaluation
    if figures["task"] == "regression":
        _print_regression(figures)
    else:
        _print_classification(figures)
    for comparison in figures["comparisons"]:
        typer.echo(alone(figures, comparison["sentence"]))
    _print_diverged(figures)
    _print_foreign(figures)
    _print_price(finished.report.with_name("leakage.json"))
    warning = too_few_groups(figures)
    if warning:
        typer.echo(f"Careful: {warning}")
    typer.echo(f"Report: {finished.report}")


def _print_diverged(figures: dict[str, Any]) -> None:
    """Name those that have no result, and those that have none over the rounds."""
    for name, reason in figures.get("diverged", {}).items():
        typer.echo(f"{plain(name)}: diverged, no result. {plain(reason)}")
    for name, reason in figures.get("repeats", {}).get("diverged", {}).items():
        if name in figures["contenders"]:
            typer.echo(f"{plain(name)}: diverged in a round, no result over the rounds. {plain(reason)}")


def _print_foreign(figures: dict[str, Any]) -> None:
    """Name those whose training data nobody here knows: not the comparison alone shall say it."""
    for name, said in figures["contenders"].items():
        if said.get("trained_elsewhere"):
            typer.echo(f"{plain(name)}: trained elsewhere, may have seen these images.")


def _print_price(path: Path) -> None:
    """What leaks would be worth, where a run measured it."""
    if not path.is_file():
        return
    found = read_json(path)
    sound = isinstance(found, dict) and is_sealed(found)
    typer.echo(f"Price of leakage: {found['difference']['sentence'] if sound else f'{path} was edited or damaged.'}")


def print_leakage(found: dict[str, Any]) -> None:
    """Print what leaks are worth: the splits side by side, and what that amounts to."""
    table = Table(title=f"{found['classifier']}, {plain(found['features'])}", title_justify="left")
    table.add_column("split")
    headings = ("tests", "accuracy", "balanced accuracy", "with a copy in training", "without")
    for heading in headings:
        table.add_column(heading, justify="right")
    for split in found["splits"]:
        shares = (split[key]["accuracy"] if split[key] else None for key in ("with_copy", "without_copy"))
        cells = [_figure(figure, _three_decimals) if figure else "" for figure in shares]
        figures = (_figure(split[metric], _three_decimals) for metric in ("accuracy", "balanced_accuracy"))
        table.add_row(split["split"], f"{split['n_test']:,}", *figures, *cells)
    print_table(table)
    for sentence in (*found["sentences"], *found["notes"]):
        typer.echo(sentence)


def _print_classification(figures: dict[str, Any]) -> None:
    metrics = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
    write = _four_decimals if figures["n"] >= MANY_SAMPLES else _three_decimals
    over = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "errors": "mistakes"}
    _print_repeats(figures, over, {"errors": _one_decimal}, write)
    headings = ("accuracy", "balanced accuracy", "macro F1", "AUC", "mistakes")
    table = _figures_table(f"{_round(figures)}{figures['n']:,} test images{_leaky(figures)}", headings)
    for name, said in figures["contenders"].items():
        cells = [_figure(said["metrics"][metric], write) for metric in metrics]
        table.add_row(plain(name), *cells, f"{said['errors']:,}")
    baseline = figures["baseline"]
    shares = (write(baseline["accuracy"]), write(baseline["balanced_accuracy"]))
    table.add_row("always the commonest class", *shares)
    further = _add_references(table, figures, metrics, write)
    print_table(table)
    for reference in further:
        typer.echo(f"For reference: {reference}")


def _print_regression(figures: dict[str, Any]) -> None:
    metrics = ("rmse", "mae", "mse", "r2")
    writers: dict[str, Writer] = {"r2": _three_decimals}
    _print_repeats(figures, {"rmse": "RMSE", "mae": "MAE", "r2": "R²"}, writers, _four_digits)
    title = f"{_round(figures)}{plain(figures['target'])} in {figures['n']:,} test rows{_leaky(figures)}"
    table = _figures_table(title, ("RMSE", "MAE", "MSE", "R²"))
    for name, said in {**figures["contenders"], **figures["baselines"]}.items():
        table.add_row(
            plain(name), *(_figure(said["metrics"][metric], writers.get(metric, _four_digits)) for metric in metrics)
        )
    _add_references(table, figures, metrics, _four_digits)
    print_table(table)
    typer.echo("The baselines learned from training and validation part together.")


def _add_references(table: Table, figures: dict[str, Any], metrics: tuple[str, ...], write: Writer) -> list[str]:
    """Figures from elsewhere as rows of the table; those it has no column for, as text."""
    further = []
    for reference in figures.get("references", ()):
        name, value = plain(reference["name"]), write(reference["value"])
        if reference["metric"] in metrics:
            table.add_row(name, *(value if reference["metric"] == metric else "" for metric in metrics))
        else:
            further.append(f"{name}, {reference['metric'].replace('_', ' ')} {value}")
    return further


def _print_repeats(figures: dict[str, Any], metrics: dict[str, str], own: dict[str, Writer], write: Writer) -> None:
    """Mean, spread, range and verdict over the rounds, when there are several: before what one of them says."""
    if "repeats" not in figures:
        return
    repeats = figures["repeats"]
    title = f"mean ± standard deviation (range) over {_rounds(repeats)}{_leaky(figures)}"
    table = _figures_table(title, tuple(metrics.values()))
    for name, said in {**repeats["contenders"], **repeats["baselines"]}.items():
        table.add_row(plain(name), *(_spread(said[metric], own.get(metric, write)) for metric in metrics))
    print_table(table)
    for comparison in repeats["comparisons"]:
        typer.echo(comparison["sentence"])
    for sentence in repeats.get("spread", ()):
        typer.echo(sentence)
    if repeats.get("note"):
        typer.echo(repeats["note"])


def _rounds(repeats: dict[str, Any]) -> str:
    folds, seeds, trained = repeats.get("folds", 0), len(repeats["seeds"]), repeats.get("initialisations", 1)
    each = f", each the mean of {trained} initialisations" if trained > 1 else ""
    if repeats.get("unit") == "initialisation":
        return f"{repeats['rounds']} initialisations"
    if not folds:
        return f"{seeds} seeds{each}"
    return f"{folds} folds{each}" if seeds == 1 else f"{folds} folds x {seeds} seeds{each}"


def _round(figures: dict[str, Any]) -> str:
    told = first_round(figures)
    return f"{told}: " if told else ""


def _leaky(figures: dict[str, Any]) -> str:
    return ", leaky split" if figures.get("leaky") else ""


def _spread(figure: dict[str, Any], write: Writer) -> str:
    if figure["mean"] is None:
        return "undefined"
    deviation = "" if figure["sd"] is None else f" ± {write(figure['sd'])}"
    return f"{write(figure['mean'])}{deviation} ({_between(figure['min'], figure['max'], write)})"


def _between(low: float, high: float, write: Writer) -> str:
    """Two limits, with "to" where a minus sign would meet the dash."""
    return f"{write(low)}{' to ' if low < 0 else '–'}{write(high)}"


def _figures_table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("contender")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _figure(figure: dict[str, Any], write: Writer) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "undefined"
    return write(value) if low is None else f"{write(value)} ({_between(low, high, write)})"


def _one_decimal(value: float) -> str:
    return f"{value:,.1f}"


def _three_decimals(value: float) -> str:
    return f"{value:.3f}"


def _four_decimals(value: float) -> str:
    return f"{value:.4f}"


def _four_digits(value: float) -> str:
    """Numbers in the unit of the target may be of any size."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, 3 - max(size, 0))}f}" if -3 <= size < 9 else f"{value:.4g}"


def print_audit(found: Audit, out: Path | None) -> None:
    """Print what an audit noticed, the serious findings first, and where its files are, if any."""
    counts, table = found.counts, found.source_kind == "table"
    what = "rows can be used" if table else f"images can be used, in {_counted_classes(len(found.classes))}"
    typer.echo(f"{counts['decoded']:,} of {counts['found']:,} {what}.")
    if found.findings:
        _print_findings(found.findings)
    else:
        typer.echo("Nothing was found that is wrong.")
    if out is not None:
        typer.echo(f"Written: {out / 'audit.json'}\nPage: {out / 'audit.html'}")


def _counted_classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number} classes"


def _print_findings(findings: Sequence[Finding]) -> None:
    table = Table(show_lines=True)
    for heading, width in (("severity", 8), ("kind", 16), ("finding", None), ("what to do", None)):
        table.add_column(heading, min_width=width, overflow="fold")
    for finding in findings:
        severity = f"[{SEVERITY_STYLES[finding.severity]}]{finding.severity}[/]"
        kind = plain(finding.kind.replace("-", " "))
        table.add_row(severity, kind, plain(finding.message), plain(finding.remedy))
    print_table(table)
    severities = [finding.severity for finding in findings]
    told = [f"{severities.count(one)} {one}" for one in SEVERITY_STYLES if one in severities]
    typer.echo(f"Findings: {', '.join(told)}.")
