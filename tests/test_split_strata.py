"""Splits by a number: caret's counts, quantiles in proportion, groups whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.errors import SourceError
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


@pytest.mark.parametrize("n", [*range(20, 42), 60, 100])
@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.9, 0.05, 0.05)])
def test_small_tables_have_rows_in_every_part(n, fractions):
    samples = rows(np.random.default_rng(n).normal(size=n))
    for copies in (np.arange(n), np.maximum(np.arange(n), 1)):  # the second: two rows belong together
        split = make_split(samples, copies, fractions=fractions, seed=n)
        for part, fraction in zip(PARTS, fractions, strict=True):
            assert len(split.rows(part)) >= 1
            assert abs(len(split.rows(part)) - fraction * n) < 8  # less than one for each of 4 strata and 2 cuts


def test_fractions_of_one_row_in_a_hundred():
    split = make_split(rows(range(100)), np.arange(100), fractions=(0.98, 0.01, 0.01))
    assert [len(split.rows(part)) for part in PARTS] == [98, 1, 1]


@pytest.mark.parametrize("n", [20, 50, 67, 99])
def test_fractions_too_small_for_the_rows_are_refused_with_the_smallest_that_works(n):
    with pytest.raises(SourceError, match=rf"of {n} rows, \[0.98, 0.01, 0.01\].*at least (0\.\d+)") as refused:
        make_split(rows(range(n)), np.arange(n), fractions=(0.98, 0.01, 0.01))
    smallest = float(str(refused.value).split("at least ")[1].split()[0])
    split = make_split(rows(range(n)), np.arange(n), fractions=(1 - 2 * smallest, smallest, smallest))
    assert all(len(split.rows(part)) for part in PARTS)


def test_a_table_with_two_different_inputs_is_told_so_in_its_own_words():
    samples = rows(np.random.default_rng(0).normal(size=50))
    with pytest.raises(SourceError, match="all 50 rows form only 2 groups") as refused:
        make_split(samples, np.arange(50) % 2)
    assert not any(word in str(refused.value) for word in ("class", "image", "patient", "quantile"))
    split = make_split(samples, np.arange(50) % 3, seed=1)
    assert sorted(len(split.rows(part)) for part in PARTS) == [16, 17, 17]


def test_a_training_part_of_one_row_is_refused():
    samples = [Sample(f"row {k}", float(k), None, "train" if k == 0 else "test") for k in range(30)]
    samples[1] = Sample("row 1", 1.0, None, "validation")
    with pytest.raises(SourceError, match="training part needs at least 2 samples, got 1"):
        make_split(samples, np.arange(30), use_given=True)


@pytest.mark.parametrize(
    ("part", "message"), [(None, "Fill in the column of parts"), ("train", "Add rows of the part")]
)
def test_given_parts_of_a_table_are_spoken_of_as_a_column(part, message):
    samples = [Sample(f"row {k}", float(k), None, part) for k in range(30)]
    with pytest.raises(SourceError, match=message):
        make_split(samples, np.arange(30), use_given=True)
