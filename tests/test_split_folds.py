"""Folds: every sample tested once, groups whole, classes at least as even as scikit-learn makes them."""

import warnings
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.model_selection import StratifiedGroupKFold

from clearmargin.allotment import class_totals
from clearmargin.errors import RecipeError, SourceError
from clearmargin.fold_allotment import allot_folds
from clearmargin.records import PARTS, Sample
from clearmargin.split import check_split, crossing_groups, inner_folds, make_fold, make_folds


@st.composite
def studies(draw, folds):
    """Samples with patients and copies, in which every class has as many untouched groups as there are folds."""
    classes = [f"class {i}" for i in range(draw(st.integers(2, 4)))]
    patients = st.none() | st.sampled_from([f"patient {i}" for i in range(draw(st.integers(1, 9)))])
    loose = draw(st.lists(st.tuples(st.sampled_from(classes), patients), max_size=30))
    samples = [Sample(f"loose {i}", label, patient) for i, (label, patient) in enumerate(loose)]
    clusters = [draw(st.integers(0, 2 * len(loose))) for _ in loose]
    for label in classes:
        for i in range(max(folds, 4)):
            for j in range(draw(st.integers(1, 3))):
                samples.append(Sample(f"{label} {i} {j}", label, f"{label} {i}"))
                clusters.append(1000 + len(samples))
    return samples, np.array(clusters)


STUDIES = st.integers(2, 6).flatmap(lambda folds: st.tuples(st.just(folds), studies(folds)))


def ties(samples, clusters):
    """The members of each patient and of each cluster of copies."""
    together = defaultdict(set)
    for sample, cluster in zip(samples, clusters, strict=True):
        together["cluster", cluster].add(sample.name)
        if sample.group is not None:
            together["patient", sample.group].add(sample.name)
    return together.values()


@settings(max_examples=40, deadline=None)
@given(STUDIES, st.integers(0, 3))
def test_every_sample_is_tested_once_and_nothing_it_is_tied_to_is_learned_from(study, seed):
    folds, (samples, clusters) = study
    made = make_folds(samples, clusters, folds=folds, seed=seed)
    assert [split.fold for split in made] == list(range(1, folds + 1))
    tested = Counter(name for split in made for name in split.names[split.rows("test")])
    assert tested == Counter(sample.name for sample in samples)
    for split in made:
        assert crossing_groups(split) == 0
        part_of = dict(zip(split.names, split.parts, strict=True))
        assert all(len({part_of[name] for name in members}) == 1 for members in ties(samples, clusters))
        held = Counter(zip(split.parts, split.labels, strict=True))
        assert all(held[part, label] for part in PARTS for label in set(split.labels))


@settings(max_examples=20, deadline=None)
@given(STUDIES, st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_folds_in_any_order(study, random):
    folds, (samples, clusters) = study
    order = list(range(len(samples)))
    random.shuffle(order)

    def parts(made):
        return [dict(zip(split.names, zip(split.groups, split.parts, strict=True), strict=True)) for split in made]

    first = make_folds(samples, clusters, folds=folds, seed=3)
    shuffled = make_folds([samples[i] for i in order], clusters[order], folds=folds, seed=3)
    assert parts(first) == parts(shuffled)
    assert parts([make_fold(samples, clusters, folds=folds, fold=2, seed=3)]) == parts(first[1:2])


def test_repeats_are_other_folds_of_the_seeds_that_follow():
    samples = [Sample(f"{label}{i}", label) for label in "ab" for i in range(20)]
    made = make_folds(samples, np.arange(40), folds=4, repeats=2, seed=5)
    assert len(made) == 8
    again = make_folds(samples, np.arange(40), folds=4, seed=6)
    assert [split.parts.tolist() for split in made[4:]] == [split.parts.tolist() for split in again]
    assert made[0].parts.tolist() != made[4].parts.tolist()


def test_the_validation_part_has_its_share_of_what_is_not_tested():
    samples = [Sample(f"{label}{i}", label) for label in "ab" for i in range(200)]
    split = make_folds(samples, np.arange(400), folds=5, fractions=(0.6, 0.3, 0.1))[0]
    assert split.asked == pytest.approx((0.8 * 2 / 3, 0.8 / 3, 0.2))
    assert Counter(split.parts) == {"train": 214, "validation": 106, "test": 80}


@pytest.mark.parametrize("folds", [3, 5])
def test_inner_folds_never_touch_the_test_part(folds):
    rng = np.random.default_rng(0)
    samples = [Sample(f"{i}", "ab"[i % 2], f"P{i // 4}") for i in range(200)]
    copies = np.arange(200)
    copies[rng.integers(200, size=20)] = copies[rng.integers(200, size=20)]
    outer = make_folds(samples, copies, folds=4)[1]
    inner = inner_folds(outer, folds=folds, seed=1)
    assert len(inner) == folds
    validated = Counter()
    for split in inner:
        check_split(split)
        assert (split.rows("test") == outer.rows("test")).all()
        validated.update(split.names[split.rows("validation")])
    assert validated == Counter(outer.names[outer.parts != "test"])


def test_inner_folds_of_a_leaky_split_are_refused():
    samples = [Sample(f"{label}{i}", label) for label in "ab" for i in range(20)]
    split = make_folds(samples, np.arange(40), folds=4)[0]
    groups = split.groups.copy()
    groups[split.rows("test")[0]] = groups[split.rows("train")[0]]
    with pytest.raises(SourceError, match="Groups in more than one part: 1"):
        inner_folds(replace(split, groups=groups, given=True, leaks_accepted=True))


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_of_a_regression_have_every_quartile_in_proportion(grouped):
    rng = np.random.default_rng(0)
    targets = np.sort(rng.lognormal(size=200))
    groups = rng.permutation(np.repeat(np.arange(100), 2))
    samples = [
        Sample(f"row {i}", float(target), f"g{groups[i]}" if grouped else None) for i, target in enumerate(targets)
    ]
    quartile = {sample.name: i // 50 for i, sample in enumerate(samples)}
    for split in make_folds(samples, np.arange(200), folds=5):
        held = Counter(quartile[name] for name in split.names[split.rows("test")])
        assert all(abs(held[q] - 10) <= (2 if grouped else 0) for q in range(4))
        assert crossing_groups(split) == 0


def test_too_few_groups_for_the_folds_are_said_in_words():
    samples = [Sample(f"a{i}", "a") for i in range(20)] + [Sample(f"b{i}", "b", f"P{i % 4}") for i in range(12)]
    with pytest.raises(SourceError, match=r"at least 5 independent groups, for 5 folds: 'b' has 4 \(from 12 images\)"):
        make_folds(samples, np.arange(32), folds=5)
    rows = [Sample(f"{i}", float(i), f"g{i % 3}") for i in range(30)]
    with pytest.raises(SourceError, match=r"at least 4 independent groups for 4 folds, but the 30 rows form only 3"):
        make_folds(rows, np.arange(30), folds=4)
    for folds in (1, 0, -3, 101):
        with pytest.raises(RecipeError, match=f"from 2 to 100, got {folds}"):
            make_folds(samples, np.arange(32), folds=folds)
    with pytest.raises(RecipeError, match="no fold 6 of 5"):
        make_fold(samples, np.arange(32), folds=5, fold=6)


# --- against scikit-learn -----------------------------------------------------------------------------------


def random_counts(rng):
    """Images of each class in each group: patients with one class, or with several, of very different sizes."""
    classes, groups, kind = int(rng.integers(2, 9)), int(rng.integers(30, 300)), rng.integers(3)
    if kind == 0:
        table = np.zeros((groups, classes), dtype=np.int64)
        frequent = rng.choice(classes, groups, p=rng.dirichlet(np.full(classes, 3)))
        table[np.arange(groups), frequent] = rng.integers(1, 30, groups)
    else:
        size = rng.gamma(1, 5, groups) if kind == 1 else rng.lognormal(1, 1.2, groups)
        table = rng.poisson(size[:, None] * rng.dirichlet(np.full(classes, 0.5), groups))
        table[table.sum(axis=1) == 0, 0] = 1
    return table


def deviation(table, fold_of, folds):
    held = class_totals(csr_array(table), fold_of, folds)
    asked = table.sum(axis=0) / folds
    return float(np.sqrt((((held - asked) / asked) ** 2).mean()))


def scikit_folds(table, folds):
    groups, classes = table.shape
    group_of = np.repeat(np.repeat(np.arange(groups), classes), table.ravel())
    label_of = np.repeat(np.tile(np.arange(classes), groups), table.ravel())
    fold_of = np.empty(groups, dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(label_of, label_of, group_of)
        for number, (_, tested) in enumerate(cut):
            fold_of[group_of[tested]] = number
    return fold_of


def test_folds_are_more_even_than_those_of_scikit_learn():
    ours, theirs = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table, folds = random_counts(rng), int(rng.choice([3, 5, 10]))
        if ((table > 0).sum(axis=0) >= folds).all():
            ours.append(deviation(table, allot_folds(csr_array(table), folds, np.random.default_rng(0)), folds))
            theirs.append(deviation(table, scikit_folds(table, folds), folds))
    assert len(ours) > 30
    assert np.mean(ours) < np.mean(theirs)
    assert np.mean(np.array(ours) <= np.array(theirs) + 1e-12) > 0.8


def test_groups_of_one_image_are_dealt_exactly():
    table = np.eye(3, dtype=np.int64)[np.repeat([0, 1, 2], [50, 31, 104])]
    held = class_totals(csr_array(table), allot_folds(csr_array(table), 5, np.random.default_rng(0)), 5)
    assert np.ptp(held, axis=0).max() <= 1
    assert np.ptp(held.sum(axis=1)) <= 1
