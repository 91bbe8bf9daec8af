"""The gate: distances against the plain formula, false alarms by simulation, and a file that is bound by its hash."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from clearmargin.errors import RunFolderError
from clearmargin.evaluation.gate import (
    GateRule,
    expected_false_alarms,
    fit_gate,
    fit_training_features,
    gate_block,
    made_images,
    read_distances,
    read_training_features,
    write_distances,
)
from clearmargin.evaluation.shares import Shares
from clearmargin.files import file_sha256


def drawn(rng, n):
    return rng.normal(size=(n, 6)) @ np.diag([5, 3, 1, 0.5, 0.5, 0.5]) + 2


def test_with_all_but_equal_small_axes_it_is_the_mahalanobis_distance():
    rng = np.random.default_rng(0)
    features = drawn(rng, 500)
    known = fit_training_features(features)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    values, vectors = np.linalg.eigh(standard.T @ standard / 500)
    expected = np.sqrt(((standard @ vectors) ** 2 / values).mean(axis=1))
    np.testing.assert_allclose(known.distances(features), expected, rtol=1e-3)
    assert np.sqrt((known.distances(features) ** 2).mean()) == pytest.approx(1, rel=0.01)


def test_false_alarms_are_as_rare_as_asked_for():
    rng, rates = np.random.default_rng(1), []
    for _ in range(100):
        known = fit_training_features(drawn(rng, 200))
        rule = fit_gate(known.distances(drawn(rng, 100)), 0.05, "")
        rates.append(rule.unlike(known.distances(drawn(rng, 500))).mean())
    assert np.mean(rates) == pytest.approx(5 / 101, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_few_images_constant_channels_and_no_numbers(n):
    features = np.ones((n, 8))
    features[:, 0] = np.arange(n)
    distances = fit_training_features(features).distances(np.stack([features[0], np.full(8, np.nan), np.full(8, 1e30)]))
    assert np.isfinite(distances).all()
    assert distances[0] < distances[1]
    assert distances[0] < distances[2]


def test_the_file_is_bound_by_its_hash(tmp_path):
    known = fit_training_features(drawn(np.random.default_rng(2), 50))
    save_file(vars(known), tmp_path / "gate.safetensors")
    rule = GateRule(0.05, 1.0, file_sha256(tmp_path / "gate.safetensors"))
    assert np.array_equal(read_training_features(tmp_path, rule).axes, known.axes)
    with pytest.raises(RunFolderError, match="SHA-256 differs"):
        read_training_features(tmp_path, GateRule(0.05, 1.0, "0" * 64))
    (tmp_path / "gate.safetensors").unlink()
    with pytest.raises(RunFolderError, match="missing or damaged"):
        read_training_features(tmp_path, rule)


def test_distances_come_back_and_make_a_block(tmp_path):
    written = {"validation": np.linspace(0.5, 1.5, 100), "test": np.array([1.0, 3.0]), "blank": np.full(16, 9.0)}
    write_distances(tmp_path / "gate.csv", written, {"test": np.array(["=a\n", "b"], dtype=object)})
    found = read_distances(tmp_path / "gate.csv")
    assert {part: values.tolist() for part, values in found.items()} == {p: v.tolist() for p, v in written.items()}
    block = gate_block(GateRule(0.05, 1.5, ""), found, Shares(np.arange(2), False, 0.95), 100)
    assert block["unlike_n"] == 1
    assert block["detected"] == [
        {"kind": "blank", "n": 16, "unlike": 16, "share": 1.0, "low": pytest.approx(0.806, abs=1e-3), "high": 1.0}
    ]


def test_images_of_nothing_are_always_the_same():
    first, again = made_images((3, 8, 9)), made_images((3, 8, 9))
    assert all(np.array_equal(first[kind], again[kind]) for kind in first)
    assert first["blank"].shape == first["noise"].shape == (16, 8, 9, 3)
    assert (first["blank"].reshape(16, -1).std(axis=1) == 0).all()


@pytest.mark.parametrize("sizes", [[1] * 60, [7] * 12, [3, 4, 5, 5, 5, 5, 6, 7, 7, 7, 10], [1] * 10])
def test_false_alarms_lie_in_the_expected_range_as_often_as_it_says(sizes):
    rng, n = np.random.default_rng(4), sum(sizes)
    groups = np.repeat(np.arange(len(sizes)), sizes).astype(str).astype(object)
    inside, above, studies = 0, 0, 2000
    for _ in range(studies):
        distances = np.repeat(rng.random(len(sizes)), sizes)  # images of a group all alike; the rate is 1 - threshold
        rule = fit_gate(distances, 0.05, "", groups)
        low, high = expected_false_alarms(rule, n)
        inside += low <= 1 - rule.threshold <= high
        above += 1 - rule.threshold > high
    assert inside / studies >= 0.88
    if max(sizes) == 1:
        assert inside / studies == pytest.approx(0.9, abs=0.02)
    assert above / studies <= 0.07
    alone = fit_gate(distances, 0.05, "")
    assert alone.threshold == rule.threshold
    assert alone.place == (min(n, int(np.ceil((n + 1) * 0.95 - 1e-9))), n)


def test_groups_are_spoken_of_and_an_earlier_gate_has_no_range():
    distances = {"validation": np.linspace(0.5, 1.5, 60), "test": np.array([1.0, 3.0])}
    rule = fit_gate(distances["validation"], 0.05, "", np.repeat(np.arange(12), 5).astype(object))
    block = gate_block(rule, distances, Shares(np.arange(2), False, 0.95), 12)
    assert block["expected_high"] == pytest.approx(1 - 0.05 ** (1 / 12))  # the largest of twelve, were groups alike
    assert block["expected_low"] == pytest.approx(1 - 0.95 ** (1 / 12))
    alone = fit_gate(distances["validation"], 0.05, "")
    low, high = expected_false_alarms(alone, 60)  # rank 58 of 60 independent images
    assert block["expected_low"] < low < 0.05 < high < block["expected_high"]
    assert "60 validation images are of 12 groups" in block["note"]
    earlier = gate_block(GateRule(0.05, 1.5, ""), distances, Shares(np.arange(2), False, 0.95), 60)
    assert earlier["expected_low"] is None
    assert "groups" not in earlier["note"]
