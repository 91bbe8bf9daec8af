"""The templates of the pages, with the filters they write numbers and names with."""

from __future__ import annotations

import jinja2

from clearmargin.report import wording

_FILTERS = {
    "breakable": wording.breakable,
    "bytes_size": wording.bytes_size,
    "count": wording.count,
    "decimal": wording.decimal,
    "estimate": wording.estimate,
    "large": wording.large,
    "listed": wording.listed,
    "moment": wording.moment,
    "percent": wording.percent,
    "plural": wording.plural,
    "points": wording.points,
    "seconds": wording.seconds,
    "short": wording.short,
    "visible": wording.visible,
    "visible_lines": wording.visible_lines,
}


def templates() -> jinja2.Environment:
    """The templates, with the filters they write numbers and names with."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clearmargin.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment
