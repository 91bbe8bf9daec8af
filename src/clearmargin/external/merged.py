"""Blocks of the evaluation for classes that are sums of a contender's own: its rules apply to what it says itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearmargin.evaluation.abstention import abstention_note, confidences_of
from clearmargin.evaluation.calibration import Temperature, calibration_block, temperature_note
from clearmargin.evaluation.decision import Decision, caution
from clearmargin.evaluation.decision_curve import decision_curve_block
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.evaluation.shares import Shares
from clearmargin.external.mapping import ClassMapping


def merged_blocks(
    mapping: ClassMapping,
    decision: Decision,
    truth: np.ndarray,
    probabilities: np.ndarray,
    shares: Shares,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Calibration, conformal sets, abstention and decision curve where classes of the run are summed up.

    A set holds a class of the test when it holds any of the classes that were summed; an answer is withheld by the
    confidence in the class that the contender itself would have named. Neither threshold is fitted anew.

    Parameters
    ----------
    truth
        Place of the true class among those of the test, int64 of shape (samples,).
    probabilities
        Of the run's own classes, float64 of shape (samples, classes).
    shares
        Of the test.
    resamples, seed
        Of the bands of decision curves; the seed also of the draws for the calibration error of a perfect model.
    """
    summed = mapping.merge(probabilities)
    return {
        "calibration": _calibration(decision, truth, summed, seed, shares.clustered),
        "conformal": _conformal(mapping, decision, truth, probabilities, shares),
        "abstention": _abstention(decision, truth, probabilities, summed, shares),
        "decision_curve": decision_curve_block(mapping.classes, truth, summed, shares, resamples, seed),
    }


def _calibration(
    decision: Decision, truth: np.ndarray, summed: np.ndarray, seed: int, clustered: bool
) -> dict[str, Any]:
    """As for the run's own classes, without what came before temperature scaling: sums can't be scaled back."""
    block = calibration_block(truth, summed, Temperature(), decision.n, seed, clustered)
    del block["uncalibrated"]
    used = decision.temperature
    told = {"temperature": used.value, "outcome": used.outcome, "note": temperature_note(used, decision.n)}
    return {**block, **told}


def _conformal(
    mapping: ClassMapping, decision: Decision, truth: np.ndarray, probabilities: np.ndarray, shares: Shares
) -> dict[str, Any]:
    sets = mapping.merge(decision.conformal.sets(probabilities, mapping.trained).astype(np.int64)) > 0
    covered, sizes = sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    rule = decision.conformal
    return {
        "error_rate": rule.error_rate,
        "kind": rule.kind,
        "n_validation": decision.n,
        "validation_groups": decision.groups,
        "threshold": rule.threshold,
        "class_thresholds": dict(rule.class_thresholds),
        "coverage": shares.figure(covered),
        "mean_size": float(sizes.mean()),
        "empty": int((sizes == 0).sum()),
        "per_class": [
            {
                "class": name,
                "n": int((truth == k).sum()),
                "coverage": float(covered[truth == k].mean()) if (truth == k).any() else None,
            }
            for k, name in enumerate(mapping.classes)
        ],
    }


def _abstention(
    decision: Decision, truth: np.ndarray, probabilities: np.ndarray, summed: np.ndarray, shares: Shares
) -> dict[str, Any]:
    rule, right = decision.abstention, predicted_index(summed) == truth
    accepted = rule.accepted(confidences_of(probabilities))
    return {
        "target_error": rule.target_error,
        "threshold": rule.threshold,
        "outcome": rule.outcome,
        "n_validation": decision.n,
        "accepted": int(accepted.sum()),
        "abstained": int((~accepted).sum()),
        "error": shares.figure(~right, accepted),
        "note": abstention_note(rule, decision.n, caution(decision)),
    }
