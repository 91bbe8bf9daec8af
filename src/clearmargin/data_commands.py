"""``clearmargin data …``: the data sets known by name, and the only command that fetches any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearmargin.console import plain, print_table, stopping
from clearmargin.errors import UsageError

if TYPE_CHECKING:
    from clearmargin.downloads import RemoteFile
    from clearmargin.sources.catalogue import LocalCopy, Verdict
    from clearmargin.sources.datasets import Dataset

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data sets that are known by name.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="One of `clearmargin data list`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
def list_data(as_json: JsonOption = False) -> None:
    """List them, and whether each is on this machine."""
    from clearmargin.sources.catalogue import FOLDER_VARIABLE, catalogue

    if as_json:
        typer.echo(json.dumps([_facts(dataset) for dataset in catalogue()], ensure_ascii=False, indent=1))
        return
    from rich.table import Table

    table = Table(show_lines=True)
    for heading in ("name", "what it is", "holds", "where", "terms"):
        table.add_column(heading, overflow="fold")
    for dataset in catalogue():
        what = f"[bold]{plain(dataset.title)}[/bold]\n{plain(dataset.about)}"
        table.add_row(dataset.name, what, dataset.extent, plain(_where(dataset)), plain(dataset.terms))
    print_table(table)
    typer.echo(f"More of one: clearmargin data show NAME. Copies of your own: --data PATH, or {FOLDER_VARIABLE}=DIR.")


@app.command("show")
def show_data(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show all about one. Terms, caveats, columns, files and hashes."""
    from clearmargin.sources.catalogue import named

    dataset = named(name)
    if as_json:
        typer.echo(json.dumps(_facts(dataset), ensure_ascii=False, indent=1))
        return
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    lines = {
        "holds": dataset.extent,
        "where": _where(dataset),
        "terms": dataset.terms,
        "to know": dataset.about,
        "caveat": f"{dataset.caveat} {dataset.remedy}".strip(),
    }
    for heading, text in lines.items():
        if text:
            facts.add_row(heading, plain(text))
    typer.echo(f"{dataset.name}: {dataset.title}")
    print_table(facts)
    _print_details("column", [(column.name, column.meaning) for column in dataset.columns])
    _print_details("file", [(file.name, _published(file)) for file in dataset.published])


@app.command("get")
def get_data(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put the files there, not where the name is looked for.")
    ] = None,
) -> None:
    """Fetch one from its official place. Hashes are checked; the same command goes on where it was stopped."""
    from clearmargin.console import ConsoleProgress
    from clearmargin.sources.catalogue import fetch, named, verify

    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: --out needs a folder, which may be new.")
    dataset, fetched = named(name), set()
    with stopping("What has come is kept."), ConsoleProgress() as progress:

        def show(file: str, done: int, total: int) -> None:
            fetched.add(file)
            progress(f"{file}, kB", done // 1000, total // 1000, "")

        copy = fetch(dataset, out=out, progress=show)
    how = "Fetched and verified" if fetched else f"On this machine already, {verify(copy).state}"
    typer.echo(f"{how}: {copy.path}")
    if out is not None:
        typer.echo(f"To use it: --data {copy.path}")


def _print_details(what: str, rows: list[tuple[str, str]]) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table()
    table.add_column(what)
    table.add_column("what it is", overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    print_table(table)


def _published(file: RemoteFile) -> str:
    unpacked = f"; of its content {file.content_sha256}" if file.content_sha256 else ""
    places = f"; from {' or '.join(file.urls)}" if file.urls else ""
    return f"{file.size_bytes:,} bytes, SHA-256 {file.sha256}{unpacked}{places}"


def _state(dataset: Dataset) -> tuple[LocalCopy | None, Verdict | None]:
    from clearmargin.sources.catalogue import local_copy, verify

    copy = local_copy(dataset.name)
    return copy, None if copy is None else verify(copy)


def _where(dataset: Dataset) -> str:
    copy, verdict = _state(dataset)
    get = f"clearmargin data get {dataset.name} ({dataset.download_mb:,.0f} MB)" if dataset.can_be_fetched else ""
    if copy is None or verdict is None:
        return get or dataset.origin
    if copy.place == "program":
        return f"{dataset.origin}: {copy.path}"
    if copy.dataset != dataset:
        return f"only {copy.dataset.name} on this machine; for the original: {get}"
    size = f"{_size_mb(copy.path):,.1f} MB"
    if verdict.state == "differs":
        return f"on this machine, but not the published files: {verdict.reason}"
    return f"on this machine, {verdict.state}: {copy.path} ({size})"


def _size_mb(path: Path) -> float:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _facts(dataset: Dataset) -> dict[str, Any]:
    import dataclasses

    copy, verdict = _state(dataset)
    here = None
    if copy is not None and verdict is not None:
        here = {
            "dataset": copy.dataset.name,
            "path": str(copy.path),
            "place": copy.place,
            "state": verdict.state,
            "reason": verdict.reason,
        }
    known = dataclasses.asdict(dataset)
    known.pop("packaged")
    return known | {"here": here}
