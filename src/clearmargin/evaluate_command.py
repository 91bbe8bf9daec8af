"""``clearmargin evaluate``: a finished run tested on images from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearmargin.console import STEPS_KEPT, ConsoleProgress, plain, print_json, print_table, stopping

if TYPE_CHECKING:
    from clearmargin.external import ExternalTest

SHIFTS_SHOWN = 6


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)],
    data: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Images from elsewhere, as --data of `clearmargin run`. Tested are those without a copy in training.",
        ),
    ],
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="THEIRS=OURS", help="Which class of the run one of theirs is; THEIRS= leaves it out."
        ),
    ] = None,
    merges: Annotated[
        list[str] | None,
        typer.Option("--merge", metavar="NAME=OURS,OURS", help="Count classes of the run as one. Repeatable."),
    ] = None,
    contenders: Annotated[
        list[str] | None, typer.Option("--contender", metavar="NAME", help="Which models; all by default. Repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to make; RUN/external/NAME by default.")
    ] = None,
    training_data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="What the run learned from, to look for near copies in, when it is no longer in the cache.",
        ),
    ] = None,
    group_pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Where the patient stands in a file's name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Test a finished run on images from elsewhere. Nothing is learned; copies of training images are left out."""
    from clearmargin.external import evaluate_external

    with stopping(STEPS_KEPT), ConsoleProgress() as progress:
        found = evaluate_external(
            run,
            data,
            maps=maps or (),
            merges=merges or (),
            contenders=contenders or (),
            out=out,
            training_data=training_data,
            group_pattern=group_pattern,
            progress=progress,
        )
    if as_json:
        print_json(found.as_json())
        return
    _print(found)


def _print(found: ExternalTest) -> None:
    _print_figures(found)
    compared = [pair["sentence"] for pair in found.evaluation["comparisons"]]
    for sentence in (*found.record["sentences"], *found.record["warnings"], *compared):
        typer.echo(plain_text(sentence))
    _print_gates(found.evaluation)
    _print_overlap(found.record)
    _print_shift(found.record["shift"])
    typer.echo(f"Written: {found.folder}\nPage: {found.folder / 'external.html'}")


def plain_text(text: str) -> str:
    """A sentence as the terminal shows it: names in it may hold control characters."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _print_figures(found: ExternalTest) -> None:
    from rich.table import Table

    record, figures = found.record, found.evaluation
    table = Table(title=f"{figures['n']:,} images of {plain(record['data']['name'])}", title_justify="left")
    table.add_column("contender")
    for heading in ("accuracy", "balanced accuracy", "AUC", "internal accuracy", "internal AUC"):
        table.add_column(heading, justify="right")
    for name, said in figures["contenders"].items():
        own = [_figure(said["metrics"][key]) for key in ("accuracy", "balanced_accuracy", "auc")]
        internal = record["internal"]["contenders"][name]
        table.add_row(plain(name), *own, *(_figure(internal[key]) for key in ("accuracy", "auc")))
    whole = record["all_images"]
    for name, metrics in (whole["contenders"] if whole else {}).items():
        own = [_figure(metrics[key]) for key in ("accuracy", "balanced_accuracy", "auc")]
        table.add_row(f"{plain(name)}, all {whole['n']:,} with copies", *own)
    print_table(table)


def _print_gates(figures: dict[str, Any]) -> None:
    for name, said in figures["contenders"].items():
        if "gate" in said:
            gate = said["gate"]
            typer.echo(
                f"{plain_text(name)} calls {gate['unlike_n']:,} of {figures['n']:,} images unlike those it learned "
                f"from; {100 * gate['false_alarms']:.3g} % of images like them would be."
            )


def _print_overlap(record: dict[str, Any]) -> None:
    overlap = record["overlap"]
    near = "" if overlap["near"] is None else f", {overlap['near']:,} have a near copy"
    typer.echo(
        f"Of {overlap['images']:,} images, {overlap['identical']:,} are identical to one that was learned from{near}. "
        f"Left out with their groups: {overlap['left_out']:,}."
    )
    if overlap["why_not"]:
        typer.echo(overlap["why_not"])


def _print_shift(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    notable = [row for row in rows if row["notable"]]
    if not notable:
        typer.echo("The new images are like those of the training part in all that was measured.")
        return
    title = "how the new images differ from the training part"
    table = Table(title=title, title_justify="left")
    for heading in ("measure", "training", "new", "effect"):
        table.add_column(heading, justify="left" if heading == "measure" else "right", overflow="fold")
    for row in notable[:SHIFTS_SHOWN]:
        effect = "constant" if row["effect"] is None else f"{row['effect']:+.2f}"
        measure = plain(row["what"].replace("_", " "))
        table.add_row(measure, *(_side(row["kind"], row[key]) for key in ("training", "new")), effect)
    print_table(table)
    typer.echo(
        f"{len(notable)} of {len(rows)} measures differ notably (numbers: difference in standard deviations; kinds: "
        "share that would have to change); all of them are in external.json."
    )


def _side(kind: str, said: dict[str, Any]) -> str:
    if kind == "number":
        return f"{said['mean']:.4g} ± {said['sd']:.3g}"
    total = sum(said.values())
    return ", ".join(f"{plain(name)} {100 * count / total:.0f} %" for name, count in list(said.items())[:3])


def _figure(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "undefined"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"
