import json
import time
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.errors import RecipeError, RunFolderError, SourceError
from clearmargin.records import PARTS, Sample, Split
from clearmargin.split import check_split, crossing_groups, make_split, read_split, write_split


def singles(**classes):
    """Samples without patients: so many of each class."""
    return [Sample(f"{name}/{i:05}.png", name) for name, number in classes.items() for i in range(number)]


def alone(samples):
    return np.arange(len(samples))


def counts(split):
    return Counter(zip(split.parts, split.labels, strict=True))


def by_name(split):
    return dict(zip(split.names, zip(split.groups, split.parts, strict=True), strict=True))


@st.composite
def studies(draw):
    """Samples with patients and copies, in which every class has three groups that nothing else touches."""
    classes = [f"class {i}" for i in range(draw(st.integers(2, 4)))]
    patients = st.none() | st.sampled_from([f"patient {i}" for i in range(draw(st.integers(1, 12)))])
    loose = draw(st.lists(st.tuples(st.sampled_from(classes), patients), max_size=40))
    samples = [Sample(f"loose {i}", label, patient) for i, (label, patient) in enumerate(loose)]
    clusters = [draw(st.integers(0, 2 * len(loose))) for _ in loose]
    for label in classes:
        for i in range(3):
            for j in range(draw(st.integers(1, 3))):
                samples.append(Sample(f"{label} {i} {j}", label, f"{label} {i}"))
                clusters.append(1000 + len(samples))
    return samples, np.array(clusters)


# --- what always holds --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(studies(), st.integers(0, 5), st.sampled_from([(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.98, 0.01, 0.01)]))
def test_split_keeps_groups_together_and_every_class_in_every_part(study, seed, fractions):
    samples, clusters = study
    split = make_split(samples, clusters, fractions=fractions, seed=seed)
    assert list(split.names) == [sample.name for sample in samples]
    assert list(split.labels) == [sample.label for sample in samples]
    assert crossing_groups(split) == 0
    group_of = by_name(split)
    for key in ("group", "cluster"):
        together = defaultdict(set)
        for sample, cluster in zip(samples, clusters, strict=True):
            tie = sample.group if key == "group" else cluster
            if tie is not None:
                together[tie].add(group_of[sample.name])
        assert all(len(places) == 1 for places in together.values())
    numbers = counts(split)
    assert all(numbers[part, label] for part in PARTS for label in set(split.labels))


@settings(max_examples=30, deadline=None)
@given(studies(), st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(study, random):
    samples, clusters = study
    order = list(range(len(samples)))
    random.shuffle(order)
    renumbered = {cluster: -i for i, cluster in enumerate(clusters)}  # cluster numbers are only names
    shuffled = make_split(
        [samples[i] for i in order], np.array([renumbered[clusters[i]] for i in order], dtype=np.int64), seed=3
    )
    assert by_name(shuffled) == by_name(make_split(samples, clusters, seed=3))


def test_another_seed_gives_another_split():
    samples = singles(a=50, b=50)
    first, second = (make_split(samples, alone(samples), seed=seed) for seed in (0, 1))
    assert by_name(first) != by_name(second)
    assert by_name(first) == by_name(make_split(samples, alone(samples), seed=0))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(30, 400), min_size=2, max_size=5),
    st.sampled_from([(0.8, 0.1, 0.1), (0.7, 0.15, 0.15), (0.5, 0.3, 0.2)]),
    st.integers(0, 3),
)
def test_single_samples_meet_the_fractions_within_one_image_of_each_class(sizes, fractions, seed):
    samples = singles(**{f"c{i}": size for i, size in enumerate(sizes)})
    split = make_split(samples, alone(samples), fractions=fractions, seed=seed)
    numbers = counts(split)
    for i, size in enumerate(sizes):
        for part, fraction in zip(PARTS, fractions, strict=True):
            assert abs(numbers[part, f"c{i}"] - fraction * size) < 1 + 1e-9


def test_kaggle_sized_study_is_divided_eight_to_one_to_one():
    samples = singles(glioma=926, meningioma=937, no_tumor=500, pituitary=901)
    numbers = counts(make_split(samples, alone(samples)))
    assert numbers["train", "no_tumor"] == 400
    assert numbers["test", "glioma"] in (92, 93)


# --- groups -------------------------------------------------------------------------------------------------


def test_identifiers_of_groups_are_readable_and_unique():
    samples = [
        *singles(a=9, b=9),
        Sample("1", "a", "P07"),
        Sample("2", "a", "P07"),
        Sample("3", "b", "P12"),
        Sample("4", "b", "P12"),
        Sample("P07", "b"),  # a lone sample named like a patient
        Sample("5", "a"),
    ]
    copies = alone(samples)
    copies[18 + 5] = copies[18 + 2]  # sample 5 is a copy of one of patient P12
    groups = {name: group for name, (group, _) in by_name(make_split(samples, copies)).items()}
    assert groups["1"] == groups["2"] == "P07"
    assert groups["3"] == groups["4"] == groups["5"] == "P12+1"
    assert groups["P07"] == "P07 (2)"
    assert groups["a/00000.png"] == "a/00000.png"


def test_copies_chain_patients_together():
    samples = [*singles(a=5, b=5), *(Sample(f"s{i}", "a", f"P{i // 2}") for i in range(6))]
    copies = alone(samples)
    copies[[11, 12]] = 100  # s1 of P0 and s2 of P1
    copies[[13, 14]] = 101  # s3 of P1 and s4 of P2
    split = make_split(samples, copies)
    assert set(split.groups[10:]) == {"P0+2"}
    assert len(set(split.parts[10:])) == 1


def test_patients_tells_whether_everybody_was_named():
    samples = singles(a=10, b=10)
    assert not make_split(samples, alone(samples)).patients
    one = [replace(samples[0], group="P1"), *samples[1:]]
    assert not make_split(one, alone(samples)).patients  # a banner too many is better than one too few
    all_named = [replace(sample, group=f"P{number}") for number, sample in enumerate(samples)]
    assert make_split(all_named, alone(samples)).patients


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1), (0.9, 0.1, float("nan"))]
)
def test_fractions_must_be_three_positive_numbers_that_sum_to_one(fractions):
    samples = singles(a=10, b=10)
    with pytest.raises(RecipeError, match="three positive numbers that sum to 1"):
        make_split(samples, alone(samples), fractions=fractions)


def test_a_class_with_too_few_independent_groups_is_named_with_what_to_do():
    samples = [*singles(glioma=10), *(Sample(f"r{i}", "rare", f"P{i % 2}") for i in range(8))]
    with pytest.raises(
        SourceError, match=r"'rare' has 2 \(from 8 images\).*Add images of other patients or groups, merge"
    ):
        make_split(samples, alone(samples))
    samples = singles(glioma=10, rare=1)
    with pytest.raises(SourceError, match=r"at least 3 independent groups.*'rare' has 1 \(from 1 image\)"):
        make_split(samples, alone(samples))


def test_identical_images_are_no_independent_groups():
    samples = singles(glioma=10, rare=3)
    copies = alone(samples)
    copies[-3:] = 99
    with pytest.raises(SourceError, match=r"'rare' has 1 \(from 3 images\)"):
        make_split(samples, copies)


def test_single_class_no_samples_and_numbers_are_refused():
    with pytest.raises(SourceError, match="at least two classes, found only 'a'"):
        make_split(singles(a=10), np.arange(10))
    with pytest.raises(SourceError, match="found no samples at all"):
        make_split([], np.arange(0))
    with pytest.raises(SourceError, match=r"'x' has 3\.5"):
        make_split([Sample("y", "a"), Sample("x", 3.5)], np.arange(2))


def test_repeated_names_are_refused():
    samples = [*singles(a=5, b=5), Sample("a/00000.png", "a")]
    with pytest.raises(SourceError, match=r"'a/00000.png' occur more than once"):
        make_split(samples, alone(samples))


def test_classes_that_share_their_few_groups_hopelessly_are_refused():
    # Four patients, four classes, each class in three of the patients: no three colours will do.
    samples = [
        Sample(f"{p}{c}", c, p) for c, who in zip("abcd", ("PQR", "PQS", "PRS", "QRS"), strict=True) for p in who
    ]
    with pytest.raises(SourceError, match="no arrangement gives every class a group in every part"):
        make_split(samples, alone(samples))


def test_an_arrangement_that_is_hard_to_find_is_found():
    # Patients 0..8 in three triples of one class, and classes across: only a Latin arrangement works.
    rows = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8)]
    samples = [Sample(f"{c} {p}", f"class {c}", f"P{p}") for c, row in enumerate(rows) for p in row]
    for seed in range(5):
        numbers = counts(make_split(samples, alone(samples), seed=seed))
        assert all(numbers[part, f"class {c}"] == 1 for part in PARTS for c in range(len(rows)))


# --- given parts --------------------------------------------------------------------------------------------


def given_samples(train=20, test=5, validation=0, **extra):
    return [
        Sample(f"{part}/{label}/{i}.png", label, part=part, **extra)
        for part, number in (("train", train), ("validation", validation), ("test", test))
        for label in ("a", "b")
        for i in range(number)
    ]


def test_given_parts_are_kept_and_validation_is_cut_from_train():
    samples = given_samples(train=90, test=10)
    split = make_split(samples, alone(samples), use_given=True)
    assert split.given
    assert split.validation_cut
    assert set(split.names[split.parts == "test"]) == {s.name for s in samples if s.part == "test"}
    numbers = counts(split)
    assert {numbers["validation", label] for label in "ab"} == {10}


def test_given_validation_is_kept():
    samples = given_samples(validation=4)
    split = make_split(samples, alone(samples), use_given=True)
    assert list(split.parts) == [sample.part for sample in samples]
    assert not split.validation_cut


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (given_samples(test=0), r"needs a test part.*only 'train'"),
        ([*given_samples(), Sample("x", "a")], "1 of 51 have none: 'x'"),
        ([*given_samples(), *(Sample(f"c{i}", "c", part="train") for i in range(5))], "'c' has none in test"),
        (
            [*given_samples(), Sample("c", "c", part="train"), Sample("d", "c", part="test")],
            r"at least 2 independent groups.*'c' has 1",
        ),
    ],
)
def test_incomplete_given_parts_are_refused(samples, message):
    with pytest.raises(SourceError, match=message):
        make_split(samples, alone(samples), use_given=True)


def test_leaking_given_parts_are_refused_unless_accepted():
    samples = given_samples()
    copies = alone(samples)
    copies[-1] = copies[20]  # a test image is a copy of a training image
    with pytest.raises(SourceError, match=r"in more than one part: 1, with 2 images.*accept_leaks = true"):
        make_split(samples, copies, use_given=True)
    split = make_split(samples, copies, use_given=True, accept_leaks=True)
    assert split.given
    assert crossing_groups(split) == 1
    with pytest.raises(SourceError, match=r"Groups in more than one part: 1, expected 0.*with the samples 'train/b/0"):
        check_split(replace(split, leaks_accepted=False))
    with pytest.raises(SourceError, match="Groups in more than one part"):
        check_split(replace(split, given=False))  # only what was given can have been accepted


# --- on disk ------------------------------------------------------------------------------------------------

HOSTILE = [
    *("=1+1", "-x", "+x", "@x", "'x", "''x", '"x"', "a,b", "a\nb", "NA", "nan", "", " ", "007", "1e5", "True"),
    *("<img src=x onerror=alert(1)>", "Глиома", "e\u0301", "腫瘍", "\U0001f9e0", "\u202egnp.exe", "a\\b", "C:\\x.png"),
    *("a\rb", "\r\n", "\udcff", "\ufeffx", "tab\tx", "\x85", "\u2028", "-\udcff"),
]


def test_hostile_names_survive_the_disk(tmp_path):
    samples = [
        Sample(f"{name}{i or ''}", HOSTILE[-1 - number % 6], None if i else name)
        for number, name in enumerate(HOSTILE)
        for i in range(4)
    ]
    split = make_split(samples, alone(samples))
    write_split(tmp_path, split)
    again = read_split(tmp_path)
    for attribute in ("names", "labels", "groups", "parts"):
        assert getattr(again, attribute).tolist() == getattr(split, attribute).tolist()
        assert getattr(again, attribute).dtype == object
    assert (again.asked, again.patients, again.given) == (split.asked, split.patients, split.given)


def test_summary_says_what_the_split_amounts_to(tmp_path):
    samples = singles(a=80, b=20)
    write_split(tmp_path, make_split(samples, alone(samples)))
    assert json.loads((tmp_path / "split.json").read_text()) == {
        "format": 1,
        "asked": [0.8, 0.1, 0.1],
        "achieved": {"train": 0.8, "validation": 0.1, "test": 0.1},
        "numeric": False,
        "counts": {"train": {"a": 64, "b": 16}, "validation": {"a": 8, "b": 2}, "test": {"a": 8, "b": 2}},
        "groups": {"train": 80, "validation": 10, "test": 10},
        "patients": False,
        "given": False,
        "validation_cut": False,
        "from_file": False,
        "folds": 0,
        "fold": 0,
        "crossing_groups": 0,
        "crossing_test_samples": 0,
    }


@pytest.mark.parametrize("validation", [0, 4])
def test_whether_validation_was_cut_is_kept_and_need_not_be_there(tmp_path, validation):
    samples = given_samples(validation=validation)
    write_split(tmp_path, make_split(samples, alone(samples), use_given=True))
    assert read_split(tmp_path).validation_cut == (validation == 0)
    path = tmp_path / "split.json"
    summary = json.loads(path.read_text())
    del summary["validation_cut"]  # as in runs made before it was noted
    path.write_text(json.dumps(summary))
    assert not read_split(tmp_path).validation_cut


def test_an_accepted_leak_can_be_read_again(tmp_path):
    samples = given_samples()
    copies = alone(samples)
    copies[-1] = copies[0]
    write_split(tmp_path, make_split(samples, copies, use_given=True, accept_leaks=True))
    assert crossing_groups(read_split(tmp_path)) == 1


def test_an_edited_split_is_refused(tmp_path):
    samples = [Sample(f"{label}{p}{i}", label, f"{label}{p}") for label in "ab" for p in range(5) for i in range(2)]
    write_split(tmp_path, make_split(samples, alone(samples)))
    csv, summary = tmp_path / "split.csv", tmp_path / "split.json"
    whole = csv.read_text()
    csv.write_text(whole.replace("train", "test", 1))  # one image of a training patient
    with pytest.raises(RunFolderError, match=r"does not hold: Groups in more than one part: 1, expected 0"):
        read_split(tmp_path)
    csv.write_text("\n".join(whole.split("\n")[:-2]) + "\n")
    with pytest.raises(RunFolderError, match="do not belong together"):
        read_split(tmp_path)
    csv.write_text(whole)
    leaky = json.loads(summary.read_text()) | {"crossing_groups": 1}
    summary.write_text(json.dumps(leaky))
    with pytest.raises(RunFolderError, match="do not belong together"):
        read_split(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("split.csv", None, "split.csv is missing"),
        ("split.json", None, "split.json is missing"),
        ("split.json", b"{", "can't be read"),
        ("split.json", b"[]", "is of format None, expected 1"),
        ("split.json", b'{"format": 2}', "is of format 2, expected 1"),
        ("split.json", b'{"format": 1}', "does not hold"),
        ("split.csv", b"", "can't be read"),
        ("split.csv", b"\xff\xfe\x00", r"can't be read: 'utf-8' codec"),
        ("split.csv", b"name,part\nx,train\n", "must have the columns name, label, group, part, got 'name', 'part'"),
        ("split.csv", b"name,label,group,part\n", "got none"),
        ("split.csv", b"name,label,group,part\nx,a,x,elsewhere\n", "Parts must be train, validation, test"),
        ("split.csv", b"name,label,group,part\nx,a,x\n", "does not hold"),
    ],
)
def test_damaged_files_are_refused_in_plain_words(tmp_path, file, content, message):
    samples = singles(a=10, b=10)
    write_split(tmp_path, make_split(samples, alone(samples)))
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(RunFolderError, match=message):
        read_split(tmp_path)


def test_check_refuses_repeated_names_and_empty_parts():
    def split(names, parts):
        column = np.array(names, dtype=object)
        return Split(column, column, column, np.array(parts, dtype=object), (0.8, 0.1, 0.1), patients=False)

    with pytest.raises(SourceError, match="validation and test got none"):
        check_split(split(["x", "y"], ["train", "train"]))
    with pytest.raises(SourceError, match="occurs more than once"):
        check_split(split(["x", "x", "y", "z"], ["train", "train", "validation", "test"]))


def test_a_hundred_thousand_samples_take_seconds():
    labels = [f"c{i % 4}" for i in range(100_000)]
    samples = [Sample(f"img{i}", label, f"P{i // 5}" if i % 2 else None) for i, label in enumerate(labels)]
    start = time.perf_counter()
    make_split(samples, alone(samples))
    assert time.perf_counter() - start < 10  # about one on an idle machine
