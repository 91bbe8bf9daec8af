"""The fixed text of reports and verdicts in other languages: English is the key, one table holds the rest.

What a program writes is said with `tr`, `trn` or, where it holds tags, `tr_html`; what a person named (classes, files,
contenders) goes in as a value and stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources

from clearmargin.errors import UsageError

LANGUAGES = {"en": "English", "zh": "简体中文"}
_language: ContextVar[str] = ContextVar("language", default="en")


@contextmanager
def using(language: str) -> Iterator[None]:
    """Say everything in this language meanwhile.

    Raises
    ------
    UsageError
        When there is no such language.
    """
    if language not in LANGUAGES:
        raise UsageError(f"The language must be {' or '.join(LANGUAGES)}, got {language!r}.")
    before = _language.set(language)
    try:
        yield
    finally:
        _language.reset(before)


def language() -> str:
    """The language that is said just now: a key of `LANGUAGES`."""
    return _language.get()


def tr(english: str, /, **values: object) -> str:
    """A text in the language of the moment, with ``values`` put in the place of ``{name}``.

    Without values the text is taken as it is, braces included. A text that the table lacks stays English; a test holds
    the table complete.
    """
    found = table().get(english, english) if language() != "en" else english
    return found.format(**values) if values else found


def trn(number: int, one: str, many: str, /, **values: object) -> str:
    """`tr` of what is said of one, or of several: ``trn(n, "{n} image", "{n} images", n=count(n))``.

    Chinese has no plural: the table holds the text for several.
    """
    return tr(one if number == 1 and language() == "en" else many, **values)


@cache
def table() -> Mapping[str, str]:
    """Chinese by English."""
    return json.loads((resources.files("clearmargin.language") / "strings.json").read_text(encoding="utf-8"))
