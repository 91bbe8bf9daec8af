"""Every evaluation of a test part, in a chain of hashes: how often it was looked at.

An entry that is changed, taken out or put in between breaks the chain. Entries cut off at the end, and a chain that
somebody computed anew, can't be noticed from the file alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clearmargin.errors import RunFolderError
from clearmargin.files import write_text

START = "0" * 64


def enter(path: Path, test_names: np.ndarray, weights: Mapping[str, str], *, leaky: bool = False) -> int:
    """Add one evaluation to the ledger; return its number on this test part, from 1.

    The same weights on the same test part are one evaluation, however often it is entered: a run that was stopped in
    between says nothing new when it goes on.

    Parameters
    ----------
    path
        ``ledger.jsonl``; made when it is not there.
    test_names
        Names of the test samples.
    weights
        SHA-256 of each contender's weights, by name.
    leaky
        Whether the split leaks, which was accepted: the entry says so.

    Raises
    ------
    RunFolderError
        When the ledger was edited.
    """
    entries = read_ledger(path)
    part = _sha256(sorted(map(str, test_names)))
    for earlier in entries:
        if earlier["test_part"] == part and earlier["weights"] == dict(weights):
            return int(earlier["number"])
    entry: dict[str, Any] = {
        "number": 1 + sum(earlier["test_part"] == part for earlier in entries),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "test_part": part,
        "weights": dict(weights),
        **({"leaky": True} if leaky else {}),
        "previous": entries[-1]["hash"] if entries else START,
    }
    entry["hash"] = _digest(entry)
    write_text(path, "".join(json.dumps(line) + "\n" for line in [*entries, entry]))
    return int(entry["number"])


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Read and check a ledger; an empty list when there is none.

    Raises
    ------
    RunFolderError
        When it can't be read, or an entry was changed, taken out or put in between.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"{path} can't be read: {error.strerror}.") from error
    previous, entries = START, []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            sound = entry["previous"] == previous and entry["hash"] == _digest(entry)
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise RunFolderError(
                f"{path} was edited: entry {number} does not follow from the one before. Put back the file as it was, "
                "or run the study again in a new folder."
            )
        previous = entry["hash"]
        entries.append(entry)
    return entries


def _digest(entry: Mapping[str, Any]) -> str:
    return _sha256({key: value for key, value in entry.items() if key != "hash"})


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
