"""A table becomes what a network takes: rows of numbers in memory."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd

from clearmargin.mapped_rows import ArrayRows
from clearmargin.records import Columns, Inputs
from clearmargin.sources.table import Table

_FORMAT = 1


def table_inputs(table: Table) -> Inputs:
    """The rows of a table as float32 inputs; rows with the same inputs have the same ``pixel_sha256``."""
    values = np.ascontiguousarray(table.values, dtype=np.float32)
    digests = [hashlib.sha256(row.tobytes()).hexdigest() for row in values + 0.0]  # -0.0 is 0.0
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
