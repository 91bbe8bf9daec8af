"""Whether the class can be told from the file, without looking at the anatomy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from clearmargin.audit.evidence import Evidence
from clearmargin.audit.permutation import permutation_test
from clearmargin.audit.properties import PROPERTIES
from clearmargin.audit.shortcut_finding import shortcut_finding
from clearmargin.audit.told_apart import Units
from clearmargin.records import Finding

MOST_SAMPLES = 5000
LEAST_UNITS = 5  # of a class; with fewer nothing can be learned and tested
_RARE = 50  # samples of a rare class that are looked at, if it has them, whatever its share


def shortcuts(evidence: Evidence) -> Iterator[Finding]:
    """Properties from which the class can be told better than shuffled labels allow, if there are any."""
    groups = evidence.units
    chosen = _chosen(evidence, groups)
    if len(chosen) == 0:
        return
    classes, labels = np.unique(evidence.labels[chosen].astype(str), return_inverse=True)
    facts = evidence.facts.iloc[chosen]
    looked_at = [
        (property_, categories)
        for property_ in PROPERTIES
        if set(property_.needs) <= set(facts.columns) and (categories := property_.categories(facts)) is not None
    ]
    if not looked_at:
        return
    generator = np.random.default_rng(0)
    units = Units.gather(labels, groups[chosen], generator)
    results = permutation_test([categories for _, categories in looked_at], units, generator)
    if results.flagged.any():
        yield shortcut_finding(looked_at, results, units, labels, classes, evidence)


def _chosen(evidence: Evidence, groups: np.ndarray) -> np.ndarray:
    """Rows to look at, about `MOST_SAMPLES` at most, of the classes that have `LEAST_UNITS` units.

    Each class is there in proportion, but with enough to be learned and tested. Of each unit one sample is taken before
    any has a second, so that no patient with many images takes the place of others.
    """
    if not evidence.is_classification or len(evidence.labels) == 0:
        return np.empty(0, np.int64)
    numbers, _ = pd.factorize(evidence.labels)
    enough = np.flatnonzero(np.bincount(np.unique(np.stack([numbers, groups]), axis=1)[0]) >= LEAST_UNITS)
    rows = np.flatnonzero(np.isin(numbers, enough))
    if len(enough) < 2 or len(rows) <= MOST_SAMPLES:
        return rows if len(enough) >= 2 else np.empty(0, np.int64)
    shuffled = np.random.default_rng(0).permutation(rows)
    turn = pd.DataFrame({"label": numbers[shuffled], "group": groups[shuffled]}).groupby(["label", "group"]).cumcount()
    shuffled = shuffled[np.argsort(turn.to_numpy(), kind="stable")]
    least = max(LEAST_UNITS, min(_RARE, MOST_SAMPLES // (2 * len(enough))))
    taken = [
        shuffled[numbers[shuffled] == number][: max(least, int(MOST_SAMPLES * (numbers[rows] == number).mean()))]
        for number in enough
    ]
    return np.sort(np.concatenate(taken))
