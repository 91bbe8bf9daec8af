"""Whose class is whose: names of the new data, names of the run, and what both become for the test."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clearmargin.errors import UsageError


@dataclass(frozen=True)
class ClassMapping:
    """What classes become.

    Attributes
    ----------
    trained
        Classes of the run, in the order of its probabilities.
    merged
        What each of them is called in the test, aligned: several may share a name.
    theirs
        What each class of the new data is called in the test; None for one that is left out.
    """

    trained: tuple[str, ...]
    merged: tuple[str, ...]
    theirs: dict[str, str | None]

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the test, in the order in which the run's first have them."""
        return tuple(dict.fromkeys(self.merged))

    @property
    def merges(self) -> bool:
        """Whether classes of the run are summed up."""
        return self.merged != self.trained

    def merge(self, values: np.ndarray) -> np.ndarray:
        """Columns of the run's classes, summed for each class of the test: (samples, classes)."""
        summed = np.zeros((len(values), len(self.classes)), dtype=values.dtype)
        for column, name in enumerate(self.merged):
            summed[:, self.classes.index(name)] += values[:, column]
        return summed

    def renamed(self, labels: Iterable[str]) -> np.ndarray:
        """Labels of the run's own samples as classes of the test, object of shape (samples,)."""
        called = dict(zip(self.trained, self.merged, strict=True))
        return np.array([called[label] for label in labels], dtype=object)


def class_mapping(
    trained: Sequence[str], there: Sequence[str], maps: Sequence[str] = (), merges: Sequence[str] = ()
) -> ClassMapping:
    """Bring the classes of new data and those of a run together.

    Parameters
    ----------
    trained, there
        Classes of the run and of the new data.
    maps
        ``"theirs=ours"``; nothing behind the sign leaves a class out. Equal names need none.
    merges
        ``"name=ours,ours"``: classes of the run that count as one in the test.

    Raises
    ------
    UsageError
        When a class of the new data is not mapped, with both sides listed; when a name is unknown or said twice; when
        fewer than two classes are left.
    """
    merged = _merged(tuple(trained), merges)
    targets = dict.fromkeys((*trained, *merged))
    asked = _pairs(maps, "--map", "theirs=ours, for instance yes=tumor")
    for theirs in asked:
        if theirs not in there:
            raise UsageError(f"--map speaks of {theirs!r}, which the new data do not have{_near(theirs, there)}")
    called = dict(zip(trained, merged, strict=True))
    found: dict[str, str | None] = {}
    unmapped = []
    for theirs in there:
        ours = asked.get(theirs, theirs)
        if theirs in asked and not ours:
            found[theirs] = None
        elif ours in targets:
            found[theirs] = called.get(ours, ours) if ours not in merged else ours
        elif theirs in asked:
            raise UsageError(f"--map {theirs}={ours}: the run has no class {ours!r}{_near(ours, list(targets))}")
        else:
            unmapped.append(theirs)
    if unmapped:
        raise _not_mapped(unmapped, list(there), list(dict.fromkeys(merged)))
    if not any(found.values()):
        raise UsageError("--map leaves every class of the new data out: there is nothing to test.")
    return ClassMapping(tuple(trained), merged, found)


def _merged(trained: tuple[str, ...], merges: Sequence[str]) -> tuple[str, ...]:
    asked = _pairs(merges, "--merge", "name=class,class, for instance tumor=glioma,meningioma")
    called: dict[str, str] = {}
    for name, listed in asked.items():
        members = [member.strip() for member in listed.split(",") if member.strip()]
        if not name or not members:
            raise UsageError(f"--merge {name}={listed}: name the classes, for instance tumor=glioma,meningioma.")
        for member in members:
            if member not in trained:
                raise UsageError(f"--merge speaks of {member!r}, which the run does not have{_near(member, trained)}")
            if member in called:
                raise UsageError(f"--merge puts {member!r} in two places: take one of them.")
            called[member] = name
        if name in trained and name not in members:
            raise UsageError(f"--merge makes a class {name!r}, which is one of the run's own: take another name.")
    merged = tuple(called.get(name, name) for name in trained)
    if len(set(merged)) < 2:
        raise UsageError("--merge leaves a single class, so that there is nothing to tell apart.")
    return merged


def _pairs(said: Sequence[str], option: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in said:
        name, sign, value = (piece.strip() for piece in text.partition("="))
        if not sign or not name:
            raise UsageError(f"{option} needs {example}, got {text[:100]!r}.")
        if name in found:
            raise UsageError(f"{option} says twice what {name!r} is: take one of them.")
        found[name] = value
    return found


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f": expected one of {', '.join(map(repr, known))}." + (f" Did you mean {near[0]!r}?" if near else "")


def _not_mapped(unmapped: Sequence[str], there: Sequence[str], ours: Sequence[str]) -> UsageError:
    free = [name for name in ours if name not in there]
    examples = []
    for name in unmapped:
        near = difflib.get_close_matches(name, free or ours, n=1)
        examples.append(f'--map "{name}={near[0] if near else "…"}"')
    return UsageError(
        f"What {', '.join(map(repr, unmapped))} of the new data stand for is not known. The new data have "
        f"{', '.join(map(repr, there))}; the run has {', '.join(map(repr, ours))}. Say which is which: "
        f'{" ".join(examples)} (or --map "{unmapped[0]}=" to leave it out).'
    )
