"""A table becomes what a network takes: rows of numbers in memory, and standardised."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd

from clearmargin.mapped_rows import ArrayRows
from clearmargin.records import Columns, Inputs, Rows
from clearmargin.sources.table import Table

FARTHEST = 1e18  # standard deviations: the square of what is farther away is no float32 any more
_FORMAT = 2


def table_inputs(table: Table) -> Inputs:
    """The rows of a table as float64 inputs; rows with the same inputs have the same ``pixel_sha256``.

    All digits are kept: a network gets float32, but of what is standardised (`standardised`).
    """
    values = np.ascontiguousarray(table.values, dtype=np.float64) + 0.0  # -0.0 is 0.0
    digests = [hashlib.sha256(row.tobytes()).hexdigest() for row in values]
    facts = pd.DataFrame(
        {
            "name": pd.Series([sample.name for sample in table.samples], dtype=object),
            "pixel_sha256": pd.Series(digests, dtype=object),
        }
    )
    content = {"format": _FORMAT, "source": table.fingerprint(), "columns": table.columns}
    return Inputs(
        rows=ArrayRows(values),
        samples=table.samples,
        facts=facts,
        findings=table.findings,
        found=table.found,
        key=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        preprocessing=Columns(table.columns),
        simulated=table.simulated,
    )


def column_statistics(rows: Rows) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every column of a table; of one that never changes, a deviation of 0.

    Parameters
    ----------
    rows
        float64, (rows, columns); at least one row.
    """
    values = rows.read(np.arange(rows.shape[0])).astype(np.float64)
    scale = np.abs(values).max(axis=0)
    scale[scale == 0] = 1.0
    scaled = values / scale  # so that squares of very small numbers are not zero
    constant = np.ptp(scaled, axis=0) <= 4 * np.finfo(np.float64).eps  # the last bits of equal numbers may differ
    deviations = np.where(constant, 0.0, scaled.std(axis=0) * scale)
    return tuple(map(float, scaled.mean(axis=0) * scale)), tuple(map(float, deviations))


def standardised(rows: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Rows of a table per column as (value - mean) / std, within ±1e18; zero where the deviation is 0.

    Parameters
    ----------
    rows
        float64, (rows, columns).

    Returns
    -------
    float64, (rows, columns).
    """
    centred, deviations = rows - np.array(mean, dtype=np.float64), np.array(std, dtype=np.float64)
    reach = np.abs(deviations) * FARTHEST
    return np.divide(np.clip(centred, -reach, reach), deviations, out=np.zeros_like(centred), where=deviations != 0)
