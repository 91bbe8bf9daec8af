"""Effect sizes of the shift table, against arithmetic done another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.external.shift import shift_table, standardised_difference, total_variation


def test_the_standardised_difference_of_known_samples() -> None:
    first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 8.0])
    told = standardised_difference(
        {"mean": first.mean(), "sd": first.std()}, {"mean": second.mean(), "sd": second.std()}
    )
    assert told == pytest.approx((2.5 - 5.0) / np.sqrt((1.25 + 5.0) / 2))
    assert standardised_difference({"mean": 1, "sd": 0}, {"mean": 1, "sd": 0}) == 0
    assert standardised_difference({"mean": 1, "sd": 0}, {"mean": 2, "sd": 0}) is None


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1)


@settings(deadline=None)
@given(counts, counts)
def test_total_variation_is_a_distance_between_mixtures(first: dict, second: dict) -> None:
    told = total_variation(first, second)
    values = sorted(set(first) | set(second))
    p, q = (np.array([side.get(value, 0) for value in values]) / sum(side.values()) for side in (first, second))
    # the largest difference of probability over all events is another way to the same number
    assert told == pytest.approx(np.maximum(p - q, 0).sum())
    assert 0 <= told <= 1 + 1e-12
    assert told == pytest.approx(total_variation(second, first))
    assert total_variation(first, first) == 0


def test_notable_differences_come_first() -> None:
    side = {"n": 4, "numbers": {"bytes": {"mean": 1.0, "sd": 1.0}}, "categories": {"mode": {"L": 4}}}
    other = {"n": 4, "numbers": {"bytes": {"mean": 1.1, "sd": 1.0}}, "categories": {"mode": {"RGB": 4}}}
    rows = shift_table(side, other)
    assert [(row["what"], row["notable"]) for row in rows] == [("mode", True), ("bytes", False)]
    assert rows[0]["effect"] == 1
    assert rows[1]["effect"] == pytest.approx(0.1)
