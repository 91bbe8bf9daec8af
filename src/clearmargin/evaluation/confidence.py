"""What a contender knows and what it does not, on the test part: blocks of ``evaluation.json``."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearmargin.evaluation.abstention import abstention_block
from clearmargin.evaluation.alignment import AlignedPredictions
from clearmargin.evaluation.calibration import calibration_block
from clearmargin.evaluation.conformal import conformal_block
from clearmargin.evaluation.decision import Decision, caution
from clearmargin.evaluation.decision_curve import decision_curve_block
from clearmargin.evaluation.shares import Shares


def confidence_blocks(
    aligned: AlignedPredictions,
    probabilities: np.ndarray,
    decision: Decision | None,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Calibration, conformal sets, abstention and decision curve of one contender; nothing without a decision.

    Parameters
    ----------
    probabilities
        After temperature scaling, float64 of shape (samples, classes).
    decision
        As it was fixed on the validation part.
    confidence, resamples, seed
        Of the intervals and bands; the seed also of the draws for the calibration error of a perfect model.
    """
    if decision is None:
        return {}
    shares = Shares(aligned.units, aligned.clustered, confidence)
    truth, classes, warned = aligned.truth, aligned.classes, caution(decision)
    return {
        "calibration": calibration_block(
            truth, probabilities, decision.temperature, decision.n, seed, aligned.clustered
        ),
        "conformal": conformal_block(
            decision.conformal, classes, truth, probabilities, decision.n, decision.groups, warned, shares.figure
        ),
        "abstention": abstention_block(decision.abstention, truth, probabilities, decision.n, warned, shares.figure),
        "decision_curve": decision_curve_block(classes, truth, probabilities, shares, resamples, seed),
    }
