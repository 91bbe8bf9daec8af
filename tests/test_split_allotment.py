"""How the lot is drawn: as near to the fractions as StratifiedGroupKFold, and the same chance for the large."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.model_selection import StratifiedGroupKFold

from clearmargin.allotment import allot, class_totals

FRACTIONS = (0.8, 0.1, 0.1)


def random_groups(kind, groups, classes, rng):
    """Images of each class in each group, in the manner of patients with slices."""
    if kind == "one class each":
        table = np.zeros((groups, classes), dtype=np.int64)
        table[np.arange(groups), rng.integers(classes, size=groups)] = rng.integers(1, 30, size=groups)
    else:
        scale = rng.gamma(1, 3, size=(groups, 1)) if kind == "mixed" else rng.lognormal(1, 1, size=(groups, 1))
        table = rng.poisson(scale * rng.dirichlet([0.4] * classes, size=groups))
    return table[table.sum(axis=1) > 0]


def deviation(table, parts):
    """Sum over parts and classes of the squared relative deviation from the images asked for."""
    target = np.array(FRACTIONS)[:, None] * table.sum(axis=0)
    return float((((class_totals(csr_array(table), parts, 3) - target) / target) ** 2).sum())


def by_stratified_group_k_fold(table, seed):
    group, label = (np.repeat(index, table.ravel()) for index in (i.ravel() for i in np.indices(table.shape)))
    parts = np.zeros(len(table), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of fewer than ten images
        folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed).split(label, label, group)
        for part, (_, rows) in zip((2, 1), folds, strict=False):
            parts[np.unique(group[rows])] = part
    return parts


@pytest.mark.parametrize("kind", ["one class each", "mixed", "few large"])
def test_fractions_are_met_no_worse_than_by_stratified_group_k_fold(kind):
    ours, theirs = [], []
    for seed in range(8):
        for groups, classes in ((40, 2), (60, 4), (120, 4)):
            rng = np.random.default_rng(seed)
            table = random_groups(kind, groups, classes, rng)
            ours.append(deviation(table, allot(csr_array(table), FRACTIONS, rng)))
            theirs.append(deviation(table, by_stratified_group_k_fold(table, seed)))
    assert np.mean(ours) <= np.mean(theirs)


def test_large_patients_come_to_the_test_part_as_often_as_the_fraction_says():
    table = random_groups("mixed", 40, 2, np.random.default_rng(1))
    table = np.vstack([table, [[table.sum() // 8] * 2]])  # one patient with a fifth of all images: two test parts
    sizes = table.sum(axis=1)
    draws = 400
    tested = np.zeros(len(table))
    validated = np.zeros(len(table))
    for seed in range(draws):
        parts = allot(csr_array(table), FRACTIONS, np.random.default_rng(seed))
        tested += parts == 2
        validated += parts == 1
    large = sizes > np.median(sizes)
    tolerance = 3.5 * np.sqrt(0.1 * 0.9 / draws)  # of a binomial share: about 5 points, for a dozen large patients
    for share in (tested / draws, validated / draws):
        assert np.abs(share[large] - 0.1).max() < tolerance
        assert share[large].mean() == pytest.approx(0.1, abs=0.02)
        assert share.min() > 0.02  # nobody is shut out
        assert share.max() < 0.4  # small ones fill up what large ones leave


def test_groups_of_one_kind_have_equal_chances():
    table = np.repeat(np.eye(2, dtype=np.int64), 15, axis=0)
    tested = np.zeros(30)
    for seed in range(400):
        tested += allot(csr_array(table), FRACTIONS, np.random.default_rng(seed)) == 2
    assert np.abs(tested / 400 - 0.1).max() < 4 * np.sqrt(0.09 / 400)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 3), st.integers(2, 4))
def test_kinds_are_divided_to_the_next_whole_number(members, seed, n_parts):
    # Kinds that share no class: nothing to mend, so that only the rounding shows.
    members = [max(number, n_parts) * n_parts for number in members]
    table = np.repeat(np.diag(np.arange(1, len(members) + 1)), members, axis=0)
    fractions = np.full(n_parts, 1 / n_parts)
    parts = allot(csr_array(table), fractions, np.random.default_rng(seed))
    held = class_totals(csr_array((table > 0).astype(np.int64)), parts, n_parts)
    assert (held == np.array(members) // n_parts).all()


def test_many_classes_and_many_kinds_stay_quick_and_near():
    rng = np.random.default_rng(0)
    table = random_groups("few large", 3000, 60, rng)
    table = table[:, table.sum(axis=0) > 0]
    parts = allot(csr_array(table), FRACTIONS, rng)
    totals = class_totals(csr_array(table), parts, 3).sum(axis=1) / table.sum()
    assert totals == pytest.approx(FRACTIONS, abs=0.01)


def test_a_class_asked_for_less_than_one_group_still_gets_one():
    table = np.repeat(np.eye(2, dtype=np.int64), [3, 500], axis=0)
    for seed in range(10):
        parts = allot(csr_array(table), (0.98, 0.01, 0.01), np.random.default_rng(seed))
        assert sorted(parts[:3]) == [0, 1, 2]
