"""Predictions survive the file: every digit, and every hostile name."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.errors import RunFolderError, WorkError
from clearmargin.evaluation import read_predictions, write_predictions
from clearmargin.records import Predictions

HOSTILE = (
    "NA",
    "1",
    "True",
    "nan",
    "P(x)",
    "",
    "a,b",
    "two\nlines",
    'say "no"',
    "=HYPERLINK(1)",
    "'quoted",
    "-",
    " space ",
    "<img onerror=x>",
    "гліома",
    "part",
)


def _predictions(rng, n, classes=HOSTILE):
    classes = tuple(classes)
    odds = rng.exponential(size=(n, len(classes))) ** 8
    pick = rng.integers(0, len(classes), n)
    return Predictions(
        names=np.array([f"{classes[k]}/{i}" for i, k in enumerate(pick)], dtype=object),
        labels=np.array([classes[k] for k in pick], dtype=object),
        groups=np.array([classes[k - 1] for k in pick], dtype=object),
        classes=classes,
        probabilities=odds / odds.sum(axis=1, keepdims=True),
    )


def _same(one, other):
    assert one.classes == other.classes
    for column in ("names", "labels", "groups"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist()
        assert getattr(other, column).dtype == object
    assert other.probabilities.dtype == np.float64
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_round_trip_with_hostile_names(tmp_path):
    rng = np.random.default_rng(0)
    written = {"validation": _predictions(rng, 40), "test": _predictions(rng, 60)}
    write_predictions(tmp_path / "predictions.csv", written)
    read = read_predictions(tmp_path / "predictions.csv")
    assert list(read) == ["validation", "test"]
    for part in written:
        _same(written[part], read[part])


@settings(max_examples=40, deadline=None)
@given(
    classes=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=6),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    seed=st.integers(0, 1000),
)
def test_round_trip_of_any_class_name(tmp_path_factory, classes, seed):
    path = tmp_path_factory.mktemp("any") / "predictions.csv"
    written = _predictions(np.random.default_rng(seed), 5, classes)
    write_predictions(path, {"test": written})
    _same(written, read_predictions(path)["test"])


def test_layout(tmp_path, predictions_of):
    path = tmp_path / "predictions.csv"
    predictions = predictions_of([1, 0], [[0.25, 0.75], [0.1, 0.9]], classes=("NA", "glioma"))
    write_predictions(path, {"test": predictions})
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["part", "name", "label", "group", "predicted", "P(NA)", "P(glioma)"],
        ["test", "images/0.png", "glioma", "group 0", "glioma", "0.25", "0.75"],
        ["test", "images/1.png", "NA", "group 1", "glioma", "0.1", "0.9"],
    ]


def test_certain_answers_and_missing_groups(tmp_path, predictions_of):
    path = tmp_path / "predictions.csv"
    predictions = predictions_of([1, 0], [[0, 1], [1, 0]])
    predictions.groups[:] = None
    write_predictions(path, {"test": predictions})
    read = read_predictions(path)["test"]
    assert read.groups.tolist() == ["", ""]
    np.testing.assert_array_equal(read.probabilities, [[0.0, 1.0], [1.0, 0.0]])


def test_an_empty_part_leaves_no_rows(tmp_path, predictions_of):
    path = tmp_path / "predictions.csv"
    full, empty = predictions_of([0], [[0.9, 0.1]]), predictions_of([], np.empty((0, 2)))
    write_predictions(path, {"validation": empty, "test": full})
    assert list(read_predictions(path)) == ["test"]
    write_predictions(path, {"test": empty})
    assert read_predictions(path) == {}


def test_parts_must_agree_on_the_classes(tmp_path, predictions_of):
    one = predictions_of([0], [[0.9, 0.1]])
    other = predictions_of([0], [[0.9, 0.1]], classes=("a", "b"))
    with pytest.raises(WorkError, match=r"2 part\(s\) with 2 list\(s\) of classes"):
        write_predictions(tmp_path / "predictions.csv", {"validation": one, "test": other})
    with pytest.raises(WorkError, match=r"got 0 part\(s\)"):
        write_predictions(tmp_path / "predictions.csv", {})
    assert not list(tmp_path.iterdir())


HEADER = "part,name,label,group,predicted,P(a),P(b)\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not a table"),
        ("\x00\x01", "expected the columns part, name"),
        ("name,label\nx,a\n", "expected the columns part, name"),
        ("part,name,label,group,predicted\n", "expected the columns part, name"),
        ("part,name,label,group,predicted,P(a),P(a)\ntest,x,a,,a,0.5,0.5\n", "expected the columns part, name"),
        (HEADER + "test,x,a,,a,much,0.5\n", "a probability is not a number"),
        (HEADER + "test,x,a,,a,0.5,\n", "a probability is"),
        (HEADER + "test,x,a,,a,0.5\n", "a probability is"),
        (HEADER + "test,x,a,,a,inf,0.5\n", "not finite"),
        (HEADER + "test,x,a,,a,0.8,0.1\n", "the probabilities of its row 1 don't sum to one"),
        (HEADER + "exam,x,a,,a,0.8,0.2\n", r"parts must be among train, validation, test, got \['exam'\]"),
        (HEADER + "test,x,a,,b,0.8,0.2\n", "'x' is predicted 'b', but its highest probability is for 'a'"),
        (HEADER + "test,x,a,,a,0.8,0.2,0.3\n", "damaged"),
        (HEADER + 'test,"x', "is not a table"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "predictions.csv"
    path.write_text(content)
    with pytest.raises(RunFolderError, match=reason):
        read_predictions(path)


def test_bytes_that_are_no_table_are_refused(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_bytes(bytes(range(128, 256)) * 3)
    with pytest.raises(RunFolderError, match=r"predictions\.csv in .* is damaged"):
        read_predictions(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"Could not read predictions\.csv in .*No such file"):
        read_predictions(tmp_path / "predictions.csv")
