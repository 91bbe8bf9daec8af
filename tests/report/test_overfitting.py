"""The note on overfitting, on curves whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from clearmargin.report.overfitting import find_pulling_ahead, follow_loss, overfitting_sentence


def history(train, validation, quantity="loss", **more):
    table = {"epoch": np.arange(1, len(train) + 1), f"train_{quantity}": train, f"validation_{quantity}": validation}
    return pd.DataFrame({**table, **more})


def falling(epochs):
    return 1.5 * np.exp(-np.arange(epochs) / 4)


def find_overfitting(table):
    course = follow_loss(table)
    return course if course.reason == "overfits" else None


VALLEY = [1.1, 0.9, 0.8, 0.74, 0.71, 0.74, 0.79, 0.85, 0.9, 0.95]


def test_a_valley_is_found_where_it_is():
    found = find_overfitting(history(falling(10), VALLEY))
    assert (found.lowest_epoch, found.lowest, found.from_epoch) == (5, 0.71, 6)
    assert found.end == pytest.approx(0.9)
    assert overfitting_sentence(history(falling(10), VALLEY), 100) == (
        "From epoch 6 on it overfits: its validation loss, lowest in epoch 5 with 0.710, rises to 0.900, while its "
        "training loss falls on."
    )


def test_training_loss_above_validation_does_not_hide_it():
    """Dropout and augmentation lift the training loss; only its direction counts."""
    assert find_overfitting(history(falling(10) + 3, VALLEY)) is not None


def test_a_flat_floor_before_the_rise_is_not_yet_overfitting():
    validation = [1.2, 0.9, 0.71, 0.702, 0.705, 0.703, 0.704, 0.75, 0.8, 0.86, 0.9]
    found = find_overfitting(history(falling(11), validation))
    assert found.lowest_epoch == 4
    assert found.from_epoch == 8


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (falling(10), falling(10) + 0.3),
        (falling(10), np.full(10, 0.7)),
        (falling(10), [*falling(8) + 0.3, 0.56, 0.57]),
        (falling(10), [1.1, 0.9, 0.71, 1.6, 0.72, 0.73, 0.72, 0.71, 0.715, 0.712]),  # one spike
        (falling(10), [0.66, 1.0, 1.9, 1.0, 0.9, 0.8, 0.75, 0.72, 0.69, 0.67]),  # comes back to its lowest
    ],
    ids=["falls", "flat", "last bump", "spike", "comes back"],
)
def test_what_is_not_overfitting(train, validation):
    table = history(train, validation)
    assert find_overfitting(table) is None
    assert overfitting_sentence(table, 100).startswith("No sign of overfitting in 10 epochs")


def test_noise_alone_is_rarely_taken_for_it_and_a_real_rise_under_noise_is_found():
    random = np.random.default_rng(0)
    for epochs in (10, 30):
        flat = sum(
            find_overfitting(history(falling(epochs), 0.7 + random.normal(0, 0.03, epochs))) is not None
            for _ in range(400)
        )
        assert flat <= 0.06 * 400, epochs
    t = np.arange(20)
    rising = 0.7 + 0.9 * np.exp(-t / 2) + 0.05 * np.maximum(t - 6, 0)
    found = [find_overfitting(history(falling(20), rising + random.normal(0, 0.02, 20))) for _ in range(100)]
    kept = [one.from_epoch for one in found if one is not None]
    assert len(kept) >= 95
    assert 6 <= np.median(kept) <= 10  # the curve turns after epoch 7


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_few_epochs_say_nothing(rows):
    table = history(falling(10), VALLEY).head(rows)
    assert find_overfitting(table) is None
    assert overfitting_sentence(table, 100) == "Too few epochs to tell whether it overfits: at least 4 are needed."


def test_what_is_not_a_number_is_left_out():
    validation = [*VALLEY[:7], np.nan, *VALLEY[7:]]
    found = find_overfitting(history(falling(11), validation))
    assert (found.lowest_epoch, found.from_epoch) == (5, 6)
    assert find_overfitting(history(falling(10), [np.nan] * 10)) is None
    assert find_overfitting(pd.DataFrame({"epoch": [1, 2]})) is None


def test_a_training_accuracy_that_pulls_ahead_is_told_from_noise():
    train = [0.3, 0.45, 0.55, 0.62, 0.68, 0.72, 0.76, 0.79, 0.81, 0.83]
    validation = [0.4, 0.52, 0.57, 0.61, 0.64, 0.66, 0.68, 0.69, 0.70, 0.70]
    losses = {"train_loss": falling(10), "validation_loss": falling(10) + 0.3}
    table = history(train, validation, "accuracy", **losses)
    found = find_pulling_ahead(table, 10_000)
    assert found.from_epoch == 4
    assert (found.train, found.validation) == pytest.approx((0.81, 0.69667), abs=1e-4)
    gap = "From epoch 4 on the training accuracy lies above that on validation (0.810 against 0.697 at the end)"
    assert overfitting_sentence(table, 10_000) == f"{gap}: a gap of 0.113, but validation still improves."
    level = table.assign(validation_loss=0.8, validation_accuracy=[*validation[:4], *[0.696667] * 6])
    assert overfitting_sentence(level, 10_000) == gap.replace("4", "6", 1) + (
        ", while validation gets no better: overfitting begins."
    )
    assert find_pulling_ahead(table, 25) is None  # so few validation images could give that by chance
    assert find_pulling_ahead(history(validation, train, "accuracy"), 10_000) is None


RISING = [1, 0.5, 0.4, 0.6, 0.8, 1.0]
ACCURACIES = {
    "train_accuracy": [0.5, 0.7, 0.9, 0.85, 0.86, 0.88],
    "validation_accuracy": [0.5, 0.7, 0.8, 0.7, 0.6, 0.6],
}


@pytest.mark.parametrize("more", [{}, ACCURACIES], ids=["losses", "accuracies too"])
def test_losses_that_both_rise_diverge(more):
    assert overfitting_sentence(history([1, 0.6, 0.3, 0.5, 0.7, 0.9], RISING, **more), 1000) == (
        "From epoch 4 on it diverges: its validation loss, lowest in epoch 3 with 0.400, rises to 0.800, and its "
        "training loss rises as well. That is no overfitting; a lower learning rate may help."
    )


def test_a_training_loss_that_has_reached_its_floor_does_not_diverge():
    table = history([1, 0.1, 1e-4, 2e-4, 1e-4, 2e-4], RISING)
    assert overfitting_sentence(table, 1000) == (
        "From epoch 4 on its validation loss, lowest in epoch 3 with 0.400, rises to 0.800, while its training loss "
        "falls no further."
    )


def test_a_single_low_epoch_is_called_so():
    assert overfitting_sentence(history(falling(6), [1, 0.2, 1, 1, 1, 1]), 1000) == (
        "No sign of overfitting in 6 epochs: the validation loss, lowest in epoch 2 with 0.200, ends at 1.000, but it "
        "was so low in that epoch alone, not in those beside it."
    )


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ([1.0, 0.8, 0.2, 1.0], "the validation loss is lowest in epoch 3 with 0.200, which is one of the last two."),
        (np.full(10, 0.7), "the validation loss ends at its lowest or close to it."),
        ([0.7, 0.6, 0.7, 0.6, 0.72, 0.61, 0.7, 0.66], "no further above than its ups and downs can explain."),
        ([0.8, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 0.5], "rises but comes back close to that."),
    ],
)
def test_why_no_rise_is_seen(validation, words):
    said = overfitting_sentence(history(falling(len(validation)), validation), 1000)
    assert said.startswith(f"No sign of overfitting in {len(validation)} epochs: ")
    assert said.endswith(words)


@pytest.mark.parametrize("good", [0, 2, 4, 9])
def test_losses_that_are_no_numbers_at_the_end_are_told(good):
    broken = [*VALLEY[:good], *[np.nan] * 8]
    assert overfitting_sentence(history(broken, broken), 1000) == (
        f"Training broke down: from epoch {good + 1} on, its losses are no finite numbers. A lower learning rate may "
        "help."
    )
