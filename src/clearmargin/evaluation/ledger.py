"""Every evaluation of a test part, in a chain of hashes: how often it was looked at.

There are two ledgers of the same form. The one in the run folder names its contenders. The one of this machine, in the
cache folder, counts over all runs and holds hashes and dates only: no name, no path.

A test part is known by the content of its samples, not by their names: the same images under other names, in another
folder or in another order are the same part.

An entry that is changed, taken out or put in between breaks the chain. What is cut off at the end is noticed by the
hash of the last entry, which ``evaluation.json`` keeps. A chain that somebody computed anew together with all that
refers to it can't be noticed from the files alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clearmargin.cache import cache_folder
from clearmargin.errors import DiskError, RunFolderError
from clearmargin.files import file_sha256, write_text
from clearmargin.locks import FileLock, Timeout

START = "0" * 64
LOCK_SECONDS = 20.0  # one entry takes milliseconds
Kind = Literal["internal", "external"]


@dataclass(frozen=True)
class Evaluated:
    """One contender as it was when the test part was evaluated: SHA-256, hex.

    Attributes
    ----------
    weights
        Of its weights.
    model
        Of its whole ``model.json``, in which thresholds and preprocessing stand too.
    decision
        Of what was fixed on the validation part (temperature, thresholds); empty where nothing was.
    """

    weights: str
    model: str
    decision: str = ""


@dataclass(frozen=True)
class LedgerNumber:
    """The how-manieth evaluation of a test part it was.

    Attributes
    ----------
    in_run
        In this run folder, from 1.
    on_machine
        Over all runs on this machine, from 1; None when the machine's ledger could not be kept.
    note
        Why ``on_machine`` is None, as a sentence; empty otherwise.
    head
        Hash of the last entry of the run's ledger.
    """

    in_run: int
    on_machine: int | None
    note: str
    head: str

    def as_json(self) -> dict[str, Any]:
        """What ``evaluation.json`` keeps of it."""
        return {
            "evaluation_number": self.in_run,
            "evaluation_number_machine": self.on_machine,
            "ledger_note": self.note or None,
            "ledger_head": self.head,
        }


def enter(
    path: Path,
    test_content: Iterable[str],
    contenders: Mapping[str, Evaluated],
    *,
    kind: Kind = "internal",
    leaky: bool = False,
) -> LedgerNumber:
    """Add one evaluation to the run's ledger and to the machine's; tell its number on this test part.

    The same contenders on the same test part are one evaluation, however often it is entered: a run that was stopped
    in between says nothing new when it goes on.

    Parameters
    ----------
    path
        ``ledger.jsonl`` of the run folder; made when it is not there. The caller holds the folder's lock.
    test_content
        One hash of the content of each test sample.
    contenders
        What was evaluated, by name.
    kind
        ``external`` when the samples are not of the study's own data.
    leaky
        Whether the split leaks, which was accepted: the entry says so.

    Raises
    ------
    RunFolderError
        When the run's ledger was edited.
    DiskError
        When the run's ledger can't be written. Trouble with the machine's is told in the answer only.
    """
    part = _sha256(sorted(map(str, test_content)))
    own = {
        "kind": kind,
        "test_part": part,
        "weights": {name: one.weights for name, one in contenders.items()},
        "models": {name: one.model for name, one in contenders.items()},
        **({"leaky": True} if leaky else {}),
    }
    entries, number = _append(path, own, ("test_part", "kind", "models", "weights"))
    nameless = sorted(_sha256([one.weights, one.decision]) for one in contenders.values())
    counted, note = _on_machine({"kind": kind, "test_part": part, "evaluated": _sha256(nameless)})
    return LedgerNumber(number, counted, note, str(entries[-1]["hash"]))


def evaluated(folder: Path) -> Evaluated:
    """What the ledger keeps of the contender whose ``model.json`` lies in this folder.

    Raises
    ------
    RunFolderError
        When the file is missing or damaged.
    """
    path = folder / "model.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        decision = described.get("decision") or {}
        return Evaluated(str(described["weights_sha256"]), file_sha256(path), str(decision.get("content_sha256", "")))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunFolderError(f"{path} is missing or damaged ({error}): run the study again.") from error


def head(path: Path) -> str:
    """Hash of the last entry of a ledger, by which it is noticed when its end is cut off.

    Raises
    ------
    RunFolderError
        When the ledger was edited.
    """
    entries = read_ledger(path)
    return str(entries[-1]["hash"]) if entries else START


def machine_ledger() -> Path:
    """Where this machine counts its evaluations."""
    return cache_folder() / "ledger.jsonl"


def _on_machine(own: Mapping[str, Any]) -> tuple[int | None, str]:
    """Number on this machine, or None and why: a count that can't be kept must not stop a study."""
    path = machine_ledger()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
            return _append(path, own, ("test_part", "kind", "evaluated"))[1], ""
    except Timeout:
        why = "is in use by another process"
    except (DiskError, OSError):
        why = "can't be written: the cache folder is full or read-only"
    except RunFolderError as error:
        edited = "was edited" in str(error)
        why = "was edited: move it away to begin a new count" if edited else "can't be read"
    return None, f"The ledger of this machine, ledger.jsonl in the cache folder, {why}."


def _append(path: Path, own: Mapping[str, Any], same: tuple[str, ...]) -> tuple[list[dict[str, Any]], int]:
    """Add an entry unless one with the ``same`` values is there; all entries, and the number on its test part.

    The caller sees to it that nobody else writes meanwhile.
    """
    entries = read_ledger(path)
    for earlier in entries:
        if all(earlier.get(key) == own[key] for key in same):
            return entries, int(earlier["number"])
    entry: dict[str, Any] = {
        "number": 1 + sum(earlier["test_part"] == own["test_part"] for earlier in entries),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **own,
        "previous": entries[-1]["hash"] if entries else START,
    }
    entry["hash"] = _digest(entry)
    entries.append(entry)
    write_text(path, "".join(json.dumps(line) + "\n" for line in entries))
    return entries, int(entry["number"])


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
            sound = sound and isinstance(entry["number"], int) and isinstance(entry["test_part"], str)
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
