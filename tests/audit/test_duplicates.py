import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmargin.audit.duplicates import exact_copies, join_groups


def test_equal_hashes_share_a_number():
    copies = exact_copies(["b", "a", "b", "c"])
    assert copies.tolist() == [0, 1, 0, 2]
    assert copies.dtype == np.int64
    assert exact_copies([]).tolist() == []


def test_groups_join_through_chains():
    patients = np.array([7, 7, 8, 8, 9, 10])
    copies = np.array([0, 1, 1, 2, 2, 3])
    assert join_groups(patients, copies).tolist() == [0, 0, 0, 0, 0, 1]
    assert join_groups(patients).tolist() == [0, 0, 1, 1, 2, 3]
    assert join_groups(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


def test_clusterings_must_be_of_one_length():
    with pytest.raises(ValueError, match=r"one length, got lengths \[2, 3\]"):
        join_groups(np.arange(2), np.arange(3))
    with pytest.raises(ValueError, match=r"got lengths \[\]"):
        join_groups()


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_joined_groups_are_what_repeated_merging_gives(rows):
    clusterings = [np.array([row[i] for row in rows], dtype=np.int64) for i in range(3)]
    merged = list(range(len(rows)))
    for _ in rows:
        for clustering in clusterings:
            for value in set(clustering.tolist()):
                members = [i for i in range(len(rows)) if clustering[i] == value]
                for i in members:
                    merged[i] = min(merged[j] for j in members)
    joined = join_groups(*clusterings)
    assert all((joined[i] == joined[j]) == (merged[i] == merged[j]) for i in range(len(rows)) for j in range(i))
