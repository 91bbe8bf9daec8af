import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from clearmargin.errors import DivergenceError
from clearmargin.recipe import Training
from clearmargin.training.loop import Labelled, epoch_batches, fit, forward, judge
from clearmargin.training.muon import orthogonalised
from clearmargin.training.objectives import ClassLabels, Numbers, class_weights


class Vectors:
    """A feed of ready-made inputs."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> torch.Tensor:
        return self.inputs[torch.from_numpy(rows)]


def blobs(samples: int, seed: int, classes: int = 3) -> Labelled:
    """Points around corners of a square: separable."""
    rng = np.random.default_rng(seed)
    targets = np.arange(samples) % classes
    corners = np.array([[4, 4], [-4, 4], [4, -4], [-4, -4]])
    points = corners[targets] + rng.normal(size=(samples, 2))
    return Labelled(Vectors(torch.tensor(points, dtype=torch.float32)), torch.tensor(targets))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def train(tmp_path, model, report=None, train=None, validation=None, precision=torch.float32, seed=7, **settings):
    return fit(
        model,
        train or blobs(60, 0),
        validation or blobs(30, 1),
        Training(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.05, **settings}),
        classes=3,
        precision=precision,
        seed=seed,
        checkpoint=tmp_path / "checkpoint" / "state.safetensors",
        report=report,
    )


LABELS = ClassLabels(Training(), 3, torch.arange(3))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_separable_problem_is_learned(tmp_path, precision):
    model = network()
    fitted = train(tmp_path, model, precision=precision, epochs=10)
    losses = [row["train_loss"] for row in fitted.history]
    assert losses[-1] < losses[0] / 3
    assert fitted.history[fitted.best_epoch - 1]["validation_accuracy"] == 1
    assert (fitted.epochs_run, fitted.stopped_early) == (10, False)
    assert fitted.precision == str(precision)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_the_history_says_what_happened(tmp_path):
    fitted = train(tmp_path, network())
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]
    assert list(fitted.history[0]) == [
        "epoch",
        "learning_rate",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "validation_balanced_accuracy",
        "seconds",
    ]
    assert fitted.seconds == pytest.approx(sum(row["seconds"] for row in fitted.history))


def test_training_again_gives_the_same_bits(tmp_path):
    first, again, other = network(), network(), network()
    one = train(tmp_path / "a", first)
    two = train(tmp_path / "b", again)
    train(tmp_path / "c", other, seed=8)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    without_seconds = [[{**row, "seconds": 0} for row in fitted.history] for fitted in (one, two)]
    assert without_seconds[0] == without_seconds[1]


def test_what_others_draw_at_random_in_between_changes_nothing(tmp_path):
    first, again = network(), network()
    train(tmp_path / "a", first)
    torch.manual_seed(12345)
    train(tmp_path / "b", again)
    assert same(weights(first), weights(again))


def test_the_best_epoch_is_kept_or_the_last(tmp_path):
    # a rate that ruins what the first epochs learned
    noisy = {"epochs": 6, "schedule": "constant", "learning_rate": 3.0, "optimizer": "sgd"}
    best, last = network(), network()
    kept = train(tmp_path / "best", best, keep="best", **noisy)
    taken = train(tmp_path / "last", last, keep="last", **noisy)
    scores = [row["validation_balanced_accuracy"] for row in kept.history]
    assert scores[kept.best_epoch - 1] == max(scores)
    assert taken.best_epoch == 6
    part = blobs(30, 1)
    assert judge(best, part, LABELS, torch.float32)["loss"] == kept.history[kept.best_epoch - 1]["validation_loss"]
    assert judge(last, part, LABELS, torch.float32)["loss"] == taken.history[-1]["validation_loss"]


def test_training_stops_when_nothing_gets_better(tmp_path):
    still = {"learning_rate": 1e-30, "optimizer": "sgd", "epochs": 9, "weight_decay": 0, "momentum": 0}
    model = nn.Linear(2, 3)
    fitted = train(tmp_path, model, early_stopping=2, **still)
    assert (fitted.best_epoch, fitted.epochs_run, fitted.stopped_early) == (1, 3, True)
    assert len(fitted.history) == 3


def test_patience_starts_anew_with_every_better_epoch(tmp_path):
    fitted = train(tmp_path, network(), early_stopping=3, epochs=30)
    assert fitted.stopped_early
    assert fitted.epochs_run == fitted.best_epoch + 3


def test_a_loss_that_is_no_number_is_an_error_with_a_remedy(tmp_path):
    steps = []
    with pytest.raises(DivergenceError, match=r"diverged in epoch \d: train loss is (nan|inf)\. .* try a tenth of it"):
        train(
            tmp_path,
            nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)),
            report=lambda done, total, note: steps.append(note),
            learning_rate=1000,
            optimizer="sgd",
            schedule="constant",
            epochs=50,
        )
    assert all(math.isfinite(float(note.rpartition(" ")[2])) for note in steps)


def test_inputs_that_are_no_numbers_are_noticed_in_the_first_epoch(tmp_path):
    broken = blobs(60, 0)
    broken.feed.inputs[5] = float("nan")
    with pytest.raises(DivergenceError, match="epoch 1: train loss is nan"):
        train(tmp_path, network(), train=broken)


def test_a_validation_part_of_no_numbers_is_not_blamed_on_the_learning_rate(tmp_path):
    broken = blobs(30, 1)
    broken.feed.inputs[5] = float("nan")
    told = r"validation loss is nan\. The inputs of the validation part hold .*clear --recent.* run the study anew\.$"
    with pytest.raises(DivergenceError, match=told):
        train(tmp_path, network(), validation=broken)
    targets = torch.arange(20.0)
    sound, part = Labelled(blobs(20, 0).feed, targets), Labelled(blobs(20, 0).feed, targets.clone())
    part.targets[3] = float("inf")
    settings = Training(epochs=2, batch_size=8, loss="squared")
    with pytest.raises(DivergenceError, match="The targets of the validation part hold values that are no numbers"):
        fit(
            nn.Linear(2, 1), sound, part, settings,
            classes=None, precision=torch.float32, seed=0, checkpoint=tmp_path / "numbers" / "state.safetensors",
        )  # fmt: skip
    assert not (tmp_path / "checkpoint").exists()


def test_progress_counts_every_batch(tmp_path):
    seen = []
    train(tmp_path, network(), report=lambda *args: seen.append(args))
    assert [done for done, _, _ in seen] == list(range(1, 13))  # 60 samples in 4 batches, 3 epochs
    assert {total for _, total, _ in seen} == {12}
    assert seen[-1][2].startswith("epoch 3/3, loss ")


def test_label_smoothing_and_class_weights_change_what_is_learned(tmp_path):
    part = Labelled(blobs(60, 0).feed, torch.tensor([0] * 40 + [1] * 15 + [2] * 5))
    trained = []
    for number, settings in enumerate([{}, {"label_smoothing": 0.2}, {"class_weights": True}]):
        model = network()
        train(tmp_path / str(number), model, train=part, **settings)
        trained.append(weights(model))
    assert not any(same(first, second) for first, second in pairwise([*trained, trained[0]]))


@given(st.lists(st.integers(0, 3), min_size=4, max_size=50).filter(lambda targets: set(targets) == {0, 1, 2, 3}))
def test_class_weights_equal_scikit_learns(targets):
    expected = compute_class_weight("balanced", classes=np.arange(4), y=targets)
    np.testing.assert_allclose(class_weights(torch.tensor(targets), 4).numpy(), expected, rtol=1e-6)


def test_a_class_that_is_not_there_has_a_finite_weight():
    assert torch.isfinite(class_weights(torch.tensor([0, 0, 2]), 3)).all()


@given(st.integers(1, 300), st.integers(2, 70), st.integers(0, 2**31 - 1), st.integers(0, 50))
def test_batches_hold_every_row_once_and_never_one_alone(samples, batch_size, seed, epoch):
    batches = epoch_batches(samples, batch_size, seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(samples))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, samples)
    assert max(sizes) <= max(batch_size, 3)
    again = epoch_batches(samples, batch_size, seed, epoch)
    assert all(np.array_equal(first, second) for first, second in zip(batches, again, strict=True))


def test_every_epoch_has_an_order_of_its_own():
    orders = {tuple(np.concatenate(epoch_batches(30, 8, seed, epoch))) for seed in (0, 1) for epoch in range(5)}
    assert len(orders) == 10


def test_an_odd_number_of_images_in_pairs_passes_through_batch_normalisation(tmp_path):
    fitted = train(tmp_path, network(), train=blobs(7, 0), batch_size=2, epochs=1)
    assert fitted.epochs_run == 1


@pytest.mark.parametrize("seed", range(3))
def test_judging_equals_scikit_learn(seed):
    part, model = blobs(40, seed), network(seed)
    found = judge(model, part, LABELS, torch.float32)
    with torch.inference_mode():
        probabilities = torch.softmax(model.eval()(part.feed.inputs).double(), dim=1).numpy()
    predicted, targets = probabilities.argmax(axis=1), part.targets.numpy()
    assert found["loss"] == pytest.approx(log_loss(targets, probabilities), rel=1e-5)
    assert found["accuracy"] == pytest.approx((predicted == targets).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(targets, predicted))


def test_numbers_are_learned_by_squared_error(tmp_path):
    rng = np.random.default_rng(0)
    points = torch.tensor(rng.normal(size=(80, 2)), dtype=torch.float32)
    part = Labelled(Vectors(points), 3 * points[:, 0] - points[:, 1] + 2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 1))
    settings = Training(epochs=60, batch_size=16, learning_rate=0.1, weight_decay=0.0)
    checkpoint = tmp_path / "state.safetensors"
    fitted = fit(model, part, part, settings, classes=None, precision=torch.float32, seed=0, checkpoint=checkpoint)
    assert set(fitted.history[0]) == {
        "epoch", "learning_rate", "train_loss", "validation_loss", "validation_mean_squared_error",
            "validation_mean_absolute_error", "seconds"
    }  # fmt: skip
    assert fitted.history[fitted.best_epoch - 1]["validation_loss"] < 1e-3
    np.testing.assert_allclose(model[0].weight.detach(), [[3, -1]], atol=0.05)
    outputs, targets = forward(model, part.feed, torch.float32), part.targets
    expected = ((outputs[:, 0] - targets) ** 2).mean().item()
    assert Numbers(settings).measures(outputs, targets)["loss"] == pytest.approx(expected)


def test_judging_passes_over_classes_that_are_not_there():
    part = blobs(20, 0, classes=2)
    found = judge(network(), part, LABELS, torch.float32)
    assert 0 <= found["balanced_accuracy"] <= 1


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_logits_come_in_the_order_of_the_feed(batch):
    part, model, seen = blobs(20, 0), network(), []
    logits = forward(model, part.feed, torch.float32, batch, lambda done, total, _: seen.append((done, total)))
    with torch.inference_mode():
        expected = model.eval()(part.feed.inputs)
    torch.testing.assert_close(logits, expected)
    assert logits.dtype == torch.float32
    assert seen[-1] == (20, 20)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_muons_matrix_products_are_in_the_precision_of_the_network(tmp_path, monkeypatch, precision):
    formats = set()

    def noted(matrix: torch.Tensor) -> torch.Tensor:
        formats.add((matrix @ matrix.T).dtype)
        return orthogonalised(matrix)

    monkeypatch.setattr("clearmargin.training.muon.orthogonalised", noted)
    train(tmp_path, network(), precision=precision, optimizer="muon")
    assert formats == {precision}
