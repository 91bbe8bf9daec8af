"""Where the spread of a repeated study comes from: the split, or the initialisation.

Each of ``k`` splits is trained from ``m`` initialisations, so that initialisations are nested in splits. With ``i`` for
the split and ``j`` for the initialisation, the one-way random-effects model is

    figure[i, j] = μ + split[i] + initialisation[i, j],    variances σ²_split and σ²_initialisation

(Searle, Casella & McCulloch, *Variance Components*, 1992, chapter 3). ``split`` holds all that a split changes: who is
learned from, and who is tested; ``initialisation`` holds first weights, the order of the samples, and what augmentation
and dropout draw.

The model takes splits for independent. Those of one data set are not: they share most of the samples they learn from
and many that they test, so that their figures are more alike than those of new data would be. ``σ²_split`` is then what
another split of these data would change, not what other data would, and the interval is exact only if splits were
independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from clearmargin.evaluation.paired import ROUNDING
from clearmargin.evaluation.repeats_verdict import metric_name
from clearmargin.language import tr

METHOD = (
    "one-way random effects, analysis of variance; interval of the share (Searle et al. 1992): exact if splits were "
    "independent (they share data)"
)


@dataclass(frozen=True)
class Sources:
    """Two components of a variance.

    Attributes
    ----------
    splits, initialisations
        How many of the former, and how many of the latter in each.
    between, within
        Variance that the split and the initialisation add to one figure; 0 or more.
    share, low, high
        What part of their sum comes from the split, 0 to 1, and its interval; None where nothing tells.
    """

    splits: int
    initialisations: int
    between: float
    within: float
    share: float | None
    low: float | None
    high: float | None


def sources_of_spread(values: np.ndarray, confidence: float = 0.95) -> Sources | None:
    """Tell apart what split and initialisation add to the variance of a figure.

    The moment estimates ``σ²_initialisation = MSW`` and ``σ²_split = (MSB - MSW) / m``, the latter cut off at 0, equal
    those of restricted maximum likelihood for balanced data where they are positive. The interval of ``σ²_split /
    (σ²_split + σ²_initialisation)`` is exact for normal effects if splits were independent (they share data): with
    ``F = MSB / MSW`` and its quantiles ``f`` of ``k - 1`` and ``k (m - 1)`` degrees of freedom, its limits are
    ``(F/f - 1) / (m + F/f - 1)``, cut off at 0.

    Parameters
    ----------
    values
        float64 of shape (splits, initialisations); splits in which a figure is undefined (NaN) are left out.

    Returns
    -------
    None with fewer than two whole splits or fewer than two initialisations: then nothing can be told apart.
    """
    whole = values[~np.isnan(values).any(axis=1)]
    k, m = whole.shape
    if k < 2 or m < 2:
        return None
    means = whole.mean(axis=1)
    between = m * float(means.var(ddof=1))
    within = float(((whole - means[:, None]) ** 2).sum() / (k * (m - 1)))
    nothing = (ROUNDING * float(np.abs(whole).max())) ** 2
    within, between = (0.0 if square <= nothing else square for square in (within, between))
    of_split = max(0.0, (between - within) / m)
    if within == 0:  # the quotient of the two has no finite value, and its interval no width
        return Sources(k, m, of_split, within, 1.0 if between else None, None, None)
    tail = (1 - confidence) / 2
    quantiles = (scipy.stats.f.isf(tail, k - 1, k * (m - 1)), scipy.stats.f.ppf(tail, k - 1, k * (m - 1)))
    low, high = (max(0.0, (each - 1) / (m + each - 1)) for each in (between / within / f for f in quantiles))
    return Sources(k, m, of_split, within, of_split / (of_split + within), float(low), float(high))


def nested(values: np.ndarray, confidence: float) -> dict[str, Any]:
    """Of several initialisations of each split: what ``evaluation.json`` keeps of them; else nothing.

    Parameters
    ----------
    values
        As `sources_of_spread` takes them.

    Returns
    -------
    ``trained``, the values by split and initialisation (None when undefined); ``sources``, None when nothing can be
    told apart, else ``splits``, ``initialisations``, the variances ``between`` and ``within`` splits, ``share``
    (``value``, ``low``, ``high``), ``method``.
    """
    if values.shape[1] < 2:
        return {}
    trained = [[None if np.isnan(value) else float(value) for value in row] for row in values]
    found = sources_of_spread(values, confidence)
    if found is None:
        return {"trained": trained, "sources": None}
    sources = {
        "splits": found.splits,
        "initialisations": found.initialisations,
        "between": found.between,
        "within": found.within,
        "share": {"value": found.share, "low": found.low, "high": found.high},
        "method": METHOD,
    }
    return {"trained": trained, "sources": sources}


def spread_in_words(repeats: Mapping[str, Any]) -> list[str]:
    """Sentences on where the spread of each contender's first metric comes from, or on why that can't be told.

    Parameters
    ----------
    repeats
        What `summarise_repeats` gives, without or with its sentences.
    """
    if repeats["varied"] == "nothing":
        return [tr("The parts are given and can't vary: the whole spread is that of the initialisation.")]
    if repeats["varied"] == "initialisation":
        return [
            tr("There is one split, so that the whole spread is that of the initialisation; repeats vary the split.")
        ]
    metric, validation = repeats["metrics"][0], repeats["varied"] == "validation"
    summaries = {name: own[metric] for name, own in repeats["contenders"].items()}
    told = {name: own["sources"] for name, own in summaries.items() if "sources" in own}
    if told:
        word, confidence = metric_name(metric), repeats["confidence"]
        return [_sentence(name, word, found, confidence, validation) for name, found in told.items()]
    if validation:
        return [
            tr(
                "Validation part and initialisation change together here: [evaluation] initialisations = 2 tells them "
                "apart."
            )
        ]
    return [tr("Split and initialisation change together here: [evaluation] initialisations = 2 tells them apart.")]


def _sentence(name: str, metric: str, found: Mapping[str, Any] | None, confidence: float, validation: bool) -> str:
    """How much of one contender's spread comes from the split."""
    values: dict[str, Any] = {"name": name, "metric": metric}
    if found is None or found["share"]["value"] is None:
        return tr("Where the spread of {name}'s {metric} comes from can't be told: too few values differ.", **values)
    share, low, high = (found["share"][key] for key in ("value", "low", "high"))
    values |= {"first": round(100 * share), "second": 100 - round(100 * share)}
    values |= {"splits": found["splits"], "trained": found["initialisations"], "limits": ""}
    if low is not None:
        values["limits"] = tr(
            "; {confidence} % interval of the first share {low} to {high} %, exact if splits were independent (they "
            "share data)",
            confidence=f"{100 * confidence:.6g}",
            low=round(100 * low),
            high=round(100 * high),
        )
    if validation:
        return tr(
            "Of the spread of {name}'s {metric}, about {first} % comes from the validation part and {second} % from "
            "the initialisation ({splits} validation parts × {trained} initialisations{limits}).",
            **values,
        )
    return tr(
        "Of the spread of {name}'s {metric}, about {first} % comes from the split and {second} % from the "
        "initialisation ({splits} splits × {trained} initialisations{limits}).",
        **values,
    )
