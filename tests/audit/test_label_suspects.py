"""Label suspects: planted wrong labels are found, copies do not vouch for each other, a clean set is not flooded."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from clearmargin.audit.folds import enough_groups, stratified_folds
from clearmargin.audit.label_suspects import _agreement, label_suspects, suspected
from clearmargin.audit.linear_classifier import agreement_by_chance, class_probabilities, out_of_fold


def blobs(n: int, classes: int = 3, apart: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 (n, 8) in clouds, and the class of each."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    centres = np.eye(classes, 8) * apart
    return (centres[truth] + random.standard_normal((n, 8))).astype(np.float32), truth


def findings(features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> list:
    names = np.array([f"{row}.png" for row in range(len(labels))], dtype=object)
    groups = np.arange(len(labels)) if groups is None else groups
    return list(label_suspects(names, labels.astype(object), groups, features, "made up"))


def test_planted_wrong_labels_are_found_and_named_first() -> None:
    features, truth = blobs(600)
    wrong = np.random.default_rng(1).choice(600, 30, replace=False)
    given = truth.copy()
    given[wrong] = (truth[wrong] + 1) % 3
    (finding,) = findings(features, np.array(["a", "b", "c"])[given])
    assert (finding.kind, finding.severity) == ("label-suspects", "warning")
    assert "suspects, not verdicts" in finding.message
    found = {int(name.removesuffix(".png")) for name in finding.samples}
    assert len(found & set(wrong.tolist())) >= 15
    assert len(found - set(wrong.tolist())) <= 2
    first = finding.evidence["suspects"][0]
    row = int(first["name"].removesuffix(".png"))
    assert first["given"] == "abc"[given[row]]
    assert first["suggested"] == "abc"[truth[row]]
    assert first["p_suggested"] > 0.5 > first["p_given"]
    assert finding.evidence["features"] == "made up"
    assert finding.evidence["out_of_fold_accuracy"] > 0.9


def test_a_clean_set_has_next_to_no_suspects() -> None:
    features, truth = blobs(600, apart=5)
    found = findings(features, np.array(["a", "b", "c"])[truth])
    assert sum(len(finding.samples) for finding in found) <= 3


def test_copies_do_not_vouch_for_a_wrong_label() -> None:
    features, truth = blobs(300, apart=3, seed=2)
    features[:40], truth[:40] = features[0], truth[0]  # one image forty times, and all with the same wrong label
    labels = np.array(["a", "b", "c"])[truth]
    labels[:40] = "b" if truth[0] != 1 else "c"
    groups = np.r_[np.zeros(40, int), np.arange(1, 261)]
    (together,) = findings(features, labels, groups)
    assert {f"{row}.png" for row in range(40)} <= set(together.samples)
    apart = findings(features, labels)
    assert not any({f"{row}.png" for row in range(40)} <= set(finding.samples) for finding in apart)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("first", [0.5, 0.9])
def test_features_that_say_nothing_accuse_nobody(seed: int, first: float) -> None:
    random = np.random.default_rng(seed)
    features = random.standard_normal((1000, 300)).astype(np.float32)
    labels = np.where(random.random(1000) < first, "a", "b")
    (finding,) = findings(features, labels)
    assert (finding.severity, finding.samples) == ("note", ())
    assert "can't be checked with these features" in finding.message
    assert finding.evidence["suspects"] == []
    # between answers as frequent as the labels and an answer that is always the same
    assert first**2 + (1 - first) ** 2 - 0.02 < finding.evidence["chance"] < max(first, 0.5) + 0.03
    assert finding.evidence["out_of_fold_accuracy"] == pytest.approx(finding.evidence["chance"], abs=0.05)
    assert f"(chance: {100 * finding.evidence['chance']:.0f} %)" in finding.message


def test_few_groups_need_more_agreement_than_many() -> None:
    given = np.tile([0, 1], 20)
    said = np.where(np.arange(40) % 20 < 14, given, 1 - given)  # kappa 0.4
    many, few = (_agreement(given, said, groups) for groups in (400, 10))
    assert many["kappa"] == few["kappa"] == pytest.approx(0.4)
    assert many["chance"] == pytest.approx(0.5)
    assert (many["judges"], few["judges"]) == (True, False)


def test_the_worse_the_classifier_the_less_it_warns() -> None:
    severities = []
    for apart in (6.0, 3.0, 2.0, 1.0, 0.0):  # right labels, clouds that come together
        features, truth = blobs(900, apart=apart, seed=3)
        (finding,) = findings(features, np.array(["a", "b", "c"])[truth]) or [None]
        severities.append(finding.severity if finding else None)
    assert severities[0] is None
    assert severities[2:] == ["note"] * 3


def test_classes_that_are_too_small_are_left_out_and_named() -> None:
    features, truth = blobs(300, apart=4)
    labels = np.array(["a", "b", "c"], dtype=object)[truth]
    labels[[0, 3]], labels[6:60:6] = "rare", "c"
    (finding,) = findings(features, labels)
    assert "'rare'" in finding.message
    assert not {"0.png", "3.png"} & set(finding.samples)
    assert findings(features[:6], np.array(list("aaaaab"))) == []


def test_suspects_come_least_believed_first() -> None:
    probabilities = np.array([[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20)
    given = np.repeat([0, 1], 20)
    probabilities[3], probabilities[25], probabilities[30] = [0.05, 0.95], [0.98, 0.02], [0.93, 0.07]
    assert suspected(given, probabilities).tolist() == [25, 3, 30]


@pytest.mark.parametrize("seed", range(3))
def test_folds_keep_groups_whole_and_classes_even(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes, groups = random.integers(0, 4, 500), random.integers(0, 120, 500)
    folds = stratified_folds(classes, groups, 5, random)
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    counts = np.array([np.bincount(classes[folds == fold], minlength=4) for fold in range(5)])
    assert np.ptp(counts, axis=0).max() <= 8
    alone = stratified_folds(classes, np.arange(500), 5, random)
    counts = np.array([np.bincount(classes[alone == fold], minlength=4) for fold in range(5)])
    assert np.ptp(counts, axis=0).max() <= 1


def test_folds_leave_out_a_class_that_is_in_too_few_groups() -> None:
    classes = np.repeat([0, 1, 2], [200, 200, 3])
    groups = np.concatenate([np.arange(400), [400, 400, 401]])
    folds = stratified_folds(classes, groups, 5, np.random.default_rng(0))
    assert folds[400] == folds[401] != folds[402]
    assert (np.bincount(folds, minlength=5) >= 80).all()


def test_folds_of_many_groups_and_classes_take_little_memory() -> None:
    groups = np.repeat(np.arange(20_000), 3)
    tracemalloc.start()
    folds = stratified_folds(groups % 500, groups, 5, np.random.default_rng(0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(folds.tolist())) == 5
    assert most < 60_000_000  # samples of each class in each group, all written out, are 80 MB


def test_enough_groups_counts_groups_and_not_images() -> None:
    labels, groups = np.array(list("aaaabb")), np.array([0, 0, 0, 0, 1, 2])
    assert enough_groups(labels, groups, 2).tolist() == [False] * 4 + [True] * 2


def test_the_classifier_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, truth = blobs(200, apart=1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, tol=1e-8, max_iter=1000))
    expected = model.fit(features[:150], truth[:150]).predict_proba(features[150:])
    said = class_probabilities(features[:150], truth[:150], features[150:], 3)
    np.testing.assert_allclose(said, expected, atol=5e-3)


def test_a_class_nobody_learned_gets_probability_zero() -> None:
    features, truth = blobs(60)
    said = class_probabilities(features[truth < 2], truth[truth < 2], features, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert (said[:, 2] == 0).all()
    alone = class_probabilities(features[truth == 1], truth[truth == 1], features, 3)
    assert (alone == [0, 1, 0]).all()


def test_no_sample_is_told_of_by_a_classifier_that_learned_it() -> None:
    random = np.random.default_rng(0)
    features, classes = random.standard_normal((200, 300)).astype(np.float32), random.integers(0, 2, 200)
    folds = stratified_folds(classes, np.arange(200), 5, random)
    accuracy = (out_of_fold(features, classes, folds, 2).argmax(axis=1) == classes).mean()
    assert 0.35 < accuracy < 0.65  # with more features than samples, what was learned would be known by heart


def test_agreement_by_chance_is_that_of_cohens_kappa() -> None:
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 200)
    said = np.where(random.random(200) < 0.5, truth, random.integers(0, 2, 200))
    accuracy, chance = (said == truth).mean(), agreement_by_chance(truth, said)
    assert (accuracy - chance) / (1 - chance) == pytest.approx(cohen_kappa_score(truth, said))


def test_learned_from_nothing_all_classes_are_equally_probable() -> None:
    features, truth = blobs(10)
    assert (class_probabilities(features[:0], truth[:0], features, 4) == 0.25).all()


def test_many_samples_are_told_of_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    features, truth = blobs(200)
    whole = class_probabilities(features[:150], truth[:150], features, 3)
    monkeypatch.setattr("clearmargin.audit.linear_classifier._AT_ONCE", 7)
    np.testing.assert_allclose(class_probabilities(features[:150], truth[:150], features, 3), whole, rtol=1e-6)
