"""What can't be compared is refused, with the row and the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clearmargin.errors import UsageError, WorkError
from clearmargin.evaluation.alignment import align


@pytest.fixture
def predictions(predictions_of, simulate):
    return predictions_of(*simulate(np.random.default_rng(0), 6, 2))


def _with(predictions, column, row, value):
    changed = getattr(predictions, column).copy()
    changed[row] = value
    return replace(predictions, **{column: changed})


def test_labels_and_groups_become_numbers(predictions_of):
    aligned = align({"one": predictions_of([1, 0, 1], [[0.5, 0.5]] * 3, groups=["p", "q", "p"])})
    np.testing.assert_array_equal(aligned.truth, [1, 0, 1])
    np.testing.assert_array_equal(aligned.units, [0, 1, 0])
    assert aligned.n_units == 2
    assert aligned.clustered


@pytest.mark.parametrize("nothing", [None, "", float("nan"), pd.NA])
def test_samples_without_a_group_are_alone(predictions, nothing):
    groups = np.array([nothing] * 6, dtype=object)
    aligned = align({name: replace(predictions, groups=groups.copy()) for name in ("one", "two")})
    assert aligned.n_units == 6
    assert not aligned.clustered


def test_nothing_to_evaluate(predictions):
    with pytest.raises(UsageError, match="no contender"):
        align({})
    empty = np.empty(0, dtype=object)
    with pytest.raises(UsageError, match="this part is empty"):
        align({"one": replace(predictions, names=empty, labels=empty, groups=empty, probabilities=np.empty((0, 2)))})


@pytest.mark.parametrize(
    ("column", "value"), [("names", "other.png"), ("labels", "class 9"), ("groups", "someone else")]
)
def test_other_samples_are_refused(predictions, column, value):
    with pytest.raises(UsageError, match=rf"'one' and 'two' .* their {column} differ in 1 row\(s\), first in row 2"):
        align({"one": predictions, "two": _with(predictions, column, 2, value)})


def test_another_order_is_refused(predictions):
    turned = replace(
        predictions,
        names=predictions.names[::-1],
        labels=predictions.labels[::-1],
        groups=predictions.groups[::-1],
        probabilities=predictions.probabilities[::-1],
    )
    with pytest.raises(UsageError, match="same samples in the same order"):
        align({"one": predictions, "two": turned})


def test_another_number_of_samples_is_refused(predictions):
    fewer = replace(
        predictions,
        names=predictions.names[:5],
        labels=predictions.labels[:5],
        groups=predictions.groups[:5],
        probabilities=predictions.probabilities[:5],
    )
    with pytest.raises(UsageError, match="got 6 and 5 names"):
        align({"one": predictions, "two": fewer})


def test_other_classes_are_refused(predictions):
    with pytest.raises(UsageError, match="same classes in the same order"):
        align({"one": predictions, "two": replace(predictions, classes=("class 1", "class 0"))})
    with pytest.raises(UsageError, match="'class 0' more than once"):
        align({"one": replace(predictions, classes=("class 0", "class 0"))})
    with pytest.raises(UsageError, match="unknown class"):
        align({"one": replace(predictions, classes=("class 0", "class 7"))})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_numbers_that_are_no_probabilities_are_refused(predictions, bad):
    with pytest.raises(WorkError, match=r"'one' must be finite numbers from 0 to 1, .* for 'images/3\.png'"):
        align({"one": _with(predictions, "probabilities", 3, [bad, 1 - bad])})


def test_sums_and_shapes_are_checked(predictions):
    with pytest.raises(WorkError, match=r"sum to one for each sample \(to 1e-06\), got 1\.00001 for 'images/3\.png'"):
        align({"one": _with(predictions, "probabilities", 3, [0.5, 0.50001])})
    align({"one": _with(predictions, "probabilities", 3, [0.5, 0.5000005])})
    with pytest.raises(WorkError, match=r"must have shape \(6, 2\)"):
        align({"one": replace(predictions, probabilities=np.ones((6, 3)) / 3)})
