"""Of a study that was done several times: which time its figures in detail are of, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def first_round(evaluation: Mapping[str, Any]) -> str:
    """The round that the figures of ``evaluation.json`` are of: ``fold 1 of 3``, ``seed 0``; empty for a single one."""
    repeats = evaluation.get("repeats")
    if not repeats:
        return ""
    seeds, folds = repeats["seeds"], repeats.get("folds", 0)
    if repeats.get("unit") == "initialisation":
        return "initialisation 1"
    trained = ", initialisation 1" if repeats.get("initialisations", 1) > 1 else ""
    if not folds:
        return f"seed {seeds[0]}{trained}"
    return f"fold 1 of {folds}" + (f" with seed {seeds[0]}" if len(seeds) > 1 else "") + trained


def alone(evaluation: Mapping[str, Any], sentence: str) -> str:
    """A sentence on the first round, so that nobody takes it for one on all; of a single round, as it is."""
    told = first_round(evaluation)
    if not told:
        return sentence
    place = told.replace(f" of {evaluation['repeats'].get('folds')}", "")
    return f"{'On' if place.startswith('fold') else 'With'} {place} alone: {sentence}"


def tested_in_all(evaluation: Mapping[str, Any], used: int, noun: str) -> str:
    """How many samples were tested: of cross-validation, all that are ``used``; ``noun`` with an s is several."""
    folds = (evaluation.get("repeats") or {}).get("folds", 0)
    if not folds:
        number = evaluation["n"]
        return f"{number:,} test {noun}{'' if number == 1 else 's'}"
    return f"{used:,} {noun}s tested over {folds} folds"
