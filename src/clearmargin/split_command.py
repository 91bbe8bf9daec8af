"""``clearmargin split``: who would go where, and whether a split that exists holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearmargin.console import STEPS_KEPT, ConsoleProgress, plain, print_json, print_table, stopping
from clearmargin.errors import RecipeError, SourceError, UsageError

if TYPE_CHECKING:
    from clearmargin.records import Split
    from clearmargin.splitting import Divided

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A path or a name of `clearmargin data list`, as --data of `clearmargin run`.",
        show_default=False,
    ),
]
GroupPatternOption = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Where the patient stands in a file's name, such as '(\\d+)_slice'."),
]
GroupByOption = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column whose equal values stay together; patient by default."),
]


def split(
    data: DataArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV to write: name, label, group, part. Default: split.csv.")
    ] = None,
    fractions: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Of train, validation and test; 0.8,0.1,0.1 by default.")
    ] = None,
    folds: Annotated[int, typer.Option(metavar="K", help="Cross-validation: every sample is tested once.")] = 0,
    repeats: Annotated[int, typer.Option(metavar="R", min=1, max=1000, help="How often to draw the folds.")] = 1,
    group_pattern: GroupPatternOption = None,
    group_by: GroupByOption = None,
    near_duplicates: Annotated[str, typer.Option(metavar="together|drop", help="What to do with copies.")] = "together",
    use_given: Annotated[bool, typer.Option("--use-given", help="Keep the parts that the data have.")] = False,
    accept_leaks: Annotated[bool, typer.Option("--accept-leaks", help="Of given parts: allow that they leak.")] = False,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check a split file; nothing is written without --out.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed, another split.")] = 0,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="For a table of numbers: the column to be predicted.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Divide data into train, validation and test. Or into folds; patients and copies stay together."""
    from clearmargin.splitting import check_split_output, divide_data, write_splits

    if repeats > 1 and not folds:
        raise UsageError("--repeats goes with --folds K: for another split of the same kind take another --seed.")
    settings: dict[str, Any] = {
        "folds": folds,
        "near_duplicates": near_duplicates,
        "use_given": use_given,
        "accept_leaks": accept_leaks,
    }
    settings |= {"fractions": _numbers(fractions)} if fractions is not None else {}
    settings |= {"group_by": group_by} if group_by is not None else {}
    settings |= {"file": str(check)} if check is not None else {}
    with in_options():
        asked, described = _checked(data, settings, target, group_pattern)
    written = out if out is not None or check is not None else Path("split.csv")
    if written is not None:
        check_split_output(written, data)
    with stopping(STEPS_KEPT), in_options(), ConsoleProgress() as progress:
        made = divide_data(described, asked, seed=seed, repeats=repeats, progress=progress)
    if written is not None:
        write_splits(written, made.splits)
    if as_json:
        print_json(made.as_json())
        return
    _print(made)
    if check is not None:
        typer.echo(f"{check} leaks, as accepted." if made.as_json()["leaky"] else f"{check} holds.")
    if written is not None:
        typer.echo(f"Written: {written}")


def _checked(data: str, settings: dict[str, Any], target: str | None, group_pattern: str | None) -> Any:
    """The settings as a recipe has them; what is wrong with them is said in a recipe's words."""
    from clearmargin.preparation import named
    from clearmargin.recipe import Data, check_settings

    asked = check_settings("split", settings, "the options")
    if target is not None and group_pattern is not None:
        raise UsageError("--group-pattern is for images, and --target makes the data a table: leave one out.")
    return asked, Data.model_construct(source=named(data), target=target, group_pattern=group_pattern)


_SAID_BY_OPTIONS = (  # what a recipe calls it, what the command does
    ("set accept_leaks = true", "give --accept-leaks"),
    ("set use_given = false", "leave --use-given out"),
    ("set use_given = true", "give --use-given"),
    ("use_given = true", "--use-given"),
    ('set near_duplicates = "drop"', "give --near-duplicates drop"),
    ("leave the file out", "leave --check out"),
    ("name a 'file'", "give --check FILE"),
    ("([split] group_by)", "(--group-by)"),
    (" ([split])", ""),
)
_SETTING = re.compile(
    r"(?:the |The )?'(folds|fractions|accept_leaks|near_duplicates|use_given|group_by|file)'(?: setting)?"
)


@contextmanager
def in_options() -> Iterator[None]:
    """Say what is wrong in the words of the command, and not of a recipe, which nobody here has written."""
    try:
        yield
    except (RecipeError, SourceError) as error:
        said = str(error)
        for setting, option in _SAID_BY_OPTIONS:
            said = said.replace(setting, option)
        if isinstance(error, RecipeError):  # else a class or file may be called so
            said = _SETTING.sub(
                lambda found: "--check" if found[1] == "file" else f"--{found[1].replace('_', '-')}", said
            )
        raise type(error)(said) from error


def _numbers(text: str) -> list[float]:
    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError:
        raise UsageError(f"--fractions must be three numbers such as 0.8,0.1,0.1, got {text[:60]!r}.") from None


def _print(made: Divided) -> None:
    from clearmargin.splitting import IMAGE_LEVEL, makeup

    first, said = made.splits[0], made.as_json()
    noun = "rows" if first.numeric else "images"
    if made.dropped:
        typer.echo(f"{made.dropped:,} {noun} left out, as copies of others.")
    if first.folds:
        _print_folds(made)
    else:
        _print_parts(first, makeup(first))
    if not first.patients and not first.numeric:
        typer.echo(f"No patients are known, or not of every image: {IMAGE_LEVEL}.")
    if said["leaky"]:
        typer.echo(
            f"Leaky: {said['crossing_groups']:,} groups are in more than one part; "
            f"{said['crossing_test_samples']:,} test {noun} are of a group that was also learned from."
        )


def _print_parts(split: Split, parts: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    noun = "rows" if split.numeric else "images"
    table = Table()
    table.add_column("", overflow="fold")
    for heading in ("all", *parts):
        table.add_column(heading, justify="right")
    held = list(parts.values())
    table.add_row(noun, f"{len(split.names):,}", *(f"{part['samples']:,}" for part in held))
    table.add_row("groups", f"{len(set(split.groups)):,}", *(f"{part['groups']:,}" for part in held))
    table.add_row(f"share of {noun}", "", *(_percent(part["fraction"]) for part in held))
    if not split.given:
        table.add_row("asked", "", *(_percent(part["asked"]) for part in held))
    table.add_section()
    if split.numeric:
        whole = f"{split.labels.astype(float).mean():.6g}"
        table.add_row("mean of the target", whole, *(f"{part['mean']:.6g}" for part in held))
    for name, overall in _overall(split).items():
        table.add_row(plain(name), _percent(overall), *(_percent(part["shares"][name]) for part in held))
    print_table(table)
    if not split.numeric:
        typer.echo("Of the classes: their share of each part, asked to be that of all.")


def _print_folds(made: Divided) -> None:
    from rich.table import Table

    from clearmargin.splitting import makeup

    first = made.splits[0]
    overall = _overall(first)
    table = Table(title=f"test part of each fold, asked {_percent(1 / first.folds)}", title_justify="left")
    furthest = ["mean of the target"] if first.numeric else ["class furthest from its share"]
    for heading in ("repeat", "fold", "tested", "groups", "share", "train", "validation", *furthest):
        table.add_column(heading, justify="right")
    for number, split in enumerate(made.splits):
        parts = makeup(split)
        test = parts["test"]
        cells = [str(number // split.folds + 1), str(split.fold), f"{test['samples']:,}", f"{test['groups']:,}"]
        shares = [_percent(parts[part]["fraction"]) for part in ("test", "train", "validation")]
        if first.numeric:
            last = f"{test['mean']:.6g}"
        else:
            far = max(overall, key=lambda name: abs(test["shares"][name] - overall[name]))
            last = f"{plain(far)} {_percent(test['shares'][far])} (asked {_percent(overall[far])})"
        table.add_row(*cells, *shares, last)
    print_table(table)


def _overall(split: Split) -> dict[str, float]:
    """Share of each class in all samples; none of a regression."""
    classes = [] if split.numeric else sorted(set(split.labels))
    return {name: float((split.labels == name).mean()) for name in classes}


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
