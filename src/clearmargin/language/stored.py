"""Sentences that files of a run keep in English, said in the language of the moment.

What the audit and the studies write is stored in English, so that a file means the same whoever made it. Here a stored
sentence is compared with the English texts of the table: where one fits, the Chinese text takes its place, with what
stood at the place of each ``{name}``.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from clearmargin.language import table

LONGEST = 4000  # characters; nothing the program writes is longer
_INNER = "_"  # names that begin with it stand for sentences, which are retold in their turn
_NUMBER = re.compile(r"n(_\w+)?")  # of names that stand for numbers
_DIGITS = r"[-+<>\u2212]?[ \u202f]?\d(?:[\d\u202f,.e+\u2212\u2013-]*[\d])?"
_EITHER = re.compile(r"\[([^\[\]|]*(?:\|[^\[\]|]*)+)\]")  # of one or of several: [image|images]
_BOUNDARY = re.compile(r"(?<=[.!?:;])\s+")


@dataclass(frozen=True)
class _Pattern:
    """An English text as an expression that finds its values, and the text that takes its place."""

    expression: re.Pattern[str]
    names: tuple[str, ...]
    told: str

    def retell(self, english: str) -> str | None:
        found = self.expression.fullmatch(english)
        if found is None:
            return None
        values = dict(zip(self.names, found.groups(), strict=True))
        inner = {name: retold(value) or value for name, value in values.items() if name.startswith(_INNER)}
        return self.told.format(**{**values, **inner}) if values else self.told


@lru_cache(maxsize=4096)
def retold(english: str) -> str | None:
    """A stored sentence, or several in a row, in Chinese; None when the table knows them not all."""
    if len(english) > LONGEST:
        return None
    whole = _one(english)
    if whole is not None:
        return whole
    for place in _BOUNDARY.finditer(english):
        first = _head(english[: place.start()])
        if first is not None:
            rest = retold(english[place.end() :])
            if rest is not None:
                return first + rest
    return None


def _head(english: str) -> str | None:
    """What stands before a boundary; a semicolon belongs to none of the texts."""
    told = _one(english.removesuffix(";"))
    return f"{told}；" if told is not None and english.endswith(";") else told


def _one(english: str) -> str | None:
    exact = _exact().get(english)
    if exact is not None:
        return exact
    return next((told for pattern in _patterns() if (told := pattern.retell(english)) is not None), None)


@cache
def stored_texts() -> Mapping[str, str]:
    """Chinese by English of what is only ever stored, and never said by `clearmargin.language.tr`."""
    return json.loads((resources.files("clearmargin.language") / "stored.json").read_text(encoding="utf-8"))


@cache
def _exact() -> Mapping[str, str]:
    return {**table(), **{english: told for english, told in stored_texts().items() if not _varies(english)}}


@cache
def _patterns() -> tuple[_Pattern, ...]:
    """The texts with values, those with the most words of their own first, so that the most telling one fits."""
    found = [_pattern(english, told) for english, told in stored_texts().items() if _varies(english)]
    return tuple(pattern for _, pattern in sorted(found, key=lambda pair: -pair[0]))


def _pattern(english: str, told: str) -> tuple[int, _Pattern]:
    expression, names, own = "", [], 0
    for literal, name, _, _ in string.Formatter().parse(english):
        expression += _literal(literal)
        own += len(literal)
        if name is not None:
            sought = _DIGITS if _NUMBER.fullmatch(name) else ".+?"
            expression += f"(?P={name})" if name in names else f"(?P<{name}>{sought})"
            names.append(name)
    return own, _Pattern(re.compile(expression, re.DOTALL), tuple(dict.fromkeys(names)), told)


def _literal(text: str) -> str:
    """The text as an expression; of ``[image|images]`` either fits."""
    pieces = _EITHER.split(text)
    return "".join(
        f"(?:{'|'.join(map(re.escape, piece.split('|')))})" if place % 2 else re.escape(piece)
        for place, piece in enumerate(pieces)
    )


def _varies(english: str) -> bool:
    return "{" in english or _EITHER.search(english) is not None
