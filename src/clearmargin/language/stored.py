"""Sentences that files of a run keep in English, said in the language of the moment.

What the audit and the studies write is stored in English, so that a file means the same whoever made it. Here a stored
sentence is compared with the English texts of the table: where one fits, the Chinese text takes its place, with what
stood at the place of each ``{name}``.
"""

from __future__ import annotations

import itertools
import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from clearmargin.language import table

LONGEST = 4000  # characters; nothing the program writes is longer
TELLING = 20  # characters of its own that a sentence has at least
_INNER = "_"  # names that begin with it stand for sentences, which are retold in their turn
_KNOWN = "__"  # and with this one for words that the table must know, or the text does not fit
_NUMBER = re.compile(r"n(_\w+)?")  # of names that stand for numbers
_DIGITS = re.compile(r"[-+<>\u2212]?[ \u202f]?\d(?:[\d\u202f,.e+\u2212\u2013-]*[\d])?")
_EITHER = re.compile(r"\[([^\[\]|]*(?:\|[^\[\]|]*)+)\]")  # of one or of several: [image|images]
_BOUNDARY = re.compile(r"(?<=[.!?:;])\s+")


@dataclass(frozen=True)
class _Pattern:
    """An English text with gaps, and the text that takes its place.

    A gap ends where the literal behind it is first seen, and nothing is tried twice: names that a person gave may be
    of any form, and must not make the search long.

    Attributes
    ----------
    literals
        What stands before, between and behind the gaps: of each the forms it may have, one more than there are names.
    """

    literals: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    told: str

    def retell(self, english: str) -> str | None:
        values = self._values(english)
        if values is None:
            return None
        inner = {name: retold(value) for name, value in values.items() if name.startswith(_INNER)}
        if any(told is None for name, told in inner.items() if name.startswith(_KNOWN)):
            return None
        inner = {name: told or values[name] for name, told in inner.items()}
        return self.told.format(**{**values, **inner}) if values else self.told

    def _values(self, english: str) -> dict[str, str] | None:
        first = next((form for form in self.literals[0] if english.startswith(form)), None)
        if first is None or not english.endswith(self.literals[-1]):
            return None
        place, values = len(first), dict[str, str]()
        for number, name in enumerate(self.names, start=1):
            end, after = self._gap(english, place, number)
            value = english[place:end]
            if not value or values.setdefault(name, value) != value:
                return None
            place = after
        return values if place == len(english) else None

    def _gap(self, english: str, place: int, number: int) -> tuple[int, int]:
        """Where the gap before a literal ends, and where that literal ends; an empty gap where there is none."""
        forms, nothing = self.literals[number], (place, place)
        if _NUMBER.fullmatch(self.names[number - 1]):
            digits = _DIGITS.match(english, place)
            if digits is None:
                return nothing
            form = next((form for form in forms if english.startswith(form, digits.end())), None)
            return nothing if form is None else (digits.end(), digits.end() + len(form))
        if number == len(self.names):
            form = next(form for form in forms if english.endswith(form))
            return max(place, len(english) - len(form)), len(english)
        seen = [(english.find(form, place + 1), -len(form), form) for form in forms]
        end, _, form = min((one for one in seen if one[0] >= 0), default=(place, 0, ""))
        return end, end + len(form)


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
    """The texts with values, those with the most words of their own first, so that the most telling one fits.

    Those that a study said in English, and its files keep, are among them: of the texts of `clearmargin.language.tr`
    the ones that no short phrase can be taken for.
    """
    said = {english: told for english, told in table().items() if "{" in english}
    found = [_pattern(english, told) for english, told in stored_texts().items() if _varies(english)]
    found += [(own, one) for own, one in itertools.starmap(_pattern, said.items()) if own >= TELLING]
    return tuple(pattern for _, pattern in sorted(found, key=lambda pair: -pair[0]))


def _pattern(english: str, told: str) -> tuple[int, _Pattern]:
    literals, names, own = [""], [], 0
    for literal, name, _, _ in string.Formatter().parse(english):
        literals[-1] += literal
        own += len(literal)
        if name is not None:
            names.append(name)
            literals.append("")
    return own, _Pattern(tuple(map(_forms, literals)), tuple(names), told)


def _forms(text: str) -> tuple[str, ...]:
    """The forms of a text, the longest first: ``[image|images]`` has two."""
    pieces = _EITHER.split(text)
    choices = [piece.split("|") if place % 2 else [piece] for place, piece in enumerate(pieces)]
    return tuple(sorted(map("".join, itertools.product(*choices)), key=len, reverse=True))


def _varies(english: str) -> bool:
    return "{" in english or _EITHER.search(english) is not None
