"""The random-label control of one split: at chance when it is clean, above when it leaks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clearmargin.features import Features
from clearmargin.leakage.own_split import split_control
from clearmargin.records import Sample, Split


def silent(*_):
    return None


def material(rng, *, patients=60, slices=4, classes=3, crossing=0, width=100):
    """Images of patients who are alike inside and differ from each other; ``crossing`` patients are on both sides."""
    n = patients * slices
    patient = np.repeat(np.arange(patients), slices)
    values = rng.normal(size=(patients, width))[patient] + 0.3 * rng.normal(size=(n, width))
    parts = np.where(patient < 0.7 * patients, "train", np.where(patient < 0.8 * patients, "validation", "test"))
    parts = parts.astype(object)
    tested = np.flatnonzero(parts == "test")
    swapped = tested[np.isin(patient[tested], np.unique(patient[tested])[:crossing])][1::2]
    parts[swapped] = "train"
    names = np.array([f"{row:04d}" for row in range(n)], dtype=object)
    labels = np.array([f"class {k % classes}" for k in patient], dtype=object)
    groups = np.array([f"p{k}" for k in patient], dtype=object)
    samples = [Sample(name, label, group) for name, label, group in zip(names, labels, groups, strict=True)]
    split = Split(names, labels, groups, parts, (0.7, 0.1, 0.2), True)
    return split, samples, groups, Features(values.astype(np.float32), "made up")


def test_a_clean_split_is_at_chance():
    found = split_control(*material(np.random.default_rng(0)), seed=0, progress=silent)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["holds"] is True
    assert found["reason"] is None
    assert found["chance"] == pytest.approx(1 / 3, abs=0.04)
    assert found["accuracy"]["low"] <= found["chance"] <= found["accuracy"]["high"]
    assert (found["learned"], found["tested"], found["crossing"]) == (192, 48, 0)


def test_a_leaky_split_fails():
    found = split_control(*material(np.random.default_rng(0), crossing=6), seed=0, progress=silent)
    assert found["crossing"] == 6
    assert found["holds"] is False
    assert found["accuracy"]["low"] > found["chance"]


def test_clean_splits_fail_no_more_often_than_promised():
    failed = [
        not split_control(
            *material(np.random.default_rng(k), patients=30, slices=3, width=30), seed=k, progress=silent
        )["holds"]
        for k in range(24)
    ]
    assert sum(failed) <= 2  # 0.5 % are promised: more than 2 of 24 would come once in 4,000 times


def test_what_was_left_out_of_the_split_takes_no_part():
    split, samples, groups, features = material(np.random.default_rng(1))
    rows = np.arange(0, len(samples), 2)
    some = Split(*(each[rows] for each in (split.names, split.labels, split.groups, split.parts)), split.asked, True)
    whole = split_control(some, samples, groups, features, seed=3, progress=silent)
    few = [samples[row] for row in rows]
    assert whole == split_control(
        some, few, groups[rows], Features(features.values[rows], features.name), seed=3, progress=silent
    )


def test_many_classes_make_ten_labels_and_one_class_two():
    many = split_control(*material(np.random.default_rng(2), classes=60), seed=0, progress=silent)
    assert (many["labels"], many["holds"]) == (10, True)
    one = split_control(*material(np.random.default_rng(2), classes=1), seed=0, progress=silent)
    assert (one["labels"], one["holds"]) == (2, True)


def test_with_few_groups_it_says_that_there_is_none():
    found = split_control(*material(np.random.default_rng(3), patients=10), seed=0, progress=silent)
    assert found["holds"] is None
    assert found["accuracy"] is None
    assert found["reason"] == "there are only 2 groups to test, 5 are needed"


def test_large_sets_are_drawn_by_whole_groups(monkeypatch):
    monkeypatch.setattr("clearmargin.leakage.own_split.MOST_TAUGHT", 120)
    found = split_control(*material(np.random.default_rng(4)), seed=0, progress=silent)
    assert found["learned"] + found["tested"] == 120


def test_an_accuracy_of_exactly_chance_is_not_above_it_by_the_last_bit(monkeypatch):
    def a_bit_less(truth, said):
        return float(np.nextafter((truth == said).mean(), 0))

    monkeypatch.setattr("clearmargin.leakage.own_split.agreement_by_chance", a_bit_less)
    found = split_control(*material(np.random.default_rng(0)), seed=0, progress=silent)
    assert found["accuracy"]["value"] > found["chance"]
    assert found["accuracy"]["low"] == pytest.approx(found["chance"], abs=1e-12)
    assert found["holds"] is True
