"""The templates of the pages, with the filters they write numbers and names with."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from clearmargin.language import language, tr, trn
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
    environment.globals.update({"tr": tr, "trn": trn, "tr_html": tr_html, "language": language})
    return environment


def tr_html(english: str, /, **values: object) -> Markup:
    """`tr` of a text that holds tags: it is markup, and its values are escaped."""
    return Markup(tr(english)).format(**values)
