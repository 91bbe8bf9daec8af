"""A study repeated over seeds: mean and spread, without the pretence that splits of one data set are independent.

Splits share most of their training rows and many of their test rows, so that their figures are alike, and the usual
standard error ``s / sqrt(k)`` is far too small. Nadeau & Bengio (*Machine Learning* 52 (2003) 239) correct it:

    variance of the mean = (1/k + n_test/n_train) s²,    t with k − 1 degrees of freedom

Simulated with two contenders of the same quality and 20 splits 85:15, the usual paired t-test names a winner in 34 % of
the studies, the corrected one in 5 % (1000 studies; tests/evaluation/test_repeats.py has fewer).

The rule for a pair, fixed beforehand: the one with the better mean of the first metric is better over the splits when
the corrected interval of the paired difference excludes 0 and the corrected p-value, adjusted for all pairs by Holm, is
below one minus the confidence. It is about the method trained on data like these, not about one trained model.

Two rounds have no interval and no test: one degree of freedom can't tell a small spread from two figures that happen to
lie close together. Nor have rounds without any spread, however many: nothing says how far the figure would vary.

Several initialisations of one split are no further splits: their mean is the figure of that split, and k counts splits.
What they add is where the spread comes from (`clearmargin.evaluation.spread`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy

from clearmargin.errors import UsageError, WorkError
from clearmargin.evaluation.paired import ROUNDING, holm, level
from clearmargin.evaluation.repeats_verdict import FEWEST, METRICS, sentence, why_no_test
from clearmargin.evaluation.spread import nested, spread_in_words

KINDS = ("contender", "baseline")
_KEYS = {"seed", "fold", "initialisation"}
METHOD = "corrected resampled t (Nadeau & Bengio 2003)"
UNEVEN = 2.0  # the largest test part, over the mean of all, from which the correction is only a rough one


def summarise_repeats(
    frame: pd.DataFrame,
    *,
    n_train: float,
    n_test: float,
    metrics: Sequence[str],
    confidence: float = 0.95,
    same_test: bool = False,
    same_parts: bool = False,
    tested: Sequence[int] = (),
    fixed: Collection[str] = (),
) -> dict[str, Any]:
    """Sum up a study that was repeated over seeds.

    Parameters
    ----------
    frame
        One row for each round and contender: ``seed``, with cross-validation ``fold``, with several initialisations of
        each split ``initialisation``, ``contender``, ``kind`` (contender or baseline), and a column for each metric;
        what is undefined is NaN and left out.
    n_train, n_test
        Rows of the training part and rows of the test part, in each split; their mean where splits differ. What counts
        are the samples that weights are learned from (Nadeau & Bengio, section 2): the validation part, which only
        chooses among epochs and fits a temperature, is none of them, and leaving it out makes intervals wider. With r
        repeats of k folds the correction is ``1/(k r) + n_test/n_train`` (Bouckaert & Frank, *PAKDD* 2004).
    metrics
        Columns to sum up, of `METRICS`. Comparisons are made on the first.
    confidence
        Of the intervals; one minus it is the level of the tests.
    same_test
        True when every seed was tested on the same rows (a test part given by the source): the spread is then
        that of training alone, so that there are no intervals and no tests.
    same_parts
        True when the training and validation part are the same for every seed as well: then every seed is one more
        initialisation.
    tested
        Rows of the test part in each round, when they are known: large groups make folds uneven.
    fixed
        Contenders that learned nothing here: no training parts overlap whose overlap the correction is for, so that
        their figures have no interval over the splits.

    Returns
    -------
    A record ready for JSON: ``unit`` (what a round is: seed, fold or, on one split throughout, initialisation),
    ``rounds`` (how many), ``folds`` (of each seed, or 0), ``initialisations`` (of each round), ``seeds``, ``n_train``,
    ``n_test``, ``confidence``, ``metrics``, ``same_test``, ``varied`` (what changes beside the initialisation:
    ``split``, ``validation`` part, or, on one split, the ``initialisation`` alone; on given parts, ``nothing``),
    ``note`` (a sentence on very uneven test parts, or None);
    ``contenders`` and ``baselines``, for each name and metric ``n``, ``mean``, ``sd``, ``min``, ``max``, ``low``,
    ``high``, ``method``, ``values`` (by seed, and by fold within a seed; None when undefined) and, with several
    initialisations of each round, ``trained`` and ``sources`` (see `spread.nested`); ``comparisons``; ``spread``,
    sentences on where it comes from.

    Raises
    ------
    UsageError
        When a metric is unknown or a number of rows is not positive.
    WorkError
        When the table lacks a column, is empty, or holds a contender twice for one round.
    """
    _check(frame, n_train, n_test, metrics)
    rounds, trained = sorted(set(_rounds(frame))), _initialisations(frame)
    pooled = same_parts or (len(rounds) == 1 and len(trained) > 1)
    varied = "nothing" if same_parts else "initialisation" if pooled else "validation" if same_test else "split"
    same_test |= pooled
    every = {metric: _table(frame, metric, rounds, trained, pooled=pooled) for metric in metrics}
    tables = {metric: {name: own.mean(axis=1) for name, own in found.items()} for metric, found in every.items()}
    names = {kind: list(dict.fromkeys(frame["contender"][frame["kind"] == kind])) for kind in KINDS}
    extra = n_test / n_train

    def summed(kind: str) -> dict[str, Any]:
        return {
            name: {
                metric: {
                    **_summary(tables[metric][name], extra, confidence, same_test, name in fixed),
                    **nested(every[metric][name], confidence),
                }
                for metric in metrics
            }
            for name in names[kind]
        }

    contenders = summed("contender")
    compared = [] if same_test else _compare(tables[metrics[0]], names, metrics[0], extra, confidence)
    found = {
        "unit": "initialisation" if pooled and len(trained) > 1 else "fold" if "fold" in frame else "seed",
        "rounds": len(next(iter(tables[metrics[0]].values()))),
        "initialisations": 1 if pooled else len(trained),
        "folds": len({fold for _, fold in rounds}) if "fold" in frame else 0,
        "seeds": sorted({seed for seed, _ in rounds}),
        "n_train": round(n_train),
        "n_test": round(n_test),
        "confidence": confidence,
        "metrics": list(metrics),
        "same_test": same_test,
        "varied": varied,
        "note": None if same_test else _uneven(tested),
        "contenders": contenders,
        "baselines": summed("baseline"),
        "comparisons": compared,
    }
    return {**found, "spread": spread_in_words(found)}


def _uneven(tested: Sequence[int]) -> str | None:
    """A sentence on test parts of which one is much larger than the others."""
    mean = sum(tested) / len(tested) if tested else 0
    if not tested or max(tested) <= UNEVEN * mean:
        return None
    return (
        f"The test parts are very uneven: {min(tested):,} to {max(tested):,} samples, {mean:,.0f} on average, because "
        "large groups stay whole. Each round counts the same, and the corrected intervals and tests take the rounds "
        "to be alike: read them as rough."
    )


def _check(frame: pd.DataFrame, n_train: float, n_test: float, metrics: Sequence[str]) -> None:
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown or not metrics:
        raise UsageError(f"The metrics of repeats must be among {', '.join(METRICS)}, got {unknown or 'none'}.")
    if n_train < 1 or n_test < 1:
        raise UsageError(f"Both parts must hold rows, got {n_train} to train and {n_test} to test.")
    missing = [column for column in ("seed", "contender", "kind", *metrics) if column not in frame.columns]
    if missing or frame.empty:
        raise WorkError(f"The table of repeats {'lacks ' + ', '.join(missing) if missing else 'is empty'}.")
    strange = sorted(set(frame["kind"]) - set(KINDS))
    if strange:
        raise WorkError(f"The 'kind' of a repeat must be {' or '.join(KINDS)}, got {strange[:3]}.")
    twice = frame[frame.duplicated([*_KEYS.intersection(frame.columns), "contender"])]
    if len(twice):
        first = twice.iloc[0]
        raise WorkError(f"The table of repeats holds {first['contender']!r} twice for seed {first['seed']}.")


def _rounds(frame: pd.DataFrame) -> list[tuple[int, int]]:
    """Seed and fold of each row; 0 where there are no folds."""
    folds = frame["fold"] if "fold" in frame else [0] * len(frame)
    return [(int(seed), int(fold)) for seed, fold in zip(frame["seed"], folds, strict=True)]


def _initialisations(frame: pd.DataFrame) -> list[int]:
    """Numbers of the initialisations of each split, ascending; a single 1 where none are named."""
    return sorted({int(number) for number in frame["initialisation"]}) if "initialisation" in frame else [1]


def _table(
    frame: pd.DataFrame, metric: str, rounds: list[tuple[int, int]], trained: list[int], *, pooled: bool
) -> dict[str, np.ndarray]:
    """Values of each contender, float64 with NaN for what is missing: (rounds, initialisations).

    When ``pooled``, each initialisation is a round of its own.
    """
    place = {one: row for row, one in enumerate(rounds)}
    column = {number: at for at, number in enumerate(trained)}
    found: dict[str, np.ndarray] = {}
    numbers = pd.to_numeric(frame[metric]).to_numpy(dtype=np.float64)
    own = frame["initialisation"] if "initialisation" in frame else [1] * len(frame)
    for one, which, name, number in zip(_rounds(frame), own, frame["contender"], numbers, strict=True):
        table = found.setdefault(name, np.full((len(rounds), len(trained)), np.nan))
        table[place[one], column[int(which)]] = number if np.isfinite(number) else np.nan
    return {name: table.reshape(-1, 1) for name, table in found.items()} if pooled else found


def corrected_interval(values: np.ndarray, extra: float, confidence: float) -> tuple[float, float, float, float] | None:
    """Interval of the mean of figures from overlapping splits, and the test that it is zero.

    Parameters
    ----------
    values
        float64 of shape (splits,).
    extra
        ``n_test / n_train``.

    Returns
    -------
    Low and high limit, t, and its two-sided p; None with fewer than `FEWEST` values, and without any spread.
    """
    if len(values) < FEWEST:
        return None
    k, mean, deviation = len(values), float(values.mean()), float(values.std(ddof=1))
    error = deviation * float(np.sqrt(1 / k + extra))
    if error <= ROUNDING * abs(mean) or error == 0:
        return None
    reach = float(scipy.stats.t.isf((1 - confidence) / 2, k - 1)) * error
    t = mean / error
    return mean - reach, mean + reach, t, 2 * float(scipy.stats.t.sf(abs(t), k - 1))


def _summary(values: np.ndarray, extra: float, confidence: float, same_test: bool, fixed: bool) -> dict[str, Any]:
    defined = values[~np.isnan(values)]
    figures: dict[str, Any] = dict.fromkeys(("mean", "sd", "min", "max", "low", "high"))
    figures["n"] = len(defined)
    figures["values"] = [None if np.isnan(value) else float(value) for value in values]
    if not len(defined):
        return {**figures, "method": "undefined in every repeat"}
    figures.update(mean=float(defined.mean()), min=float(defined.min()), max=float(defined.max()))
    if len(defined) < 2:
        return {**figures, "method": "no interval: a single repeat"}
    figures["sd"] = float(defined.std(ddof=1))
    if same_test:
        return {**figures, "method": "no interval: every seed was tested on the same rows"}
    if fixed:
        return {**figures, "method": "no interval: it learned nothing from the splits"}
    found = corrected_interval(defined, extra, confidence)
    if found is None:
        return {**figures, "method": f"no interval: {why_no_test(len(defined))}"}
    return {**figures, "low": found[0], "high": found[1], "method": METHOD}


def _compare(
    table: Mapping[str, np.ndarray], names: Mapping[str, list[str]], metric: str, extra: float, confidence: float
) -> list[dict[str, Any]]:
    contenders = names["contender"]
    pairs = [*combinations(contenders, 2), *((own, base) for own in contenders for base in names["baseline"])]
    found = []
    for one, other in pairs:
        apart = table[one] - table[other]
        apart = apart[~np.isnan(apart)]
        if len(apart) >= 2:
            found.append(_pair(one, other, apart, metric, extra, confidence))
    tested = [record for record in found if record["p_value"] is not None]
    adjusted = iter(holm([record["p_value"] for record in tested]))
    records = []
    for record in found:
        p_holm = None if record["p_value"] is None else next(adjusted)
        pair = (record["first"], record["second"])
        whole = {
            **record,
            "baseline": next((name for name in pair if name in names["baseline"]), None),
            "p_holm": p_holm,
            "distinguishable": p_holm is not None
            and bool(record["difference"]["low"] > 0 and p_holm < level(confidence)),
        }
        records.append({**whole, "sentence": sentence(whole, len(tested), confidence)})
    return records


def _pair(one: str, other: str, apart: np.ndarray, metric: str, extra: float, confidence: float) -> dict[str, Any]:
    """A pair with the better mean first; the difference is how much better it is, always 0 or more."""
    better = apart if METRICS[metric][1] else -apart
    first, second = (one, other) if better.mean() >= 0 else (other, one)
    better = better if better.mean() >= 0 else -better
    low, high, t, p_value = corrected_interval(better, extra, confidence) or (None, None, None, None)
    method = METHOD if t is not None else f"none: {why_no_test(len(better))}"
    return {
        "first": first,
        "second": second,
        "metric": metric,
        "n": len(better),
        "first_better": int((better > 0).sum()),
        "difference": {"value": float(better.mean()), "low": low, "high": high, "method": method},
        "t": t,
        "degrees_of_freedom": len(better) - 1,
        "p_value": p_value,
        "p_method": method,
    }
