"""Leaving the unsure answers to somebody else: a threshold for the confidence, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from clearmargin.evaluation.alignment import effective_groups, numbered_groups
from clearmargin.evaluation.metrics import predicted_index
from clearmargin.language import tr

SURE = 0.95
STARTS = (0.25, 0.5, 0.75, 1.0)
STEP = 0.05
CURVE_POINTS = 200

Outcome = Literal["reached", "not-reached", "few"]


@dataclass(frozen=True)
class AbstentionRule:
    """Fixed on the validation part: an answer counts when its confidence is at least the threshold.

    Attributes
    ----------
    target_error
        The share of mistakes among accepted answers that is not to be exceeded, between 0 and 1.
    threshold
        Confidence (probability of the predicted class, after temperature scaling); None unless it was ``reached``.
    outcome
        ``reached``; ``not-reached``: no threshold keeps the target, so that every answer is withheld; ``few``: the
        validation part is so small that not even answers without a mistake would show it, so that nothing is withheld.
    """

    target_error: float
    threshold: float | None
    outcome: Outcome

    def accepted(self, confidences: np.ndarray) -> np.ndarray:
        """Which answers count: bool, of the shape of the confidences."""
        if self.threshold is None:
            return np.full(np.shape(confidences), self.outcome == "few")
        return np.asarray(confidences >= self.threshold)


def confidences_of(probabilities: np.ndarray) -> np.ndarray:
    """Probability of the predicted class, float64 of shape (samples,)."""
    return np.asarray(probabilities.max(axis=1))


def fewest_samples(target_error: float) -> int:
    """How many accepted answers, all right, show an error of at most the target: ``ln(δ) / ln(1 − target)``."""
    return math.ceil(math.log((1 - SURE) / len(STARTS)) / math.log1p(-target_error) - 1e-9)


def fit_abstention(
    confidences: np.ndarray, right: np.ndarray, groups: np.ndarray, target_error: float
) -> AbstentionRule:
    """The lowest confidence at which mistakes among accepted answers are shown to be at most the target.

    The answers are taken from the surest on, in steps of 5 % of the validation part. A threshold passes when the
    exact one-sided upper limit (Clopper & Pearson, *Biometrika* 26 (1934) 404) of the error among those accepted
    is at most the target. From each of four starts (the surest 25, 50, 75 and 100 %) one goes on to lower thresholds
    until one fails; each start has a quarter of the 5 % by which the whole may be wrong: fixed-sequence testing with
    several starts, as in Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test" (2021), algorithm 1.

    When samples cluster, the limit is that of as many samples as there are `effective_groups` among the accepted, with
    the same share of mistakes. That is as if samples of a group were all right or all wrong, so that it errs to the
    safe side where they differ.

    Parameters
    ----------
    confidences
        float64 of shape (samples,).
    right
        bool of shape (samples,).
    groups
        Group of each sample, object of shape (samples,); None or empty: of its own.
    """
    units, _ = numbered_groups(groups)
    if effective_groups(units) < fewest_samples(target_error):
        return AbstentionRule(target_error, None, "few")
    order = np.argsort(-confidences, kind="stable")
    ordered = confidences[order]
    found: float | None = None
    for start in STARTS:
        for share in np.arange(start, 1 + STEP / 2, STEP):
            threshold = float(ordered[max(1, math.ceil(min(share, 1.0) * len(ordered) - 1e-9)) - 1])
            accepted = confidences >= threshold
            effective = effective_groups(units[accepted])
            mistakes = float((~right[accepted]).mean()) * effective
            if _upper_limit(mistakes, effective, (1 - SURE) / len(STARTS)) > target_error:
                break
            found = threshold if found is None else min(found, threshold)
    return AbstentionRule(target_error, found, "not-reached" if found is None else "reached")


def _upper_limit(mistakes: float, n: float, tail: float) -> float:
    """Clopper and Pearson's one-sided limit; of a broken number of mistakes, the same quantile of the same Beta."""
    return 1.0 if mistakes >= n else float(scipy.stats.beta.isf(tail, mistakes + 1, n - mistakes))


def risk_curve(confidences: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The error among the k surest answers, for k = 1 … n.

    El-Yaniv & Wiener, *JMLR* 11 (2010) 1605. Answers of equal confidence share their mistakes evenly, so that the
    curve does not depend on their order.

    Returns
    -------
    float64 of shape (samples,).
    """
    _, place, sizes = np.unique(-confidences, return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=~right) / sizes
    return np.asarray(np.cumsum(np.repeat(shares, sizes)) / np.arange(1, len(right) + 1))


def abstention_block(
    rule: AbstentionRule,
    truth: np.ndarray,
    probabilities: np.ndarray,
    n_validation: int,
    caution: str,
    figure: Callable[[np.ndarray, np.ndarray], dict[str, Any]],
) -> dict[str, Any]:
    """The block ``abstention`` of a contender, ready for JSON.

    ``aurc`` is the mean of `risk_curve`, the area under it (Geifman & El-Yaniv, *NeurIPS* (2017); Geifman, Uziel &
    El-Yaniv, *ICLR* (2019)), ``aurc_if_random`` that of a confidence that says nothing: the error over all;
    ``aurc_if_perfect`` that of one that puts every mistake last.

    Parameters
    ----------
    truth
        int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes), after temperature scaling.
    caution
        What else the validation part was used for, as `clearmargin.evaluation.decision.caution` says it.
    figure
        Makes a share with its interval, of bool (samples,), among those that a mask, bool (samples,), selects.
    """
    confidences, right = confidences_of(probabilities), predicted_index(probabilities) == truth
    accepted = rule.accepted(confidences)
    curve = risk_curve(confidences, right)
    shown = np.unique(np.linspace(0, len(curve) - 1, min(CURVE_POINTS, len(curve))).round().astype(int))
    return {
        "target_error": rule.target_error,
        "threshold": rule.threshold,
        "outcome": rule.outcome,
        "n_validation": n_validation,
        "accepted": int(accepted.sum()),
        "abstained": int((~accepted).sum()),
        "error": figure(~right, accepted),
        "curve": [[float((k + 1) / len(curve)), float(curve[k])] for k in shown],
        "aurc": float(curve.mean()),
        "aurc_if_random": float((~right).mean()),
        "aurc_if_perfect": float(risk_curve(right.astype(np.float64), right).mean()),
        "note": abstention_note(rule, n_validation, caution),
    }


def abstention_note(rule: AbstentionRule, n_validation: int, caution: str) -> str:
    """What the threshold promises, for a reader; with the caution where something is promised."""
    target = f"{rule.target_error:.4g}"
    match rule.outcome:
        case "few":
            return tr(
                "{n} validation samples (or their groups) are too few to show an error of at most {target}, {least} "
                "would be needed: nothing is withheld.",
                n=n_validation,
                target=target,
                least=fewest_samples(rule.target_error),
            )
        case "not-reached":
            return tr(
                "No threshold keeps the error among accepted answers at {target} on {n} validation samples: every "
                "answer is withheld.",
                n=n_validation,
                target=target,
            )
    promise = tr(
        "With a chance of at least {sure}, the error among accepted answers is at most {target}, on new samples like "
        "the {n} of the validation part.",
        sure=f"{SURE:g}",
        target=target,
        n=n_validation,
    )
    return f"{promise} {caution}"
