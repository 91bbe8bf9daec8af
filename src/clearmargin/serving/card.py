"""The model card of a run as HTML: the little Markdown that the program writes, and nothing else."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from markupsafe import Markup, escape

_INLINE = re.compile(r"\\(.)|\*\*(.+?)\*\*")
_HEADING = re.compile(r"(#{1,3}) (.+)")
LARGEST = 1_000_000  # characters


def card_html(markdown: str) -> Markup:
    """A card with headings (one level lower than in the file), lists, tables and paragraphs; all else is text."""
    lines = (line.rstrip() for line in markdown[:LARGEST].splitlines())
    blocks = itertools.groupby(lines, key=_kind)
    return Markup("\n").join(_block(kind, list(group)) for kind, group in blocks if kind != "blank")


def _kind(line: str) -> str:
    if not line:
        return "blank"
    if _HEADING.fullmatch(line):
        return "heading"
    return {"- ": "list", "| ": "table"}.get(line[:2], "text")


def _block(kind: str, lines: list[str]) -> Markup:
    if kind == "heading":
        return Markup("\n").join(map(_heading, lines))
    if kind == "list":
        return Markup('<ul class="plain">{}</ul>').format(_joined("li", (line[2:] for line in lines)))
    if kind == "table":
        return _table([_cells(line) for line in lines])
    return Markup("<p>{}</p>").format(_inline(" ".join(lines)))


def _heading(line: str) -> Markup:
    found = _HEADING.fullmatch(line)
    assert found is not None
    tag = f"h{len(found[1]) + 1}"
    return Markup(f"<{tag}>{{}}</{tag}>").format(_inline(found[2]))


def _table(rows: list[list[str]]) -> Markup:
    body = [row for row in rows[1:] if not all(set(cell) <= set("-:") for cell in row)]
    head = Markup("<tr>{}</tr>").format(_joined('th scope="col"', rows[0]))
    lines = (Markup("<tr>{}{}</tr>").format(_joined('th scope="row"', row[:1]), _joined("td", row[1:])) for row in body)
    table = Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, Markup("").join(lines))
    return Markup('<div class="scroller" tabindex="0" role="region" aria-label="{}">{}</div>').format(
        ", ".join(rows[0]), table
    )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def _joined(tag: str, texts: Iterable[str]) -> Markup:
    name = tag.split()[0]
    return Markup("").join(Markup(f"<{tag}>{{}}</{name}>").format(_inline(text)) for text in texts)


def _inline(text: str) -> Markup:
    return Markup("").join(_pieces(text))


def _pieces(text: str) -> Iterator[Markup]:
    place = 0
    for found in _INLINE.finditer(text):
        yield escape(text[place : found.start()])
        yield escape(found[1]) if found[1] is not None else Markup("<b>{}</b>").format(_inline(found[2]))
        place = found.end()
    yield escape(text[place:])
