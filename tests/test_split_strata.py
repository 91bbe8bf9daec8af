"""Splits by a number: caret's counts, quantiles in proportion, groups whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.records import PARTS, Sample
from clearmargin.split import make_split, read_split, write_split
from clearmargin.split.strata import partition, quantile_strata


def rows(targets, group=None):
    return [Sample(f"row {k + 1}", float(y), group(k) if group else None) for k, y in enumerate(targets)]


def test_strata_are_quartiles_with_their_upper_limits():
    assert quantile_strata(np.arange(1.0, 10.0)).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_strata_of_repeated_values_have_no_gaps():
    strata = quantile_strata(np.array([1.0] * 50 + [2.0, 3.0, 4.0]))
    assert sorted(set(strata.tolist())) == list(range(len(set(strata.tolist()))))


def test_as_carets_create_data_partition_counts(boston_targets):
    """createDataPartition(medv, p = .85) of 506 rows gives 432, as the tutorial reports: 4 quartiles, ceil of each."""
    strata = quantile_strata(boston_targets)
    by_hand = sum(int(np.ceil(0.85 * count)) for count in np.bincount(strata))
    assert partition(strata, 0.85, np.random.default_rng(0)).sum() == by_hand == 432
    split = make_split(rows(boston_targets), np.arange(506), fractions=(0.75, 0.1, 0.15), seed=5)
    assert len(split.rows("test")) == 74


@pytest.fixture
def boston_targets():
    from importlib import resources

    path = resources.files("clearmargin") / "sources" / "tables" / "boston.csv"
    return np.loadtxt(path.read_text(encoding="utf-8").splitlines()[1:], delimiter=",")[:, -1]


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 120), st.integers(0, 2**31 - 1), st.integers(1, 4))
def test_every_row_once_groups_whole_order_does_not_matter(n, seed, size):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=n)
    samples = rows(targets, group=lambda k: f"g{k // size}")
    split = make_split(samples, np.arange(n), fractions=(0.6, 0.2, 0.2), seed=seed)
    assert sum(len(split.rows(part)) for part in PARTS) == n
    for group in set(split.groups):
        assert len(set(split.parts[split.groups == group])) == 1
    order = rng.permutation(n)
    again = make_split([samples[k] for k in order], order, fractions=(0.6, 0.2, 0.2), seed=seed)
    assert dict(zip(again.names, again.parts, strict=True)) == dict(zip(split.names, split.parts, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(40, 300), st.integers(0, 2**31 - 1))
def test_each_quartile_is_divided_in_proportion(n, seed):
    targets = np.random.default_rng(seed).normal(size=n)
    split = make_split(rows(targets), np.arange(n), fractions=(0.7, 0.1, 0.2), seed=seed)
    strata = quantile_strata(targets)
    for stratum in set(strata):
        members = strata == stratum
        tested = (split.parts[members] == "test").sum()
        assert 0 <= 0.2 * members.sum() - tested < 1


def test_a_numeric_split_survives_the_file(tmp_path):
    targets = np.random.default_rng(0).normal(size=50) / 3
    split = make_split(rows(targets), np.arange(50), seed=1)
    write_split(tmp_path, split)
    again = read_split(tmp_path)
    assert again.numeric
    assert again.labels.tolist() == split.labels.tolist()
    assert "'" not in (tmp_path / "split.csv").read_text()  # numbers, negative ones too, and no text
