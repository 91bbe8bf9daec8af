"""Sets of classes that hold the true one at a stated rate: split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from clearmargin.evaluation.alignment import effective_groups, numbered_groups
from clearmargin.language import tr

Kind = Literal["marginal", "class-conditional"]
Place = tuple[int, int]
"""Rank of a threshold, and among how many: samples, or groups that are taken for one sample each."""

MOST_SIZES = 20
RANGE = (0.05, 0.95)
DRAWS = 10_000


@dataclass(frozen=True)
class ConformalRule:
    """Thresholds fixed on the validation part; a class is in the set when ``1 − p`` is at most its threshold.

    Attributes
    ----------
    error_rate
        The share of samples whose true class may be missing from their set, between 0 and 1.
    kind
        ``marginal``: one threshold, and the rate holds over all classes together; ``class-conditional``: one for each
        class, and the rate holds within each.
    threshold
        For all classes; None when there are too few samples: then every class is in every set.
    class_thresholds
        For each class; None when it has too few samples: then it is in every set.
    place, class_places
        Of the threshold: its `Place`, over all classes and for each; None without a threshold. Those of classes are
        None as a whole when samples of one group are of several classes; both are in a run of an earlier version.
    """

    error_rate: float
    kind: Kind
    threshold: float | None
    class_thresholds: Mapping[str, float | None]
    place: Place | None = None
    class_places: Mapping[str, Place | None] | None = None

    def sets(self, probabilities: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
        """Which classes are in the set of each sample: bool of shape (samples, classes).

        Parameters
        ----------
        probabilities
            float64 of shape (samples, classes), after temperature scaling.
        """
        if self.kind == "marginal":
            limits = np.full(len(classes), _limit(self.threshold))
        else:
            limits = np.array([_limit(self.class_thresholds[name]) for name in classes])
        return np.asarray(1.0 - probabilities <= limits)


def _limit(threshold: float | None) -> float:
    return math.inf if threshold is None else threshold


def conformal_rank(n: int, error_rate: float) -> int:
    """``⌈(n + 1)(1 − α)⌉``: which of the n scores, in ascending order, is the threshold; more than n: none is.

    Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World* (2005), chapter 4.
    """
    return math.ceil((n + 1) * (1 - error_rate) - 1e-9)  # 0.9 · 10 must not become 10


def conformal_threshold(scores: np.ndarray, error_rate: float) -> float | None:
    """The score at `conformal_rank`; None when there are too few.

    Parameters
    ----------
    scores
        ``1 − p`` of the true class, float64 of shape (samples,).
    """
    rank = conformal_rank(len(scores), error_rate)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else None


def threshold_place(units: np.ndarray, error_rate: float) -> Place | None:
    """Where a threshold lies among samples, or among groups when samples cluster; None without a threshold.

    Of groups whose samples all have one score, `effective_groups` of them, rounded down, the threshold is that of the
    group which the sample of `conformal_rank` is of.

    Parameters
    ----------
    units
        Group of each sample, int64 of shape (samples,).
    """
    n, rank = len(units), conformal_rank(len(units), error_rate)
    if rank > n:
        return None
    among = int(effective_groups(units) + 1e-9)
    return max(1, -(-rank * among // n)), among


def fit_conformal(
    probabilities: np.ndarray,
    truth: np.ndarray,
    classes: tuple[str, ...],
    error_rate: float,
    kind: Kind,
    groups: np.ndarray | None = None,
) -> ConformalRule:
    """Thresholds from the validation part, over all classes and for each.

    The score is ``1 − p`` of the true class, which gives the smallest sets on average: Sadinle, Lei & Wasserman, *JASA*
    114 (2019) 223; for each class: the same, section 3.

    Parameters
    ----------
    probabilities
        float64 of shape (samples, classes), after temperature scaling.
    truth
        int64 of shape (samples,).
    groups
        Group of each sample, object of shape (samples,); None: each is of its own. They say how far to trust the
        thresholds, and change none.
    """
    units = np.arange(len(truth)) if groups is None else numbered_groups(groups)[0]
    apart = len(np.unique(np.stack([units, truth]), axis=1).T) == len(np.unique(units))
    places = {name: threshold_place(units[truth == k], error_rate) for k, name in enumerate(classes)}
    scores = 1.0 - probabilities[np.arange(len(truth)), truth]
    of_class = {name: conformal_threshold(scores[truth == k], error_rate) for k, name in enumerate(classes)}
    over_all = conformal_threshold(scores, error_rate)
    return ConformalRule(
        error_rate, kind, over_all, of_class, threshold_place(units, error_rate), places if apart else None
    )


def expected_coverage(rule: ConformalRule, shares: Mapping[str, float]) -> tuple[float, float] | tuple[None, None]:
    """5th and 95th percentile of the coverage that a rule has which was fitted on exchangeable samples.

    Over all classes Beta(k, n + 1 − k) with the place k of n of the threshold (for scores without ties; with ties it is
    covered more often); Vovk, *ACML* (2012), proposition 2a. By classes the mean of the Betas of the classes, weighted
    by their shares; from 10,000 seeded draws. 1 where every class, or that class, is in every set.

    When samples cluster it is the range as if those of a group were all alike, which is not always the wider one.

    Parameters
    ----------
    shares
        Of each class among the samples to be covered, together 1.

    Returns
    -------
    Twice None when it can't be said: class by class, when samples of one group are of several classes.
    """
    if rule.kind == "marginal":
        if rule.threshold is None:
            return 1.0, 1.0
        if rule.place is None:
            return None, None
        rank, n = rule.place
        low, high = scipy.stats.beta.ppf(RANGE, rank, n + 1 - rank)
        return float(low), float(high)
    if rule.class_places is None:
        return None, None
    rng, drawn = np.random.default_rng(23), np.zeros(DRAWS)
    for name, share in shares.items():
        place = rule.class_places[name]
        drawn += share * (1.0 if place is None else rng.beta(place[0], place[1] + 1 - place[0], DRAWS))
    low, high = np.quantile(drawn, RANGE)
    return float(low), float(high)


def conformal_block(
    rule: ConformalRule,
    classes: tuple[str, ...],
    truth: np.ndarray,
    probabilities: np.ndarray,
    n_validation: int,
    validation_groups: int,
    caution: str,
    figure: Callable[[np.ndarray], dict[str, Any]],
) -> dict[str, Any]:
    """The block ``conformal`` of a contender, ready for JSON.

    Parameters
    ----------
    truth
        Position of the true class of each test sample, int64 of shape (samples,).
    probabilities
        float64 of shape (samples, classes), after temperature scaling.
    validation_groups
        How many groups the validation samples are of.
    caution
        What else the validation part was used for, as `clearmargin.evaluation.decision.caution` says it.
    figure
        Makes a share with its interval of right answers, bool of shape (samples,).
    """
    sets = rule.sets(probabilities, classes)
    covered = sets[np.arange(len(truth)), truth]
    sizes = sets.sum(axis=1)
    counted = np.bincount(truth, minlength=len(classes)) / len(truth)
    low, high = expected_coverage(rule, dict(zip(classes, counted.tolist(), strict=True)))
    counts = np.bincount(np.minimum(sizes, MOST_SIZES), minlength=min(len(classes), MOST_SIZES) + 1)
    return {
        "error_rate": rule.error_rate,
        "kind": rule.kind,
        "n_validation": n_validation,
        "validation_groups": validation_groups,
        "threshold": rule.threshold,
        "class_thresholds": dict(rule.class_thresholds),
        "coverage": figure(covered),
        "expected_low": low,
        "expected_high": high,
        "mean_size": float(sizes.mean()),
        "sizes": counts.tolist(),
        "empty": int((sizes == 0).sum()),
        "per_class": [_of_class(name, covered[truth == k]) for k, name in enumerate(classes)],
        "note": f"{_note(rule, n_validation, validation_groups)} {caution}",
    }


def _of_class(name: str, covered: np.ndarray) -> dict[str, Any]:
    n = len(covered)
    return {"class": name, "n": n, "coverage": float(covered.mean()) if n else None}


def _note(rule: ConformalRule, n: int, groups: int) -> str:
    """What is promised, and what is not, for a reader."""
    rate = f"{1 - rule.error_rate:.4g}"
    said = [
        tr(
            "Marginal coverage, exchangeable data only: over all new samples like the validation part, a share of "
            "{rate} of the sets is meant to hold the true class; in a single class or subgroup it may be less.",
            rate=rate,
        )
        if rule.kind == "marginal"
        else tr(
            "Class-conditional coverage, exchangeable data only: within each class, a share of {rate} of the sets is "
            "meant to hold the true class.",
            rate=rate,
        )
    ]
    lacking = [name for name, limit in rule.class_thresholds.items() if limit is None]
    if rule.kind == "marginal" and rule.threshold is None:
        said.append(tr("{n} validation samples are too few for this rate: every set holds all classes.", n=n))
    elif rule.kind == "class-conditional" and lacking:
        said.append(
            tr(
                "Of {k} of the classes there are too few validation samples for this rate: they are in every set.",
                k=len(lacking),
            )
        )
    if groups < n:
        said.append(
            tr(
                "The {n} validation samples are of {groups} groups, and samples of a group are alike: the promise is "
                "weaker, and the expected range is given as if each group were one sample.",
                n=n,
                groups=groups,
            )
            if rule.kind == "marginal" or rule.class_places is not None
            else tr(
                "The {n} validation samples are of {groups} groups, some of several classes: how far the coverage may "
                "be off can't be said.",
                n=n,
                groups=groups,
            )
        )
    return " ".join(said)
