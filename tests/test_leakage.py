"""The price of leakage: known leaks are priced, clean sets cost nothing, and the control sees what crosses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clearmargin import leakage as room
from clearmargin.audit.folds import stratified_folds
from clearmargin.audit.linear_classifier import out_of_fold
from clearmargin.errors import SourceError
from clearmargin.evaluation.bootstrap import draw_weights
from clearmargin.features import Features
from clearmargin.language.stored import retold
from clearmargin.leakage import FOLDS, SHUFFLES, control, figures, images, price_of_leakage
from clearmargin.leakage import splits as ways
from clearmargin.records import Inputs, Preprocessing, Sample


def silent(*_: object) -> None:
    """No progress."""


def made(
    groups: int = 80, of_each: int = 4, noise: float = 0.05, signal: float = 1.0, seed: int = 0
) -> tuple[list[Sample], np.ndarray, Features]:
    """Samples, their groups, features (samples, 300): the look of a group, some of its class, little noise."""
    random = np.random.default_rng(seed)
    truth = np.arange(groups) % 2
    looks = random.standard_normal((groups, 300))
    looks[:, 0] += signal * (2 * truth - 1)
    number = np.repeat(np.arange(groups), of_each)
    values = looks[number] + noise * random.standard_normal((len(number), 300))
    samples = [Sample(f"{row}.png", "ab"[truth[group]]) for row, group in enumerate(number)]
    return samples, number, Features(values.astype(np.float32), "made up")


def named(groups: np.ndarray) -> np.ndarray:
    return np.array([f"g{number}" for number in groups], dtype=object)


def price(
    samples: list[Sample], copies: np.ndarray, features: Features, groups: np.ndarray | None = None, **more: Any
) -> Any:
    names = named(copies if groups is None else groups)
    asked: dict[str, Any] = {"seeds": (0, 1), "resamples": 300, "progress": silent, **more}
    found = price_of_leakage(samples, copies, names, features, **asked)
    assert all(retold(sentence) for sentence in found["sentences"])  # a report in Chinese says them too
    return found


def asked_about(samples: list[Sample], copies: np.ndarray, features: Features) -> images.Images:
    return images.chosen(samples, copies, named(copies), features, 0)[0]


def relabelled(samples: list[Sample], labels: Any) -> list[Sample]:
    return [Sample(sample.name, str(label)) for sample, label in zip(samples, labels, strict=True)]


def splits(found: dict[str, Any]) -> dict[str, Any]:
    return {split["split"]: split for split in found["splits"]}


def test_copies_are_priced_and_told_of() -> None:
    samples, copies, features = made()
    found = price(samples, copies, features)
    by = splits(found)
    assert set(by) == {"random", "leak-free"}
    assert by["random"]["accuracy"]["value"] > 0.95
    assert by["leak-free"]["accuracy"]["value"] < 0.85
    difference = found["difference"]
    assert difference["value"] == pytest.approx(
        by["random"]["accuracy"]["value"] - by["leak-free"]["accuracy"]["value"]
    )
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    assert difference["from_copies"]["value"] == pytest.approx(difference["value"])  # every image has a copy
    assert difference["sentence"].endswith("of it are leakage.")
    assert by["random"]["with_copy"]["n"] > 0.95 * len(samples)
    assert by["leak-free"]["with_copy"] is None
    assert difference["from_patients"] is None
    assert found["sentences"][1].startswith("All of it comes from copies")
    json.dumps(found, allow_nan=False)


def test_the_control_is_at_chance_on_clean_splits_and_fails_on_leaky_ones() -> None:
    samples, copies, features = made()
    control = price(samples, copies, features)["control"]
    assert control["holds"]
    assert control["accuracy"]["low"] <= control["chance"]
    assert not control["random"]["holds"]
    assert control["random"]["accuracy"]["low"] > control["random"]["chance"]
    assert "no better than chance" in control["sentence"]
    assert control["sentence"].endswith("better than chance.")


def test_a_split_that_is_called_leak_free_and_leaks_fails_the_control(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stratified_folds
    monkeypatch.setattr(  # a bug that forgets the groups
        control,
        "stratified_folds",
        lambda classes, groups, folds, rng: whole(classes, np.arange(len(classes)), folds, rng),
    )
    found = price(*made())["control"]
    assert not found["holds"]
    assert "not to be believed" in found["sentence"]


def test_without_groups_there_is_nothing_to_compare() -> None:
    samples, copies, features = made(groups=200, of_each=1, signal=3.0)
    found = price(samples, copies, features)
    assert (found["difference"]["value"], found["difference"]["low"]) == (0, None)
    assert found["difference"]["from_copies"] is found["difference"]["from_patients"] is None
    assert found["control"]["holds"]
    assert found["control"]["random"] is None
    assert "No patients and no copies are known" in found["sentences"][0]


def independent(sizes: list[int], seed: int) -> tuple[list[Sample], np.ndarray, Features, np.ndarray]:
    """Images that have nothing in common, in groups that mean nothing."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    truth = random.integers(0, 2, len(groups))
    values = random.standard_normal((len(groups), 20))
    values[:, 0] += 0.6 * (2 * truth - 1)
    samples = [Sample(f"{row}.png", "ab"[label]) for row, label in enumerate(truth)]
    return samples, np.arange(len(groups)), Features(values.astype(np.float32), "made up"), groups


@pytest.mark.parametrize(("sizes", "claims"), [([180] + [1] * 60, False), ([4] * 60, True)], ids=["one huge", "even"])
def test_independent_images_in_groups_have_no_price(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], claims: bool
) -> None:
    monkeypatch.setattr(room, "random_label_control", lambda *_: None)
    found = [price(*independent(sizes, seed), seeds=(0,)) for seed in range(12)]
    apart, low, high = np.array([[each["difference"][key] for key in ("value", "low", "high")] for each in found]).T
    assert abs(apart.mean()) < 3 * apart.std() / len(apart) ** 0.5  # with fewer to learn from: five standard errors
    assert ((low <= 0) & (high >= 0)).mean() >= 0.8  # 10 of 12
    said = [each["difference"]["sentence"] for each in found]
    assert any("too few to tell leakage from chance" in sentence for sentence in said) != claims
    if not claims:
        assert not any("are leakage" in sentence for sentence in said)
        assert found[0]["effective_groups"] == pytest.approx(240**2 / (180**2 + 60), abs=0.05)
        assert "unequal groups, that count as 2" in found[0]["difference"]["method"]
        assert "Large groups leave less to learn from" in found[0]["notes"][0]


def test_an_image_is_tested_by_classifiers_that_learned_from_as_many_of_each_class() -> None:
    samples, copies, features, groups = independent([60] + [3] * 20 + [1] * 60, 0)
    copies = np.where(copies % 3 == 0, copies, copies - 1)
    copies = np.array([np.flatnonzero((copies == c) & (groups == g))[0] for c, g in zip(copies, groups, strict=True)])
    about, _ = images.chosen(samples, copies, named(groups), features, 0)
    kept = ways.ways_of_splitting(about)
    assert list(kept) == ["random", "copies together", "leak-free"]
    planned = ways.lessons(about, kept, (3,))
    learned = {}
    for lesson in planned:
        assert not set(kept[lesson.way][lesson.told]) & set(kept[lesson.way][lesson.learned])
        for row in lesson.told:
            assert (lesson.way, row) not in learned
            learned[lesson.way, row] = np.bincount(about.truth[lesson.learned], minlength=2).tolist()
    for row in range(len(samples)):
        assert learned["random", row] == learned["copies together", row] == learned["leak-free", row]
    assert len({tuple(each) for each in learned.values()}) == 2  # with the large group, and without it


def test_ragged_groups_of_many_classes_take_few_classifiers() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 12, 120)
    groups = np.repeat(np.arange(120), sizes)
    samples = [Sample(f"{row}.png", f"class {group % 12}") for row, group in enumerate(groups)]
    features = Features(np.zeros((len(groups), 1), np.float32), "made up")
    about, _ = images.chosen(samples, np.arange(len(groups)), named(groups), features, 0)
    planned = ways.lessons(about, ways.ways_of_splitting(about), (0,))
    assert len(planned) <= 2 * 10 * 3
    assert min(len(lesson.learned) for lesson in planned) > 0.4 * len(groups)


def test_what_comes_from_patients_is_not_put_down_to_copies() -> None:
    samples, patients, features = made()
    found = price(samples, np.arange(len(samples)), features, groups=patients)
    assert found["difference"]["low"] > 0
    assert found["difference"]["from_copies"] is None
    assert found["difference"]["from_patients"]["value"] == found["difference"]["value"]
    assert "other images of the same patient or group" in found["sentences"][1]
    assert set(splits(found)) == {"random", "leak-free"}


def test_copies_that_patients_have_too_are_not_blamed_for_what_patients_did() -> None:
    samples, patients, features = made(groups=40, of_each=8)  # alike slices of each patient
    twice = np.repeat(np.arange(len(samples)), 2)  # and each copied once
    values = Features(features.values[twice], "made up")
    found = price([samples[row] for row in twice], twice, values, groups=patients[twice])
    by, difference = splits(found), found["difference"]
    assert list(by) == ["random", "copies together", "leak-free"]
    accuracy = {name: split["accuracy"]["value"] for name, split in by.items()}
    assert difference["low"] > 0.1
    assert difference["from_copies"]["value"] == pytest.approx(accuracy["random"] - accuracy["copies together"])
    assert difference["from_patients"]["value"] == pytest.approx(accuracy["copies together"] - accuracy["leak-free"])
    assert difference["from_copies"]["value"] < 0.02  # another slice gives a patient away as well as a copy
    assert difference["from_patients"]["low"] > 0.1
    assert by["copies together"]["with_copy"] is None
    assert "when only copies are kept together" in found["sentences"][1]


def test_copies_in_patients_that_do_not_look_alike_are_what_is_paid_for() -> None:
    samples, copies, features = made(groups=120, of_each=2)
    found = price(samples, copies, features, groups=copies // 3)["difference"]
    assert found["from_copies"]["low"] > 0.1
    assert found["from_patients"]["low"] < 0 < found["from_patients"]["high"]


def test_given_parts_with_and_without_copies() -> None:
    samples, copies, features = made(groups=120)
    # a third of the groups in both parts, a third in training only, a third in test only
    crossing = copies % 3 == 0
    in_test = np.where(crossing, np.arange(len(copies)) % 4 == 0, copies % 3 == 1)
    samples = [
        Sample(sample.name, sample.label, part="test" if test else "train")
        for sample, test in zip(samples, in_test, strict=True)
    ]
    given = splits(price(samples, copies, features))["given"]
    assert given["n_test"] == in_test.sum()
    assert given["with_copy"]["n"] == (crossing & in_test).sum()
    assert given["without_copy"]["n"] == (~crossing & in_test).sum()
    assert given["with_copy"]["accuracy"]["value"] > given["without_copy"]["accuracy"]["value"] + 0.1
    right = sum(given[key]["n"] * given[key]["accuracy"]["value"] for key in ("with_copy", "without_copy"))
    assert right == pytest.approx(given["n_test"] * given["accuracy"]["value"])


def test_figures_agree_with_counting_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, copies, features = made(groups=40)
    about = asked_about(samples, copies, features)
    right = np.random.default_rng(0).integers(0, 2, len(samples)).astype(float)
    among = np.random.default_rng(1).integers(0, 2, len(samples)).astype(float)
    tests = {("some", "test"): figures.Tests(right * among, among)}
    drawn = figures.Bootstrap(about, tests, resamples=50, confidence=0.9, seed=3)
    weights = draw_weights(np.random.default_rng([3, 1]), 50, 40)
    expected: dict[str, list[float]] = {"accuracy": [], "balanced_accuracy": []}
    for weight in weights:
        times = np.repeat(np.arange(len(samples)), weight[about.units].astype(int))
        times = times[among[times] == 1]
        expected["accuracy"].append(right[times].mean())
        expected["balanced_accuracy"].append(np.mean([right[times[about.truth[times] == k]].mean() for k in range(2)]))
    for metric, values in expected.items():
        figure = drawn.figure(("some", "test"), metric)
        assert [figure["low"], figure["high"]] == pytest.approx(np.percentile(values, [5, 95]).tolist())
    monkeypatch.setattr("clearmargin.evaluation.bootstrap.CHUNK_ELEMENTS", 40 * 7)
    chunked = figures.Bootstrap(about, tests, resamples=50, confidence=0.9, seed=3)
    assert chunked.figure(("some", "test")) == drawn.figure(("some", "test"))


def test_resamples_are_drawn_in_bounded_memory() -> None:
    import tracemalloc

    about = asked_about(*made(groups=1000, of_each=1))
    ones = np.ones(1000)
    tracemalloc.start()
    figures.Bootstrap(about, {("all", ""): figures.Tests(ones, ones)}, resamples=20_000, confidence=0.95, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # the weights of all at once are 160 MB


def test_a_copy_counts_when_it_is_learned_from() -> None:
    about = asked_about(*made(groups=30, of_each=2))
    random = np.random.default_rng(0)
    learned, told = np.arange(60)[random.random(60) < 0.5], np.arange(0, 60, 3)
    expected = [any(about.copies[row] == about.copies[other] for other in learned) for row in told]
    assert ways.tested(about, learned, told)[1].tolist() == expected


# --- the control --------------------------------------------------------------------------------------------


def test_shuffled_labels_stay_whole_in_a_group_and_keep_class_sizes() -> None:
    samples, copies, features = made()
    about = asked_about(samples, copies, features)
    shuffled = control.shuffles(about, 0)
    assert len(shuffled) == SHUFFLES
    for each in shuffled:
        assert all(len(set(each.truth[about.units == unit])) == 1 for unit in range(about.n_units))
        assert np.bincount(each.truth).tolist() == np.bincount(about.truth).tolist()  # groups are of one size here
    assert len({each.truth.tobytes() for each in [about, *shuffled]}) == SHUFFLES + 1


def test_every_class_is_as_probable_for_large_groups_as_for_small_ones() -> None:
    random = np.random.default_rng(0)
    sizes = np.repeat([1, 5], 30)
    number = np.repeat(np.arange(60), sizes)
    samples = [
        Sample(f"{row}.png", label) for row, label in enumerate(random.choice(["a", "b"], len(number), p=[0.3, 0.7]))
    ]
    about = asked_about(samples, number, Features(np.zeros((len(number), 1), np.float32), ""))
    share = (about.truth == 0).mean()
    of_first = np.array([control._dealt_anew(about, np.random.default_rng(seed)).truth == 0 for seed in range(400)])
    for size in (1, 5):
        drawn = of_first[:, np.bincount(about.units)[about.units] == size].mean()
        assert drawn == pytest.approx(share, abs=0.03)


def mixed(groups: int = 40, of_each: int = 10, noise: float = 0.05) -> tuple[list[Sample], np.ndarray, Features]:
    """Patients with half of their slices in each class."""
    samples, number, features = made(groups=groups, of_each=of_each, noise=noise)
    return relabelled(samples, np.where(np.arange(len(number)) % 2, "tumour", "normal")), number, features


def test_the_control_sees_leaks_where_every_patient_has_both_classes() -> None:
    samples, patients, features = mixed()
    found = price(samples, np.arange(len(samples)), features, groups=patients)["control"]
    assert found["holds"]
    assert found["chance"] < 0.6
    assert not found["random"]["holds"]
    assert found["random"]["accuracy"]["value"] > found["random"]["chance"] + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_a_leaky_split_of_mixed_patients_fails(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    samples, patients, features = mixed(groups=30 + seed, of_each=6)
    about, _ = images.chosen(samples, np.arange(len(samples)), named(patients), features, 0)
    shuffled = control.shuffles(about, seed)
    assert control.random_label_control(shuffled, FOLDS, silent)["holds"]
    whole = stratified_folds
    monkeypatch.setattr(
        control,
        "stratified_folds",
        lambda classes, groups, folds, rng: whole(classes, np.arange(len(classes)), folds, rng),
    )
    assert not control.random_label_control(shuffled, FOLDS, silent)["holds"]


def test_a_class_that_is_nowhere_the_commonest_does_not_end_the_control() -> None:
    samples, patients, features = made(groups=40, of_each=10)
    labels = np.where(np.arange(len(patients)) % 10 < 3, "normal", "tumour")  # 30 % of every patient
    done: list[tuple[int, int]] = []
    found = price(
        relabelled(samples, labels), np.arange(len(samples)), features, groups=patients,
        progress=lambda _, now, total, __: done.append((now, total)),
    )  # fmt: skip
    assert found["folds"] == 10
    assert found["control"]["holds"]
    assert not found["control"]["random"]["holds"]
    assert [now for now, _ in done] == list(range(1, done[-1][1] + 1))  # as many steps as were announced
    assert len({total for _, total in done}) == 1


def test_no_control_is_told_of_and_nothing_is_certified() -> None:
    samples, patients, features = made(groups=6, of_each=20)
    labels = np.where(np.arange(len(patients)) % 20, "a", "b")  # dealt out by groups, there is no place for the second
    found = price(relabelled(samples, labels), np.arange(len(samples)), features, groups=patients)
    assert found["control"] is None
    assert found["sentences"][-1].startswith("No control was possible")
    # features that say nothing, and one class in ten: all answers are alike, right or leaky
    samples, patients, _ = made(groups=60, of_each=3)
    labels = np.where(patients % 10 == 0, "rare", "common")
    nothing = Features(np.zeros((len(patients), 2), np.float32), "made up")
    assert price(relabelled(samples, labels), np.arange(len(samples)), nothing, groups=patients)["control"] is None


def test_a_finding_in_one_slice_of_ten_has_a_control() -> None:
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), random.integers(3, 12, 40))
    samples, _, features = made(groups=40, of_each=1)
    values = features.values[patients] + 0.3 * random.standard_normal((len(patients), 300)).astype(np.float32)
    samples = [Sample(f"{row}.png", "finding" if random.random() < 0.1 else "none") for row in range(len(patients))]
    found = price(samples, np.arange(len(samples)), Features(values, "made up"), groups=patients)["control"]
    assert found["holds"]
    assert not found["random"]["holds"]


def test_a_control_that_can_see_nothing_says_so() -> None:
    samples, copies, features, groups = independent([4] * 40, 0)
    found = price(samples, copies, features, groups)["control"]
    assert found["random"]["holds"]
    assert "too few or too unlike here for the control to see a leak" in found["sentence"]
    assert "nothing that is known to belong together" not in found["sentence"]


def test_the_interval_of_the_control_is_students() -> None:
    samples, copies, features = made()
    found = price(samples, copies, features)["control"]
    assert found["shuffles"] == SHUFFLES
    assert found["accuracy"]["method"] == "Student's t over 5 shuffles, 99 %"
    excess = []
    for number, each in enumerate(control.shuffles(asked_about(samples, copies, features), 0)):
        folds = stratified_folds(each.truth, each.units, FOLDS, np.random.default_rng([number, 4]))
        said = out_of_fold(each.features, each.truth, folds, 2).argmax(axis=1)
        shares = [(np.mean(said == k), np.mean(each.truth == k)) for k in range(2)]
        excess.append(np.mean(said == each.truth) - sum(one * other for one, other in shares))
    interval = stats.ttest_1samp(excess, 0).confidence_interval(0.99)
    reach = (interval.high - interval.low) / 2
    assert found["accuracy"]["high"] - found["accuracy"]["value"] == pytest.approx(reach)


# --- which images, which question ---------------------------------------------------------------------------


def test_too_few_groups_are_refused_and_small_classes_left_out() -> None:
    samples, copies, features = made(groups=80)
    rare = [Sample(s.name, "rare" if row < 8 else s.label) for row, s in enumerate(samples)]
    assert "'rare'" in price(rare, copies, features)["notes"][0]
    samples, copies, features = made(groups=6)
    with pytest.raises(SourceError, match="at least two classes with 5 independent groups"):
        price(samples, copies, features)


@pytest.mark.parametrize("most", [100, 101, 173])
def test_many_images_are_sampled_by_whole_groups(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(images, "MOST_IMAGES", most)
    samples, copies, features = made(groups=60, of_each=7)
    about, notes = images.chosen(samples, copies, named(copies), features, 0)
    assert most - 7 < len(about.truth) <= most
    assert (np.bincount(about.units) == 7).all()
    assert np.ptp(np.bincount(about.truth)) <= 7  # as even as all of them
    assert notes == [f"Measured on {len(about.truth)} of 420 images, drawn by whole groups."]


def test_a_rare_class_keeps_its_groups_when_images_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_IMAGES", 100)
    samples, copies, features = made(groups=400, of_each=1)
    labels = np.where(np.arange(400) < 6, "rare", [sample.label for sample in samples])
    about, notes = images.chosen(relabelled(samples, labels), copies, named(copies), features, 0)
    assert dict(zip(about.classes, np.bincount(about.truth).tolist(), strict=True))["rare"] == 6
    assert about.folds == 6
    assert len(notes) == 1
    price(relabelled(samples, labels), copies, features, seeds=(0,))


def test_a_class_that_lost_its_groups_in_the_draw_is_left_out_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_IMAGES", 100)
    sizes = [30] * 5 + [1] * 150  # the five groups of the class do not fit
    number = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.where(number < 5, "large", np.where(number % 2, "a", "b"))
    samples = [Sample(f"{row}.png", label) for row, label in enumerate(labels)]
    features = Features(np.random.default_rng(0).standard_normal((len(number), 3)).astype(np.float32), "made up")
    about, notes = images.chosen(samples, number, named(number), features, 0)
    assert about.classes == ("a", "b")
    assert notes[0] == "Classes with fewer than 5 groups among 100 images are left out: 'large'."
    monkeypatch.setattr(images, "MOST_IMAGES", 7)
    with pytest.raises(SourceError, match="there are fewer, drawn among 7 images"):
        images.chosen(samples, number, named(number), features, 0)


def question(**more: Any) -> str:
    import pandas as pd

    rows = np.zeros((4, 2, 2, 1), np.uint8)
    labels = more.pop("labels", "abab")
    parts = more.pop("parts", ["train"] * 4)
    samples = tuple(Sample(f"{k}.png", labels[k], part=parts[k]) for k in range(4))
    how = Preprocessing(2, color="gray")
    inputs = Inputs(rows, samples, pd.DataFrame(), (), 4, more.pop("key", "k"), how, simulated=False)  # type: ignore[arg-type]
    settings = {"seeds": [0], "confidence": 0.95, "resamples": 100}
    asked = {"copies": np.arange(4), "groups": named(np.arange(4)), "features": Features(rows, "f"), **more}
    return room._question(inputs, asked["copies"], asked["groups"], asked["features"], settings)


def test_what_is_stored_answers_no_other_question(monkeypatch: pytest.MonkeyPatch) -> None:
    same = question()
    assert question() == same
    others = [
        question(labels="abba"),
        question(parts=["train", "train", "test", "test"]),
        question(key="other"),
        question(copies=np.array([0, 0, 1, 2])),
        question(groups=named(np.array([0, 0, 1, 2]))),
        question(features=Features(np.zeros(4), "f", "smaller")),
    ]
    for constant in ("FOLDS", "FEWEST_GROUPS", "MOST_IMAGES", "STRENGTH", "SHUFFLES", "CONTROL_CONFIDENCE"):
        with monkeypatch.context() as patched:
            patched.setattr(room, constant, 3)
            others.append(question())
    assert len({same, *others}) == 1 + len(others)
