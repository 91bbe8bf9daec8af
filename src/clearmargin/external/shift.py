"""How new images differ from those of the training part, in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOTABLE = 0.25  # standardised difference
NOTABLE_SHARE = 0.1  # total variation distance


def standardised_difference(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Difference of two means in units of the spread: ``(m₁ − m₂) / √((s₁² + s₂²) / 2)``.

    Austin, *Statistics in Medicine* 28 (2009) 3083; above `NOTABLE` a regression's adjustment can no longer be
    relied on (Rubin, *Health Services & Outcomes Research Methodology* 2 (2001) 169). None when both are constants
    and differ: there is no spread to measure by.

    Parameters
    ----------
    first, second
        ``mean`` and ``sd`` of each.
    """
    distance = first["mean"] - second["mean"]
    spread = math.sqrt((first["sd"] ** 2 + second["sd"] ** 2) / 2)
    if spread > 0:
        return distance / spread
    return 0.0 if distance == 0 else None


def total_variation(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Half the sum of the differences of shares: 0 for the same mixture, 1 when no value is in both.

    Levin, Peres & Wilmer, *Markov Chains and Mixing Times* (2009), proposition 4.2.

    Parameters
    ----------
    first, second
        How often each value was seen; at least one each.
    """
    sums = sum(first.values()), sum(second.values())
    values = set(first) | set(second)
    return sum(abs(first.get(value, 0) / sums[0] - second.get(value, 0) / sums[1]) for value in values) / 2


def shift_table(trained: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs between the training part and new images, the largest differences first.

    Parameters
    ----------
    trained, new
        As `training_data.summarise` makes them.

    Returns
    -------
    A row for each measure: ``what``, ``kind`` (``number`` or ``category``), ``training`` and ``new`` (of numbers mean
    and sd, of categories counts), ``effect`` (standardised difference of new minus training, or total variation;
    None: both are constant, and differ), ``notable``.
    """
    rows = []
    for name, own in new["numbers"].items():
        before = trained["numbers"].get(name)
        if before is not None:
            effect = standardised_difference(own, before)
            rows.append(_row(name, "number", before, own, effect, effect is None or abs(effect) >= NOTABLE))
    for name, counts in new["categories"].items():
        before = trained["categories"].get(name)
        if before:
            distance = total_variation(counts, before)
            rows.append(_row(name, "category", before, counts, distance, distance >= NOTABLE_SHARE))
    return sorted(rows, key=lambda row: (not row["notable"], row["kind"], -_size(row["effect"]), row["what"]))


def _row(name: str, kind: str, before: Any, after: Any, effect: float | None, notable: bool) -> dict[str, Any]:
    return {"what": name, "kind": kind, "training": before, "new": after, "effect": effect, "notable": notable}


def _size(effect: float | None) -> float:
    return math.inf if effect is None else abs(effect)
