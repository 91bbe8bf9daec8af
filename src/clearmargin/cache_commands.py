"""``clearmargin cache …``: what is kept to be used again, how much of the disk it takes, and how to be rid of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from clearmargin.cache import (
    COMPUTED,
    FETCHED,
    IN_USE_SECONDS,
    CacheEntry,
    cache_entries,
    cache_folder,
    cache_limit,
    clear_cache,
    parse_size,
    trim_cache,
)
from clearmargin.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Decoded images and other results that are kept to be used again.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RecentOption = Annotated[
    bool, typer.Option("--recent", help="Also what was used within two days: no study may be running.")
]


@app.command("show")
def show_cache(as_json: JsonOption = False) -> None:
    """Show where it is, what it holds, and what that takes of the disk."""
    entries, limit = cache_entries(), cache_limit()
    total = sum(entry.size_bytes for entry in entries)
    kinds = {kind: [entry for entry in entries if entry.kind == kind] for kind in (*COMPUTED, *FETCHED)}
    if as_json:
        facts = {
            kind: {"entries": len(found), "bytes": sum(entry.size_bytes for entry in found)}
            for kind, found in kinds.items()
        }
        page = {"folder": str(cache_folder()), "limit_bytes": limit, "bytes": total, "kinds": facts}
        typer.echo(json.dumps(page, indent=1))
        return
    from rich.table import Table

    from clearmargin.console import print_table

    table = Table()
    for heading in ("kind", "what it is", "entries", "on the disk", "last used"):
        table.add_column(heading, justify="right" if heading in ("entries", "on the disk") else "left")
    for kind, found in kinds.items():
        size = _size(sum(entry.size_bytes for entry in found))
        table.add_row(kind, (COMPUTED | FETCHED)[kind], str(len(found)), size, _ago(found))
    typer.echo(f"{cache_folder()}: {_size(total)} of {_size(limit)}")
    print_table(table)
    typer.echo("Less of it: clearmargin cache trim --to 5GB, or clearmargin cache clear. What was fetched stays.")


@app.command("trim")
def trim(
    to: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Such as 5GB or 500MB; CLEARMARGIN_CACHE_LIMIT, or 20GB, by default."),
    ] = None,
    recent: RecentOption = False,
) -> None:
    """Remove what was used longest ago, down to a size."""
    limit = cache_limit() if to is None else parse_size(to, "--to")
    _say_removed(trim_cache(limit, in_use_seconds=0 if recent else IN_USE_SECONDS))
    left = sum(entry.size_bytes for entry in cache_entries())
    if left > limit:
        kept = "what was fetched" if recent else "what was fetched, or was used within two days (see --recent)"
        typer.echo(f"{_size(left)} are left: {kept}.")


@app.command("clear")
def clear(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="Of `clearmargin cache show`; all that is computed by default."),
    ] = None,
    recent: RecentOption = False,
) -> None:
    """Remove all that can be computed again, or all of a kind."""
    known = (*COMPUTED, *FETCHED)
    strange = [kind for kind in kinds or () if kind not in known]
    if strange:
        raise UsageError(f"There is no kind {strange[0]!r} in the cache: expected {', '.join(known)}.")
    _say_removed(clear_cache(kinds or tuple(COMPUTED), in_use_seconds=0 if recent else IN_USE_SECONDS))


def _say_removed(removed: Sequence[CacheEntry]) -> None:
    entries = "1 entry" if len(removed) == 1 else f"{len(removed)} entries"
    typer.echo(f"Removed {entries}, {_size(sum(entry.size_bytes for entry in removed))}.")


def _size(size_bytes: int) -> str:
    for unit, word in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {word}"
    return f"{size_bytes} bytes"


def _ago(entries: Sequence[CacheEntry]) -> str:
    if not entries:
        return ""
    hours = (time.time() - max(entry.used for entry in entries)) / 3600
    return "within the hour" if hours < 1 else f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"
