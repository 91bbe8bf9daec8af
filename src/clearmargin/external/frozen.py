"""What an external test may use: models that are exactly those the run was evaluated with."""

from __future__ import annotations

from collections.abc import Sequence

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.ledger import Evaluated, evaluated, read_ledger
from clearmargin.runs import Run


def require_frozen(run: Run, names: Sequence[str]) -> dict[str, Evaluated]:
    """Refuse a model of which anything was changed since the run was evaluated: a threshold, the temperature, a class.

    ``model.json`` as a whole is bound by its hash in the ledger, whose last entry of that time ``evaluation.json``
    names. That the weights are those which ``model.json`` binds is checked when they are loaded.

    Returns
    -------
    The hashes by contender.

    Raises
    ------
    RunFolderError
        Naming the contender.
    """
    path = run.folder / "ledger.jsonl"
    entries = read_ledger(path)
    if run.evaluation.get("ledger_head") not in [entry["hash"] for entry in entries]:
        raise RunFolderError(
            f"{path} is not the ledger this run was evaluated with: its entries do not lead to the one that "
            "evaluation.json names. Take the folder from where it is whole, or run the study again."
        )
    known = [entry.get("models", {}) for entry in entries if entry.get("kind") == "internal"]
    found = {}
    for name in names:
        own = evaluated(run.contender(name).folder)
        if own.model not in [models.get(name) for models in known]:
            raise RunFolderError(
                f"The model.json of '{name}' is not the one this run was evaluated with: its SHA-256 is not in the "
                "ledger. A threshold, the temperature or something else in it was changed, and an external test "
                "takes them as they were fixed. Take the folder from where it is whole, or run the study again."
            )
        found[name] = own
    return found
