"""What split and initialisation add to a spread: against REML of statsmodels, and by simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clearmargin.evaluation.spread import sources_of_spread


def drawn(rng, k, m, share):
    return np.sqrt(share) * rng.normal(size=(k, 1)) + np.sqrt(1 - share) * rng.normal(size=(k, m))


@pytest.mark.parametrize(("k", "m", "share"), [(5, 2, 0.8), (10, 3, 0.5), (20, 2, 0.9), (8, 5, 0.4)])
def test_components_are_those_of_restricted_maximum_likelihood(k, m, share):
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    values = drawn(np.random.default_rng(k), k, m, share)
    found = sources_of_spread(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mixed.MixedLM(values.ravel(), np.ones(k * m), np.repeat(np.arange(k), m)).fit(reml=True)
    assert found.within == pytest.approx(model.scale, rel=1e-3)
    assert found.between == pytest.approx(float(model.cov_re[0, 0]), rel=1e-3)


@pytest.mark.parametrize(("k", "m", "share"), [(5, 2, 0.8), (5, 2, 0.2), (10, 2, 0.5), (4, 5, 0.9)])
def test_the_interval_of_the_share_covers(k, m, share):
    rng, studies, held = np.random.default_rng([k, m, round(10 * share)]), 800, 0
    for _ in range(studies):
        found = sources_of_spread(drawn(rng, k, m, share))
        held += found.low <= share <= found.high
    assert held / studies == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / studies))


def test_without_any_spread_between_splits_the_estimates_average_to_nothing():
    rng = np.random.default_rng(2)
    uncut = [drawn(rng, 6, 3, 0.0) for _ in range(1000)]
    found = [sources_of_spread(values) for values in uncut]
    assert np.mean([each.within for each in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([each.between == 0 for each in found]) > 0.4
    assert np.mean([each.low == 0 for each in found]) == pytest.approx(0.975, abs=0.015)


def test_what_can_not_be_told_is_not_told():
    assert sources_of_spread(np.ones((1, 5))) is None
    assert sources_of_spread(np.ones((5, 1))) is None
    assert sources_of_spread(np.array([[1.0, 2.0], [np.nan, 1.0]])) is None
    same = sources_of_spread(np.full((4, 3), 0.9))
    assert (same.between, same.within, same.share, same.low) == (0, 0, None, None)
    splits = sources_of_spread(np.array([[0.1, 0.1], [0.2, 0.2], [0.4, 0.4]]))
    assert (splits.share, splits.low, splits.high) == (1.0, None, None)
    trained = sources_of_spread(np.array([[0.1, 0.2], [0.2, 0.1], [0.1, 0.2]]))
    assert (trained.share, trained.low) == (0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float64, (4, 3), elements=st.floats(0, 1, allow_subnormal=False)),
    st.floats(0.1, 10),
    st.floats(-5, 5),
)
def test_neither_order_nor_unit_matter(values, factor, shift):
    found, other = sources_of_spread(values), sources_of_spread(factor * values[::-1, ::-1] + shift)
    assert 0 <= found.low <= found.high <= 1 if found.low is not None else True
    if found.within > 1e-6:
        assert other.share == pytest.approx(found.share, abs=1e-6)
        assert other.within == pytest.approx(factor**2 * found.within, rel=1e-6)
