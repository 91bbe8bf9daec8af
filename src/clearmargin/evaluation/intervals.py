"""Confidence intervals: of a share, and from resampled values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from clearmargin.evaluation.alignment import effective_groups

FEW_GROUPS = 35
FEWEST_GROUPS = 5
NO_SPREAD = 1e-12
SPREAD_ROUNDING, VALUE_ROUNDING = 1e-9, 1e-12  # shares, of the resampled values' quartiles' distance, and of the value


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share of independent samples.

    With ``p = successes / n`` and ``z`` the normal quantile, ``(p + z²/2n ± z sqrt(p(1−p)/n + z²/4n²)) /
    (1 + z²/n)``; Wilson, *JASA* 22 (1927) 209.

    Returns
    -------
    Low and high limit, from 0 to 1; NaN when ``n`` is 0.
    """
    if n == 0:
        return float("nan"), float("nan")
    z = float(scipy.stats.norm.isf((1 - confidence) / 2))
    share = successes / n
    middle = share + z**2 / (2 * n)
    reach = z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    scale = 1 + z**2 / n
    # At the ends the limit is 0 or 1 exactly; rounding must not leave 0.9999999999999999.
    low = 0.0 if successes == 0 else (middle - reach) / scale
    high = 1.0 if successes == n else (middle + reach) / scale
    return low, high


def clopper_pearson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share of independent samples: never covers less than it says.

    Quantiles of Beta(successes, n − successes + 1) and Beta(successes + 1, n − successes); Clopper &
    Pearson, *Biometrika* 26 (1934) 404. The counts may be effective ones, which are not whole.

    Returns
    -------
    Low and high limit, from 0 to 1; NaN when ``n`` is 0.
    """
    if n == 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(scipy.stats.beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(scipy.stats.beta.isf(tail, successes + 1, n - successes))
    return low, high


def percentile_interval(resampled: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Central share of the resampled values, those that are undefined (NaN) left out.

    Parameters
    ----------
    resampled
        float64 of shape (resamples,).

    Returns
    -------
    Low and high limit, interpolated linearly between values; NaN when every value is undefined.
    """
    defined = resampled[~np.isnan(resampled)]
    if not defined.size:
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def bca_interval(
    value: float, resampled: np.ndarray, jackknife: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval.

    Quantiles of the resampled values at ``Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z)))``, with ``z`` the normal quantiles of
    the tails, ``z₀ = Φ⁻¹`` of the share of resampled values below ``value`` (half of the equal ones counted), and
    ``a = Σ d³ / 6 (Σ d²)^1.5`` for the jackknife's deviations ``d`` from their mean; Efron, *JASA* 82 (1987) 171.
    Equal is also what differs by no more than sums in another order do: a resample may have every group once.

    Parameters
    ----------
    resampled
        float64 of shape (resamples,); undefined (NaN) ones are left out.
    jackknife
        The figure without each group, float64 of shape (groups,); undefined ones are left out.

    Returns
    -------
    Low and high limit; the percentile interval where the correction has no finite value (no spread, or
    everything on one side); NaN when every resampled value is undefined.
    """
    defined = resampled[~np.isnan(resampled)]
    left = jackknife[~np.isnan(jackknife)]
    if not defined.size or not left.size:
        return percentile_interval(resampled, confidence)
    lower, upper = np.quantile(defined, [0.25, 0.75])
    rounding = SPREAD_ROUNDING * float(upper - lower) + VALUE_ROUNDING * abs(value)
    below = float(((defined < value - rounding).mean() + (defined <= value + rounding).mean()) / 2)
    deviations = left.mean() - left
    scale = float(np.abs(deviations).max())
    if not 0 < below < 1 or scale == 0:
        return percentile_interval(resampled, confidence)
    deviations = deviations / scale
    acceleration = float((deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5))
    bias, tail = scipy.stats.norm.ppf(below), (1 - confidence) / 2
    reach = bias + scipy.stats.norm.ppf([tail, 1 - tail])
    if (1 - acceleration * reach <= 0).any():
        return percentile_interval(resampled, confidence)
    low, high = np.quantile(defined, scipy.stats.norm.cdf(bias + reach / (1 - acceleration * reach)))
    return float(low), float(high)


def counted(number: int, noun: str) -> str:
    """How many of what: ``1 group``, ``2 groups``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def bootstrap_method(n_units: int, clustered: bool) -> str:
    """Name of the bootstrap, with a warning in it when there are few groups."""
    name = "bootstrap over groups" if clustered else "bootstrap"
    if n_units >= FEW_GROUPS:
        return name
    units = counted(n_units, "group" if clustered else "sample")
    return f"bootstrap over {units} (fewer than {FEW_GROUPS}: the interval is too narrow)"


def too_few_groups(figures: Mapping[str, Any]) -> str:
    """What to warn of when the test part of an ``evaluation.json`` has fewer than 5 groups; empty when it has more."""
    if figures["groups"] >= FEWEST_GROUPS:
        return ""
    noun = "group" if figures["clustered"] else "row" if figures["task"] == "regression" else "image"
    return (
        f"The test part has only {counted(figures['groups'], noun)}: intervals and tests from so few say next to "
        f"nothing. Test on more {noun}s."
    )


def no_interval(n_units: int, clustered: bool) -> str:
    """Why there are no limits: a single group (or sample), or no spread."""
    if n_units == 1:
        return f"no interval: a single {'group' if clustered else 'sample'}"
    return "no interval: the resamples show no spread"


def paired_figure(value: float, apart: np.ndarray, confidence: float, n_units: int, clustered: bool) -> dict[str, Any]:
    """A difference with the percentile interval of its resamples, ready for JSON; None for limits of a single group.

    Parameters
    ----------
    apart
        The difference in each resample, float64 of shape (resamples,).
    """
    if n_units == 1:
        return {"value": value, "low": None, "high": None, "method": no_interval(n_units, clustered)}
    low, high = percentile_interval(apart, confidence)
    note = "; the resamples show no spread" if low == high else ""
    return {"value": value, "low": low, "high": high, "method": f"paired {bootstrap_method(n_units, clustered)}{note}"}


def bootstrap_figure(
    value: float,
    resampled: np.ndarray,
    confidence: float,
    n_units: int,
    clustered: bool,
    jackknife: np.ndarray | None = None,
) -> dict[str, Any]:
    """A figure with its percentile interval, or with its BCa interval given the jackknife's values; ready for JSON.

    The limits are None when the value is undefined, or when the resamples show no spread (a perfect
    score, a single group): zero width would claim a certainty that nobody has.

    Returns
    -------
    ``value``, ``low``, ``high`` (float or None) and ``method``.
    """
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "method": "undefined in this part"}
    if jackknife is None:
        low, high = percentile_interval(resampled, confidence)
    else:
        low, high = bca_interval(value, resampled, jackknife, confidence)
    if not high - low > NO_SPREAD * abs(value):
        return {"value": float(value), "low": None, "high": None, "method": no_interval(n_units, clustered)}
    method = ("" if jackknife is None else "BCa ") + bootstrap_method(n_units, clustered)
    left_out = float(np.isnan(resampled).mean())
    note = f"; {left_out:.1%} of the resamples left out, undefined there" if left_out else ""
    return {"value": float(value), "low": low, "high": high, "method": method + note}


def share_figure(right: np.ndarray, units: np.ndarray, confidence: float, clustered: bool) -> dict[str, Any]:
    """A share of right answers with its interval, ready for JSON.

    Independent samples: Wilson's interval. Clustered samples: Clopper and Pearson's, with the effective number of
    samples (the actual one over `share_design_effect`) in the place of samples; Korn & Graubard, *Survey Methodology*
    24 (1998) 193, without their factor for the degrees of freedom, whose place the raised variance takes. When all
    answers are right (or all wrong) groups show no spread to tell how alike their samples are: `effective_groups` takes
    that place, as if those of a group were all alike.

    Parameters
    ----------
    right
        bool of shape (samples,).
    units
        Group of each of these samples, int64 of shape (samples,).
    """
    n, successes = len(right), int(right.sum())
    share = successes / n if n else float("nan")
    if not clustered or n == 0:
        low, high = wilson(successes, n, confidence)
        return _figure(share, low, high, "Wilson score")
    _, units = np.unique(units, return_inverse=True)
    groups, effective = int(units.max()) + 1, effective_groups(units)
    if successes in (0, n):
        low, high = clopper_pearson(effective if successes else 0, effective, confidence)
        worth = "" if effective > groups - 0.05 else f" (worth {effective:.1f} of one size)"
        return _figure(share, low, high, f"Clopper-Pearson over {counted(groups, 'group')}{worth}")
    if groups == 1:
        return {"value": share, "low": None, "high": None, "method": no_interval(groups, clustered)}
    effect = share_design_effect(right, units)
    low, high = clopper_pearson(successes / effect, n / effect, confidence)
    method = f"Clopper-Pearson over {counted(groups, 'group')} (design effect {effect:.1f})"
    return _figure(share, low, high, method)


def share_design_effect(right: np.ndarray, units: np.ndarray) -> float:
    """How many samples in these groups tell as much of the share as one independent sample; at least 1.

    ``V / (p (1 − p) / n)``, with ``V = (G − 1) / G Σ (p₋ₘ − p)²`` the jackknife's variance over the G groups, ``p₋ₘ``
    the share without one; Kish, *Survey Sampling* (1965), section 8.2; Wolter, *Introduction to Variance Estimation*
    (2007), chapter 4. Unlike the linearised variance it does not shrink where a few groups hold most of the samples.

    Of few groups, or few wrong answers, the jackknife often sees too little (where all groups happen to be alike, next
    to nothing): `raised_variance`.

    Parameters
    ----------
    right
        bool of shape (samples,), some but not all True.
    units
        Group of each sample, numbered from 0 without gaps, int64 of shape (samples,); two groups or more.
    """
    n, share, sizes = len(right), float(right.mean()), np.bincount(units)
    without = (right.sum() - np.bincount(units, right)) / (n - sizes)
    seen = float(((without - share) ** 2).sum()) * (len(sizes) - 1) / len(sizes)
    spread = share * (1 - share)
    return max(1.0, float(raised_variance(seen, spread, effective_groups(units))) * n / spread)


def raised_variance(seen: Any, spread: Any, groups: Any) -> np.ndarray:
    """A variance of a share over groups, raised for what few groups don't show; elementwise.

    ``1 / 20 (E + 1)²`` is added, a twentieth of a group that is unlike the others, but no more than what the variance
    would be, ``p (1 − p) / E``, were all samples of a group alike. The twentieth is ours, chosen by simulation
    (docs/validity.md, row 7).

    Parameters
    ----------
    seen
        The variance over the groups.
    spread
        ``p (1 − p)``.
    groups
        E, the `effective_groups`.
    """
    return np.maximum(seen, np.minimum(seen + 1 / (20 * (groups + 1) ** 2), spread / groups))


def _figure(value: float, low: float, high: float, method: str) -> dict[str, Any]:
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "method": "undefined in this part"}
    return {"value": value, "low": low, "high": high, "method": method}
