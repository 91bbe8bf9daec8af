"""The note on overfitting, on curves whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from clearmargin.report.overfitting import find_overfitting, find_pulling_ahead, overfitting_sentence


def history(train, validation, quantity="loss", **more):
    table = {"epoch": np.arange(1, len(train) + 1), f"train_{quantity}": train, f"validation_{quantity}": validation}
    return pd.DataFrame({**table, **more})


def falling(epochs):
    return 1.5 * np.exp(-np.arange(epochs) / 4)


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
        (np.linspace(0.5, 1.5, 10), VALLEY),  # both rise: it diverges, which is not overfitting
        (falling(10), [1.1, 0.9, 0.71, 1.6, 0.72, 0.73, 0.72, 0.71, 0.715, 0.712]),  # one spike
        (falling(10), [0.66, 1.0, 1.9, 1.0, 0.9, 0.8, 0.75, 0.72, 0.69, 0.67]),  # comes back to its lowest
    ],
    ids=["falls", "flat", "last bump", "diverges", "spike", "comes back"],
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
    assert overfitting_sentence(table, 10_000).startswith(
        "From epoch 4 on the training accuracy lies above that on validation (0.810 against 0.697 at the end)"
    )
    assert find_pulling_ahead(table, 25) is None  # so few validation images could give that by chance
    assert find_pulling_ahead(history(validation, train, "accuracy"), 10_000) is None
