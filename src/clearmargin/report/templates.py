"""The templates of the pages, with the filters they write numbers and names with."""

from __future__ import annotations

from functools import cache

import jinja2
from markupsafe import Markup

from clearmargin.language import language, tr, trn
from clearmargin.report import wording

_FILTERS = {
    "breakable": wording.breakable,
    "capitalized": wording.capitalized,
    "bytes_size": wording.bytes_size,
    "count": wording.count,
    "decimal": wording.decimal,
    "estimate": wording.estimate,
    "large": wording.large,
    "listed": wording.listed,
    "moment": wording.moment,
    "part_name": wording.part_name,
    "part_title": wording.part_title,
    "percent": wording.percent,
    "plural": wording.plural,
    "points": wording.points,
    "retold": wording.retold,
    "retold_text": wording.retold_text,
    "seconds": wording.seconds,
    "severity": wording.severity,
    "short": wording.short,
    "thing": wording.thing,
    "things": wording.things,
    "visible": wording.visible,
    "visible_lines": wording.visible_lines,
}


@cache
def templates() -> jinja2.Environment:
    """The templates, with the filters they write numbers and names with; each is compiled once in a process.

    What depends on the language is a call, made anew with each page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clearmargin.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.globals.update({"tr": tr, "trn": trn, "tr_html": tr_html, "language": language})
    return environment


def tr_html(english: str, /, **values: object) -> Markup:
    """`tr` of a text that holds tags: it is markup, and its values are escaped."""
    return Markup(tr(english)).format(**values)
