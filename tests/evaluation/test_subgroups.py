"""Subgroups: planted gaps are found, no gap is seldom taken for one, and small groups are not shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from clearmargin.evaluation.alignment import align
from clearmargin.evaluation.intervals import share_figure
from clearmargin.evaluation.subgroup_values import FEWEST_SAMPLES, column_values, without_differences
from clearmargin.evaluation.subgroups import newcombe, permutation_p, subgroups


@pytest.fixture
def answering(predictions_of):
    """A contender of two classes that is right where ``right`` says."""

    def make(right, groups=None):
        truth = np.arange(len(right)) % 2
        answers = np.where(right, truth, 1 - truth)
        return align({"one": predictions_of(truth, np.eye(2)[answers], groups=groups)})

    return make


def _found(aligned, columns, resamples=300, seed=0):
    return subgroups(aligned, columns, confidence=0.95, resamples=resamples, seed=seed)


def _p_values(found, key="p_holm"):
    return [value["contenders"]["one"][key] for column in found for value in column["values"] if value["contenders"]]


def test_a_planted_gap_is_found_among_columns_without_one(answering):
    rng = np.random.default_rng(0)
    n = 400
    sex, scanner = rng.choice(["female", "male"], n), rng.choice(["A", "B", "C"], n)
    right = rng.random(n) < np.where(scanner == "C", 0.6, 0.9)
    found = _found(answering(right), {"sex": list(sex), "scanner": list(scanner)})
    json.dumps(found, allow_nan=False)
    assert [(one["column"], one["kind"]) for one in found] == [("sex", "as given"), ("scanner", "as given")]
    figures = {value["value"]: value["contenders"]["one"] for one in found for value in one["values"]}
    planted = figures["C"]
    assert planted["p_holm"] < 0.001
    inside = scanner == "C"
    assert planted["gap"]["value"] == pytest.approx(right[inside].mean() - right[~inside].mean())
    assert planted["gap"]["low"] < planted["gap"]["value"] < planted["gap"]["high"] < 0
    assert planted["accuracy"]["value"] == pytest.approx(right[inside].mean())
    assert planted["accuracy"]["method"] == "Wilson score"
    assert planted["p_method"] == "Fisher's exact test"
    assert min(figures[value]["p_holm"] for value in ("female", "male")) > 0.05


@pytest.mark.parametrize(
    ("mixed", "method"), [(False, "permutation of whole groups"), (True, "sign flips over groups")]
)
def test_a_planted_gap_over_groups(answering, mixed, method):
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(80), 6)
    site = rng.choice(["north", "south"], groups.size if mixed else 80)
    site = site if mixed else site[groups]
    right = rng.random(groups.size) < np.where(site == "north", 0.95, 0.7)
    (column,) = _found(answering(right, groups), {"site": list(site)})
    north = column["values"][0]
    assert north["value"] == "north"
    assert north["groups"] == len(np.unique(groups[site == "north"]))
    said = north["contenders"]["one"]
    assert said["p_method"] == method
    assert said["p_holm"] < 0.02
    assert said["gap"]["low"] > 0
    assert said["gap"]["method"] == "Newcombe"
    assert said["differs"]


@pytest.mark.parametrize("kind", ["independent", "constant", "mixed"])
def test_no_gap_is_taken_for_one_in_at_most_one_study_of_twenty(answering, kind):
    """Family-wise: any of the values of two columns. Longer: benchmarks/coverage.py."""
    rng = np.random.default_rng(2)
    studies, n, false = 120, 200, 0
    groups = np.arange(n) if kind == "independent" else np.repeat(np.arange(40), 5)
    for seed in range(studies):
        skill = np.full(n, 0.85) if kind == "independent" else rng.beta(1.7, 0.3, 40)[groups]
        right = rng.random(n) < skill
        columns = {}
        for values in ("ab", "abc"):
            drawn = rng.choice(list(values), n)
            columns[values] = list(drawn[groups] if kind == "constant" else drawn)  # of a group, its first draws
        false += min(_p_values(_found(answering(right, groups), columns, 200, seed))) < 0.05
    assert false <= 0.05 * studies + 2 * np.sqrt(0.05 * 0.95 * studies)


def test_all_contenders_are_one_family(predictions_of):
    """Six contenders, no gap: any of them with one in at most one study of twenty."""
    rng = np.random.default_rng(4)
    studies, false, alone = 80, 0, 0
    groups, truth = np.repeat(np.arange(40), 5), np.arange(200) % 2
    for seed in range(studies):
        contenders = {
            f"model {k}": predictions_of(
                truth, np.eye(2)[np.where(rng.random(200) < rng.beta(1.7, 0.3, 40)[groups], truth, 1 - truth)], groups
            )
            for k in range(6)
        }
        sites = rng.choice(list("abc"), 40)[groups]
        (column,) = _found(align(contenders), {"site": list(sites)}, 200, seed)
        told = [value["contenders"][name] for value in column["values"] for name in value["contenders"]]
        false += min(one["p_holm"] for one in told) < 0.05
        alone += min(one["p_value"] for one in told) < 0.05 / 3
    assert false <= 0.05 * studies + 2 * np.sqrt(0.05 * 0.95 * studies)
    assert alone > 0.1 * studies  # what Holm for each contender lets through, at the least


@pytest.mark.parametrize("group_size", [1, 4])
def test_both_values_of_a_column_are_one_test(predictions_of, group_size):
    rng = np.random.default_rng(3)
    groups, truth = np.arange(240) // group_size, np.arange(240) % 2
    sex = rng.choice(["female", "male"], 240)[groups * group_size]
    contenders = {
        name: predictions_of(truth, np.eye(2)[np.where(rng.random(240) < skill, truth, 1 - truth)], groups)
        for name, skill in (("one", np.where(sex == "male", 0.95, 0.8)), ("other", 0.9))
    }
    (column,) = _found(align(contenders), {"sex": list(sex)})
    female, male = (value["contenders"] for value in column["values"])
    assert all(female[name]["p_value"] == male[name]["p_value"] for name in contenders)
    assert female["one"]["gap"]["value"] == pytest.approx(-male["one"]["gap"]["value"])
    smallest = min((female[name] for name in contenders), key=lambda one: one["p_value"])
    assert smallest["p_holm"] == pytest.approx(2 * smallest["p_value"])  # of two contenders, not four


@pytest.mark.parametrize(("right", "others"), [((7, 10), (80, 90)), ((0, 12), (30, 30)), ((45, 50), (45, 50))])
def test_newcombes_interval_equals_statsmodels(right, others):
    (a, n), (b, m) = right, others
    expected = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    sides = [share_figure(np.arange(of) < hits, np.arange(of), 0.95, clustered=False) for hits, of in (right, others)]
    found = newcombe(*sides)
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-9)


def test_a_side_without_an_interval_leaves_the_gap_without_one():
    known = {"value": 0.5, "low": 0.4, "high": 0.6, "method": "Wilson score"}
    unknown = {"value": 0.7, "low": None, "high": None, "method": "no interval: a single group"}
    for pair in ((known, unknown), (unknown, known)):
        found = newcombe(*pair)
        assert (found["low"], found["high"], found["method"]) == (None, None, "no interval: a single group")


@pytest.mark.parametrize(("inside", "outside", "alike"), [((5, 10), (100, 10), 0.3), ((6, 20), (60, 20), 0.5)])
def test_a_value_of_few_groups_seldom_differs_by_chance(answering, inside, outside, alike):
    """The permutation alone is too hopeful where groups of the value are less alike or of another size."""
    rng, studies, differs = np.random.default_rng(6), 150, 0
    groups = np.repeat(np.arange(inside[0] + outside[0]), [inside[1]] * inside[0] + [outside[1]] * outside[0])
    cells = list(np.where(groups < inside[0], "rare", "common"))
    few = np.arange(inside[0] + outside[0]) < inside[0]
    rho = np.where(few, 0.8, alike)
    for seed in range(studies):
        skill = rng.beta(0.9 * (1 - rho) / rho, 0.1 * (1 - rho) / rho)
        (column,) = _found(answering(rng.random(groups.size) < skill[groups], groups), {"kind": cells}, 100, seed)
        differs += column["values"][0]["contenders"]["one"]["differs"]
    assert differs <= 0.05 * studies + 2 * np.sqrt(0.05 * 0.95 * studies)


def test_permutations_approach_the_full_enumeration():
    from itertools import combinations

    hits, sizes = np.array([1.0, 2, 3, 0, 4, 2, 5, 1]), np.array([2.0, 3, 3, 2, 4, 5, 6, 3])
    chosen = np.isin(np.arange(8), [2, 4, 6])

    def gap(rows):
        inside = np.isin(np.arange(8), rows)
        return abs(hits[inside].sum() / sizes[inside].sum() - hits[~inside].sum() / sizes[~inside].sum())

    every = [gap(rows) for rows in combinations(range(8), 3)]
    exact = np.mean([one >= gap([2, 4, 6]) - 1e-12 for one in every])
    assert permutation_p(hits, sizes, chosen, 20_000, 0) == pytest.approx(exact, abs=0.01)


def test_numbers_of_many_values_are_cut_into_tertiles():
    cells = [str(age) for age in range(30, 90)] + ["", None, "nan"] * 5
    kind, values = column_values(cells, np.arange(len(cells)))
    assert kind == "tertiles"
    assert [(value.name, value.n) for value in values] == [
        ("up to 49.6667", 20),
        ("above 49.6667, up to 69.3333", 20),
        ("above 69.3333", 20),
        ("not stated", 15),
    ]
    assert column_values(["1.5", "3"] * 20, np.arange(40))[0] == "as given"
    assert column_values([str(age) for age in range(30, 90)] + ["old"], np.arange(61))[0] == "as given"


def test_small_values_are_not_shown_nor_given_away(answering):
    cells = ["a"] * 60 + ["b"] * 30 + ["c"] * 9
    (column,) = _found(answering(np.arange(99) % 5 > 0), {"site": cells})
    told = {value["value"]: value for value in column["values"]}
    assert {name: value["suppressed"] for name, value in told.items()} == {"a": False, "b": True, "c": True}
    assert told["c"] == {"value": "c", "n": None, "groups": None, "suppressed": True, "contenders": {}}
    assert told["a"]["n"] == 60
    (column,) = _found(answering(np.arange(99) % 5 > 0), {"sex": ["f"] * 94 + ["m"] * 5})
    assert all(value["suppressed"] for value in column["values"])


def test_a_value_of_few_patients_is_small_however_many_slices(answering):
    groups = np.repeat(np.arange(20), 10)
    cells = np.where(groups < 4, "rare", np.where(groups < 11, "some", "many"))
    (column,) = _found(answering(np.arange(200) % 5 > 0, groups), {"kind": list(cells)})
    assert [value["value"] for value in column["values"] if value["suppressed"]] == ["rare", "some"]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_what_is_hidden_is_never_one_value_alone_nor_small_together(sizes):
    cells = [f"value {k}" for k, size in enumerate(sizes) for _ in range(size)]
    if not cells:
        return
    _, values = column_values(cells, np.arange(len(cells)))
    hidden = [value.n for value in values if value.suppressed]
    assert all(value.n >= FEWEST_SAMPLES for value in values if not value.suppressed)
    if hidden and len(hidden) < len(values):
        assert len(hidden) >= 2
        assert sum(hidden) >= FEWEST_SAMPLES


def test_nothing_hidden_follows_from_another_column(answering):
    """Three of site X are region E less site Z: either column alone may be shown."""
    sites = ["X"] * 3 + ["Y"] * 12 + ["Z"] * 85
    regions = ["E"] * 3 + ["W"] * 12 + ["E"] * 85
    aligned = answering(np.arange(100) % 5 > 0)
    (alone,) = _found(aligned, {"site": sites})
    assert {value["value"]: value["suppressed"] for value in alone["values"]} == {"X": True, "Y": True, "Z": False}
    site, region = _found(aligned, {"site": sites, "region": regions})
    assert all(value["suppressed"] for value in site["values"])
    assert not any(value["suppressed"] for value in region["values"])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("uvw"), st.integers(1, 30)), min_size=1, max_size=8))
def test_no_shown_value_less_shown_values_of_another_column_is_small(blocks):
    everyone = np.arange(sum(block[2] for block in blocks))
    columns = {
        name: column_values([block[k] for block in blocks for _ in range(block[2])], everyone)[1]
        for k, name in enumerate(("first", "second"))
    }
    found = without_differences(columns, everyone)
    assert all(value.suppressed for name in columns for value in columns[name] if value.n < FEWEST_SAMPLES)
    for one, other in (("first", "second"), ("second", "first")):
        shown = [value.member for value in found[other] if not value.suppressed]
        for value in found[one]:
            for side in (value.member, ~value.member):
                inside = [member for member in shown if (member <= side).all()]
                if inside and not value.suppressed:
                    assert not 0 < (side & ~np.any(inside, axis=0)).sum() < FEWEST_SAMPLES


def test_a_gap_of_a_value_of_few_groups_is_still_found(answering):
    groups = np.repeat(np.arange(70), 10)
    rare = groups < 10
    right = np.where(rare, np.arange(700) % 10 < 4, np.arange(700) % 10 > 0)
    (column,) = _found(answering(right, groups), {"kind": list(np.where(rare, "rare", "common"))})
    assert all(value["contenders"]["one"]["differs"] for value in column["values"])


def test_odd_columns_do_not_break(answering):
    aligned = answering(np.arange(60) % 5 > 0)
    everyone = ["<img src=x>=\n🧠"] * 60
    found = _found(aligned, {"same": everyone, "empty": [None] * 60, "own": [f"id {k}" for k in range(60)]})
    assert [value["value"] for value in found[0]["values"]] == ["<img src=x>=\n🧠"]
    assert found[0]["values"][0]["contenders"] == {}  # nothing is left to compare with
    assert [value["value"] for value in found[1]["values"]] == ["not stated"]
    assert all(value["suppressed"] for value in found[2]["values"])
    json.dumps(found, allow_nan=False)
