"""What only the division into parts shows: samples that were dropped, and what never changes in the training part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clearmargin.audit.nouns import IMAGES, ROWS
from clearmargin.records import Columns, Finding, Inputs, Split


def division_findings(found: Inputs, kept: Inputs, split: Split) -> Iterator[Finding]:
    """Findings about a split.

    Parameters
    ----------
    found, kept
        The samples before and after copies were dropped.
    split
        Of those that were kept.
    """
    yield from _dropped(found, kept, split)
    if isinstance(kept.preprocessing, Columns):
        yield from _constant_in_training(kept, kept.preprocessing, split)


def _dropped(found: Inputs, kept: Inputs, split: Split) -> Iterator[Finding]:
    remaining = {sample.name for sample in kept.samples}
    dropped = tuple(sample.name for sample in found.samples if sample.name not in remaining)
    if dropped:
        what = (
            "the same inputs and the same target"
            if split.numeric
            else "the same picture, identical or nearly so, and the same label"
        )
        noun = (ROWS if split.numeric else IMAGES).sample
        yield Finding(
            "copies-dropped",
            "note",
            f"{len(dropped):,} of {len(found.samples):,} {noun}s left out, because another one has {what} "
            '(near_duplicates = "drop").',
            'With near_duplicates = "together" they are kept, in the same part.',
            dropped,
        )


def _constant_in_training(kept: Inputs, columns: Columns, split: Split) -> Iterator[Finding]:
    values, learned = kept.rows.read(np.arange(kept.rows.shape[0])), split.rows("train")
    only_there = (np.ptp(values[learned], axis=0) == 0) & (np.ptp(values, axis=0) > 0)
    if only_there.any():
        names = ", ".join(repr(columns.names[place]) for place in np.flatnonzero(only_there))
        yield Finding(
            "constant-in-training",
            "warning",
            f"Columns that are the same in every row of the training part, though not in all parts: {names}. "
            "Nothing can be learned from them; they are zero for every row.",
            "Leave them out by naming the others in [data] features, or divide the rows in another way.",
        )
    targets = split.labels[learned].astype(np.float64)
    if np.ptp(targets) == 0:
        yield Finding(
            "constant-target-in-training",
            "serious",
            f"The target is {targets[0]:g} in every row of the training part: nothing can be learned.",
            "Divide the rows in another way: other fractions, another seed, or no given parts.",
        )
