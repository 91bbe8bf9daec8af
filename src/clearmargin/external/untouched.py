"""Which of the new images may be tested at all: those whose group holds no copy of an image that was learned from."""

from __future__ import annotations

import numpy as np

from clearmargin.errors import UsageError
from clearmargin.external.overlap import Overlap
from clearmargin.records import Predictions


def rows_to_test(overlap: Overlap) -> np.ndarray:
    """Rows of the images that are tested, int64, ascending.

    A group goes as a whole: images of one patient are alike, so that a copy of one of them in training is a help with
    the others too.

    Raises
    ------
    UsageError
        When none is left.
    """
    rows = np.flatnonzero(~overlap.left_out)
    if not len(rows):
        kinds = f"{int(overlap.identical.sum()):,} are identical to one that was learned from"
        if overlap.near_looked_for:
            kinds += f", {int(overlap.near.sum()):,} nearly so"
        raise UsageError(
            f"No external test: every image (or its group) has a copy in training. Of {len(overlap.left_out):,} images "
            f"{kinds}, and the rest are of a group with one of these. Nothing was predicted, and nothing written: "
            "give --data that the run did not learn from."
        )
    return rows


def some_of(said: Predictions, rows: np.ndarray) -> Predictions:
    """What was said of some images."""
    return Predictions(said.names[rows], said.labels[rows], said.groups[rows], said.classes, said.probabilities[rows])
