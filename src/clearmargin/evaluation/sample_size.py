"""How many samples an accuracy, and a difference of two accuracies, would need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from clearmargin.language import tr

POWER = 0.8
DIFFERENCE = 0.02  # 2 points
FEWEST_DISCORDANT = 10


def samples_for_share(share: float, half_width: float, confidence: float = 0.95) -> int:
    """Independent samples from which the interval of a share reaches no further than ``half_width`` to either side.

    ``z² p (1 − p) / h²``, rounded up; Cochran, *Sampling Techniques* (1977), section 4.4.
    """
    z = float(scipy.stats.norm.isf((1 - confidence) / 2))
    return max(1, math.ceil(z**2 * share * (1 - share) / half_width**2 - 1e-9))


def samples_for_difference(
    discordant: float, difference: float = DIFFERENCE, confidence: float = 0.95, power: float = POWER
) -> int:
    """Independent samples from which McNemar's test sees a difference of two accuracies.

    ``(z_α sqrt(ψ) + z_β sqrt(ψ − δ²))² / δ²`` with ``ψ`` the share of samples on which exactly one contender is right
    and ``δ`` the difference; Connor, *Biometrics* 43 (1987) 207, after Miettinen, *Biometrics* 24 (1968) 339. Less
    disagreement than ``δ`` can't hold such a difference: ``ψ`` is then taken to be ``δ``.

    Parameters
    ----------
    discordant, difference
        Shares, not points.
    """
    share = max(discordant, difference)
    z_level, z_power = float(scipy.stats.norm.isf((1 - confidence) / 2)), float(scipy.stats.norm.ppf(power))
    root = z_level * math.sqrt(share) + z_power * math.sqrt(share - difference**2)
    return math.ceil(root**2 / difference**2 - 1e-9)


def design_effect(resampled: np.ndarray, variance: float) -> float | None:
    """How many times more samples in groups are needed than independent ones; at least 1.

    The variance over resamples of the groups against that of as many independent samples; Kish, *Survey Sampling*
    (1965). None where either is not above zero.

    Parameters
    ----------
    resampled
        The figure in each resample, float64 of shape (resamples,).
    variance
        Of the same figure if all samples were independent.
    """
    found = float(np.var(resampled))
    if not found > 1e-24 or not variance > 1e-24:
        return None
    return max(1.0, found / variance)


def n_to_see(
    only_first: int, only_second: int, n: int, apart: np.ndarray, clustered: bool, confidence: float
) -> int | None:
    """Samples of this kind that would be needed to see a difference of 2 points in accuracy, with 80 % power.

    From the disagreement seen; of samples in groups of such a size, scaled by the `design_effect`.

    Parameters
    ----------
    only_first, only_second
        Samples that only the first, and only the second contender got right, of all ``n``.
    apart
        The difference of accuracies in each resample, float64 of shape (resamples,).

    Returns
    -------
    None when nothing tells: fewer than 10 samples on which exactly one contender is right (their share is then known to
    no better than a factor of two), or a single group.
    """
    if only_first + only_second < FEWEST_DISCORDANT:
        return None
    discordant, lead = (only_first + only_second) / n, (only_first - only_second) / n
    needed = samples_for_difference(discordant, confidence=confidence)
    if not clustered:
        return needed
    effect = design_effect(apart, (discordant - lead**2) / n)
    return None if effect is None else math.ceil(needed * effect)


def accuracy_sample_size(
    accuracy: Mapping[str, Any], n: int, resampled: np.ndarray, clustered: bool, confidence: float
) -> dict[str, Any]:
    """How exactly this part measures an accuracy, and how many samples would measure it to ±5 and ±3 points.

    Parameters
    ----------
    accuracy
        A figure.
    resampled
        The same accuracy in each resample, float64 of shape (resamples,).

    Returns
    -------
    ``accuracy``, ``accuracy_half_width`` (None without an interval), ``design_effect`` (None for independent samples,
    and when a single group can't tell), ``n_for_5_points``, ``n_for_3_points``, ``clustered`` and ``note``.
    """
    share = accuracy["value"]
    if share in (0.0, 1.0):  # which would need no sample at all: the middle of Wilson's interval instead
        z = float(scipy.stats.norm.isf((1 - confidence) / 2))
        share = (share * n + z**2 / 2) / (n + z**2)
    effect = design_effect(resampled, share * (1 - share) / n) if clustered else None
    needed = {
        key: math.ceil((effect or 1.0) * samples_for_share(share, half_width, confidence))
        for key, half_width in (("n_for_5_points", 0.05), ("n_for_3_points", 0.03))
    }
    low, high = accuracy["low"], accuracy["high"]
    block = {
        "accuracy": share,
        "accuracy_half_width": None if low is None else (high - low) / 2,
        "clustered": clustered,
        "design_effect": effect,
        **needed,
    }
    return {**block, "note": sample_size_note(block)}


def sample_size_note(block: Mapping[str, Any]) -> str:
    """What to know about a block of `accuracy_sample_size`, from its other keys alone."""
    share = f"{100 * block['accuracy']:.1f}"
    if not block["clustered"]:
        return tr("Images needed to measure an accuracy of {share} % to ±5 and ±3 points.", share=share)
    if block["design_effect"] is None:
        return tr(
            "Images needed to measure an accuracy of {share} % to ±5 and ±3 points if they were independent; these "
            "come in groups, so that more are needed, and nothing here tells how many more.",
            share=share,
        )
    return tr(
        "Images needed to measure an accuracy of {share} % to ±5 and ±3 points, in groups like these: {effect} times "
        "as many as independent images.",
        share=share,
        effect=f"{block['design_effect']:.1f}",
    )
