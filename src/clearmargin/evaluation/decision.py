"""Everything that is fixed on the validation part before anybody looks at the test part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.abstention import AbstentionRule, confidences_of, fit_abstention
from clearmargin.evaluation.alignment import numbered_groups
from clearmargin.evaluation.calibration import HIGHEST, LOWEST, Temperature
from clearmargin.evaluation.conformal import ConformalRule, Place, fit_conformal
from clearmargin.evaluation.gate import GateRule
from clearmargin.evaluation.metrics import label_index, predicted_index
from clearmargin.files import is_sealed, sealed
from clearmargin.language import tr
from clearmargin.recipe_evaluation import EvaluationSettings
from clearmargin.records import Predictions


@dataclass(frozen=True)
class Decision:
    """What a contender does with its logits, as fixed on the validation part.

    Attributes
    ----------
    n, groups
        Validation samples, and how many groups they are of.
    temperature
        By which logits are divided.
    conformal, abstention
        Rules on probabilities after that.
    gate
        Tells images unlike those of the training part; None for a contender whose insides are not known.
    """

    n: int
    groups: int
    temperature: Temperature
    conformal: ConformalRule
    abstention: AbstentionRule
    gate: GateRule | None = None

    def as_json(self) -> dict[str, Any]:
        """What ``model.json`` keeps under ``decision``, sealed by its SHA-256."""
        return sealed(
            {
                "n": self.n,
                "groups": self.groups,
                "temperature": self.temperature.value,
                "temperature_outcome": self.temperature.outcome,
                "conformal": asdict(self.conformal),
                "abstention": asdict(self.abstention),
                "gate": None if self.gate is None else asdict(self.gate),
            }
        )


def fit_decision(
    said: Predictions, temperature: Temperature, asked: EvaluationSettings, gate: GateRule | None = None
) -> Decision:
    """Fix the thresholds.

    Parameters
    ----------
    said
        What the contender says of the validation part, after temperature scaling.
    asked
        Error rates, from the recipe.
    """
    truth = label_index(said.labels, said.classes)
    right = predicted_index(said.probabilities) == truth
    return Decision(
        n=len(truth),
        groups=numbered_groups(said.groups)[1],
        temperature=temperature,
        conformal=fit_conformal(
            said.probabilities, truth, said.classes, asked.error_rate, asked.conformal, said.groups
        ),
        abstention=fit_abstention(confidences_of(said.probabilities), right, said.groups, asked.abstain_error),
        gate=gate,
    )


def read_decision(description: Mapping[str, Any], place: Path) -> Decision | None:
    """The decision in the content of a ``model.json``; None when it holds none: a regression, or an older run.

    Parameters
    ----------
    place
        Folder of the contender, for messages.

    Raises
    ------
    RunFolderError
        When a figure was changed since, or it is not a decision on these classes.
    """
    stored = description.get("decision")
    if stored is None:
        return None
    if not isinstance(stored, Mapping) or not is_sealed(stored):
        raise RunFolderError(
            f"The decision in {place / 'model.json'} (temperature and thresholds, fixed on the validation part) was "
            "changed since: its SHA-256 differs. Take the folder from where it is whole, or run the study again."
        )
    try:
        decision = _decision(stored)
        sound = _sound(decision, tuple(description["classes"]))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise RunFolderError(
            f"The decision in {place / 'model.json'} does not hold what it should: temperature, conformal and "
            "abstention thresholds for its classes. Run the study again."
        )
    return decision


def caution(decision: Decision) -> str:
    """What else the validation part may have been used for, for a reader: every rule that was fixed on it says so."""
    if decision.temperature.outcome == "as-published":
        return tr(
            "Whether this model was trained on some of these samples is not known here: if it was, that does not hold."
        )
    return tr("The same samples also chose the epoch and the temperature, so that somewhat less than that is kept.")


def _decision(stored: Mapping[str, Any]) -> Decision:
    return Decision(
        n=stored["n"],
        groups=stored["groups"],
        temperature=Temperature(stored["temperature"], stored["temperature_outcome"]),
        conformal=_conformal(stored["conformal"]),
        abstention=AbstentionRule(**stored["abstention"]),
        gate=None if stored["gate"] is None else _gate(stored["gate"]),
    )


def _conformal(stored: Mapping[str, Any]) -> ConformalRule:
    """A rule with its places as pairs again; those that an earlier version did not write stay unknown."""
    rule = ConformalRule(**stored)
    places = rule.class_places
    return replace(
        rule,
        place=_place(rule.place),
        class_places=None if places is None else {name: _place(one) for name, one in places.items()},
    )


def _gate(stored: Mapping[str, Any]) -> GateRule:
    rule = GateRule(**stored)
    return replace(rule, place=_place(rule.place))


def _place(stored: Any) -> Place | None:
    if stored is None:
        return None
    rank, among = stored
    if not 1 <= rank <= among:
        raise ValueError(f"a rank of {rank} among {among}")
    return rank, among


def _sound(decision: Decision, classes: tuple[str, ...]) -> bool:
    thresholds = [
        decision.conformal.threshold,
        *decision.conformal.class_thresholds.values(),
        decision.abstention.threshold,
    ]
    rates = [decision.conformal.error_rate, decision.abstention.target_error]
    return (
        LOWEST <= decision.temperature.value <= HIGHEST
        and decision.conformal.kind in ("marginal", "class-conditional")
        and tuple(decision.conformal.class_thresholds) == classes
        and tuple(decision.conformal.class_places or classes) == classes
        and decision.abstention.outcome in ("reached", "not-reached", "few")
        and (decision.abstention.outcome == "reached") == (decision.abstention.threshold is not None)
        and all(0 < rate < 1 for rate in rates)
        and all(limit is None or math.isfinite(limit) for limit in thresholds)
        and decision.n >= decision.groups >= 1
    )
