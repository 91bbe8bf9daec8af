"""Checks on the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clearmargin.audit.evidence import Evidence
from clearmargin.records import Finding

FEW_ROWS = 200
_SHOWN = 5


def identical_rows(evidence: Evidence) -> Iterator[Finding]:
    """How many rows have the same inputs as another one."""
    sets = evidence.sets_of_copies
    if not sets:
        return
    rows = np.concatenate(sets)
    differing = sum(len(set(evidence.labels[members])) > 1 for members in sets)
    contradiction = f" In {differing:,} of these sets the target differs." if differing else ""
    yield Finding(
        "identical-rows",
        "note",
        f"{len(rows):,} of {len(evidence.names):,} rows have the same inputs as another one, in {len(sets):,} "
        f"set{'' if len(sets) == 1 else 's'}.{contradiction}",
        "Nothing has to be done: a new split keeps rows with the same inputs in the same part.",
        tuple(evidence.names[rows]),
    )


def few_rows(evidence: Evidence) -> Iterator[Finding]:
    """Whether one split can say much at all."""
    if len(evidence.names) < FEW_ROWS:
        yield Finding(
            "few-rows",
            "warning",
            f"There are only {len(evidence.names):,} rows: what one split says depends much on its lot.",
            "Trust figures over several seeds, 20 or more ([evaluation] repeats), rather than those of one split.",
        )


def outlying_targets(evidence: Evidence) -> Iterator[Finding]:
    """Targets more than five interquartile ranges outside the quartiles: typing errors, or the cases that matter."""
    targets = evidence.labels.astype(np.float64)
    low, high = np.quantile(targets, [0.25, 0.75])
    reach = 5 * (high - low)
    far = np.flatnonzero((targets < low - reach) | (targets > high + reach)) if reach > 0 else np.empty(0, np.int64)
    if len(far):
        shown = ", ".join(f"{evidence.names[row]} ({targets[row]:g})" for row in far[:_SHOWN])
        more = f" and {len(far) - _SHOWN:,} more" if len(far) > _SHOWN else ""
        yield Finding(
            "outlying-targets",
            "warning",
            f"The target lies far outside the others in {len(far):,} row{'' if len(far) == 1 else 's'}: {shown}{more}.",
            "Look at them: squared errors are dominated by such rows. If they are mistakes, correct or remove them; "
            'if not, consider loss = "huber".',
            tuple(evidence.names[far]),
        )
