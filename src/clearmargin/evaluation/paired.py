"""Tests for two contenders that answered the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy

from clearmargin.evaluation.bootstrap import chunks

# Sums of signed numbers in another order differ in their last digits; such sums count as equal.
ROUNDING = 1e-12


def level(confidence: float) -> float:
    """The level of a test that goes with an interval: 0.05 for 0.95, without the rounding of a subtraction."""
    return round(1 - confidence, 12)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """McNemar's exact test, two-sided: twice the binomial tail, at most 1.

    Parameters
    ----------
    only_first, only_second
        Samples that only the first, and only the second contender got right. Those on which they agree say
        nothing about the difference.

    Returns
    -------
    p; 1 when there is no such sample.
    """
    fewer, discordant = min(only_first, only_second), only_first + only_second
    return min(1.0, 2 * float(scipy.stats.binom.cdf(fewer, discordant, 0.5)))


def mcnemar_mid_p(only_first: int, only_second: int) -> float:
    """McNemar's mid-p test, two-sided: the exact test with half the weight on what was seen.

    ``2 P(X ≤ m) − P(X = m)`` for X ~ Binomial(b + c, 1/2) and m = min(b, c); Fagerland, Lydersen & Laake,
    *BMC Medical Research Methodology* 13 (2013) 91, who recommend it over the exact test and the chi-square.

    Parameters
    ----------
    only_first, only_second
        As in `mcnemar_exact`.
    """
    fewer, discordant = min(only_first, only_second), only_first + only_second
    if discordant == 0:
        return 1.0
    seen = float(scipy.stats.binom.pmf(fewer, discordant, 0.5))
    return min(1.0, 2 * float(scipy.stats.binom.cdf(fewer, discordant, 0.5)) - seen)


def second_at_least_as_good(only_first: int, only_second: int) -> float:
    """Probability that the second contender's accuracy is in truth at least that of the first; independent samples.

    The distribution function of Beta(b + 1, c + 1) at 1/2, with b and c the samples that only the first and only the
    second got right: a flat prior on the share of the discordant samples that the first wins.

    Parameters
    ----------
    only_first, only_second
        As in `mcnemar_exact`.

    Returns
    -------
    Between 0 and 1; below 1/2 when the first gets more samples right.
    """
    return float(scipy.stats.beta.cdf(0.5, only_first + 1, only_second + 1))


def resampled_at_least_as_good(apart: np.ndarray) -> float:
    """Share of resamples of whole groups in which the second contender is at least as good, the observed one counted.

    For samples in groups what `second_at_least_as_good` is for independent ones, of which the bootstrap distribution
    stands for the posterior (Rubin, *Annals of Statistics* 9 (1981) 130). Ties count whole. With few groups the
    resamples differ too little, and the share is too small.

    Parameters
    ----------
    apart
        First minus second accuracy in each resample, float64 of shape (resamples,).
    """
    return float(((apart <= 0).sum() + 1) / (len(apart) + 1))


FEW_AS_FAR = 20  # so many random patterns as far from zero as the observed one settle a p-value


def most_draws(draws: int, tests: int, bar: float) -> int:
    """So many random patterns that `FEW_AS_FAR` of them are as far from zero where p, times so many tests, is the bar.

    Never fewer than ``draws``.
    """
    return max(draws, math.ceil(FEW_AS_FAR * tests / bar))


def randomisation_p(as_far: Callable[[int], int], row_elements: int, draws: int, most: int) -> float:
    """P-value of a randomisation test: the share of random patterns as far from zero, the observed one among them.

    After ``draws`` patterns, and then in pieces until 20 were as far or there are ``most``: only a small p needs more;
    Besag & Clifford, *Biometrika* 78 (1991) 301.

    Parameters
    ----------
    as_far
        Draws so many patterns, and says how many of them are as far from zero.
    row_elements
        Numbers in a pattern, which say how many are drawn at once.
    """
    found = sum(as_far(size) for size in chunks(draws, row_elements))
    done = draws
    for size in chunks(max(0, most - draws), row_elements):
        if found >= FEW_AS_FAR:
            break
        found += as_far(size)
        done += size
    return (found + 1) / (done + 1)


def sign_flip_p(differences: np.ndarray, flips: int, seed: int, most: int = 0) -> float:
    """Randomisation test of paired differences by group, two-sided.

    If the contenders were interchangeable, each group's difference could as well have the other sign. The p-value
    is the share of random sign patterns, the observed one counted among them, whose sum is as far from
    zero as the observed sum. It holds its level where they are interchangeable, which is more than equally good: with
    a class of few samples it needs `clearmargin.evaluation.class_means.balanced_difference` beside it. McNemar's test
    when each group is one sample.

    Parameters
    ----------
    differences
        What each group adds to the difference of the contenders, float64 of shape (groups,).
    flips, most
        Number of random sign patterns, and up to how many where p is small: `randomisation_p`.
    """
    moving = differences[differences != 0]
    if not moving.size:
        return 1.0
    bar = abs(moving.sum()) - ROUNDING
    rng = np.random.default_rng([seed, 1])

    def as_far(size: int) -> int:
        signs = 2.0 * rng.integers(0, 2, size=(size, moving.size)) - 1.0
        return int((np.abs(signs @ moving) >= bar).sum())

    return randomisation_p(as_far, moving.size, flips, most)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the chance of any false difference stays below the level.

    The k-th smallest of m values (from 0) is multiplied by m − k, made no smaller than the one before and
    at most 1; Holm, *Scandinavian Journal of Statistics* 6 (1979) 65.

    Returns
    -------
    Adjusted values in the order given.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
