"""Estimates survive the file: every digit, and every hostile name."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.errors import RunFolderError, WorkError
from clearmargin.evaluation import read_estimates, write_estimates
from clearmargin.records import Estimates

HOSTILE = ("NA", "1", "nan", "", "a,b", "two\nlines", 'say "no"', "=HYPERLINK(1)", "'quoted", "-", " space ", "гліома")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def estimates_of(targets, values, names=None, groups=None):
    rows = range(len(targets))
    return Estimates(
        names=np.array([f"row {i}" for i in rows] if names is None else names, dtype=object),
        targets=np.asarray(targets, dtype=np.float64),
        groups=np.array([f"g{i}" for i in rows] if groups is None else groups, dtype=object),
        values=np.asarray(values, dtype=np.float64),
    )


def test_round_trip_with_hostile_names(tmp_path):
    n = len(HOSTILE)
    rng = np.random.default_rng(0)
    written = {
        "validation": estimates_of(rng.normal(size=n), rng.normal(size=n), HOSTILE, HOSTILE[::-1]),
        "test": estimates_of(rng.normal(size=n) * 1e9, rng.normal(size=n) * 1e-9, HOSTILE, HOSTILE),
    }
    write_estimates(tmp_path / "predictions.csv", written)
    read = read_estimates(tmp_path / "predictions.csv")
    assert list(read) == ["validation", "test"]
    for part in written:
        for column in ("names", "groups", "targets", "values"):
            assert getattr(read[part], column).tolist() == getattr(written[part], column).tolist()
        assert read[part].names.dtype == read[part].groups.dtype == object
        assert read[part].targets.dtype == read[part].values.dtype == np.float64


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_every_float_comes_back_bit_for_bit(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("any") / "predictions.csv"
    targets, values = np.array(pairs, dtype=np.float64).T
    write_estimates(path, {"test": estimates_of(targets, values)})
    read = read_estimates(path)["test"]
    assert read.targets.tobytes() == targets.tobytes()
    assert read.values.tobytes() == values.tobytes()


def test_layout(tmp_path):
    path = tmp_path / "predictions.csv"
    write_estimates(path, {"test": estimates_of([24.0, -1.5], [23.25, 0.1], ["a", "=b"], [None, "x"])})
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["part", "name", "target", "group", "predicted"],
        ["test", "a", "24.0", "", "23.25"],
        ["test", "'=b", "-1.5", "x", "0.1"],
    ]
    assert read_estimates(path)["test"].groups.tolist() == ["", "x"]


def test_an_empty_part_leaves_no_rows(tmp_path):
    path = tmp_path / "predictions.csv"
    write_estimates(path, {"validation": estimates_of([], []), "test": estimates_of([1], [2])})
    assert list(read_estimates(path)) == ["test"]


@pytest.mark.parametrize(("targets", "values", "message"), [
    ([1.0, 2.0], [0.5, np.nan], "estimates of the test part in predictions.csv must be finite numbers, got nan"),
    ([1.0, 2.0], [np.inf, 0.5], "got inf for 'row 0'.*lower learning rate"),
    ([1.0, np.nan], [0.5, 0.5], "targets of the test part.*Leave out rows without a target"),
])  # fmt: skip
def test_what_is_not_a_number_is_not_written(tmp_path, targets, values, message):
    with pytest.raises(WorkError, match=message):
        write_estimates(tmp_path / "predictions.csv", {"test": estimates_of(targets, values)})
    assert not list(tmp_path.iterdir())


def test_no_part_is_not_written(tmp_path):
    with pytest.raises(WorkError, match="nothing to write to predictions"):
        write_estimates(tmp_path / "predictions.csv", {})


HEADER = "part,name,target,group,predicted\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not a table"),
        ("\x00\x01", "expected the columns part, name"),
        ("name,target\nx,1\n", "expected the columns part, name"),
        ("part,name,label,group,predicted,P(a)\n", "expected the columns part, name"),
        (HEADER + "test,x,much,,1\n", "its column 'target' holds what is not a number"),
        (HEADER + "test,x,1,,\n", "its column 'predicted' holds what is not a number"),
        (HEADER + "test,x,1\n", "its column 'predicted' holds what is not a number"),
        (HEADER + "test,x,1,,1_0\n", "its column 'predicted' holds what is not a number"),
        (HEADER + "test,x,1,,2\ntest,y,1,,inf\n", "'predicted' of its row 2 is not finite"),
        (HEADER + "exam,x,1,,1\n", r"parts must be among train, validation, test, got \['exam'\]"),
        (HEADER + "test,x,1,,1,1\n", "damaged"),
        (HEADER + 'test,"x', "is not a table"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "predictions.csv"
    path.write_text(content)
    with pytest.raises(RunFolderError, match=reason):
        read_estimates(path)


def test_bytes_that_are_no_table_are_refused(tmp_path):
    (tmp_path / "predictions.csv").write_bytes(bytes(range(128, 256)) * 3)
    with pytest.raises(RunFolderError, match=r"predictions\.csv in .* is damaged"):
        read_estimates(tmp_path / "predictions.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"Could not read predictions\.csv in .*No such file"):
        read_estimates(tmp_path / "predictions.csv")
