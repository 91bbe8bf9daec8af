import numpy as np
import pytest
import torch
from torch import nn, optim

from clearmargin.recipe import Training
from clearmargin.training.muon import Muon
from clearmargin.training.optimizers import SCHEDULES, build_optimizer, constant, cosine, one_cycle, set_learning_rate

PROGRESS = [step / 1000 for step in range(1000)]


def test_one_cycle_goes_up_for_a_quarter_and_down_to_nearly_nothing():
    assert one_cycle(0) == pytest.approx(1 / 25)
    assert one_cycle(0.25) == pytest.approx(1)
    assert one_cycle(0.125) == pytest.approx((1 + 1 / 25) / 2)
    assert one_cycle(1) == pytest.approx(1e-4)
    values = [one_cycle(progress) for progress in PROGRESS]
    assert values[:251] == sorted(values[:251])
    assert values[250:] == sorted(values[250:], reverse=True)


def test_cosine_goes_down_from_one_to_zero():
    assert (cosine(0), cosine(1)) == pytest.approx((1, 0))
    assert cosine(0.5) == pytest.approx(0.5)
    values = [cosine(progress) for progress in PROGRESS]
    assert values == sorted(values, reverse=True)


def test_constant_is_constant():
    assert {constant(progress) for progress in PROGRESS} == {1.0}


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_the_rate_of_a_step_needs_no_memory(schedule):
    settings = Training(schedule=schedule, learning_rate=0.2)
    optimizer = build_optimizer(nn.Linear(2, 2).parameters(), settings)
    forwards = [set_learning_rate(optimizer, settings, step, 40) for step in range(40)]
    backwards = [set_learning_rate(optimizer, settings, step, 40) for step in reversed(range(40))]
    assert forwards == backwards[::-1]
    assert all(0 < rate <= 0.2 for rate in forwards)
    assert optimizer.param_groups[0]["lr"] == forwards[0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw", optim.AdamW),
        ("adam", optim.Adam),
        ("sgd", optim.SGD),
        ("rmsprop", optim.RMSprop),
        ("adadelta", optim.Adadelta),
        ("muon", Muon),
    ],
)
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_every_optimiser_goes_downhill(name, kind, momentum):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 1))
    model[0].bias.requires_grad_(False)
    frozen = model[0].bias.clone()
    settings = Training(optimizer=name, learning_rate=1e-3, momentum=momentum)
    optimizer = build_optimizer(model.parameters(), settings)
    assert type(optimizer) is kind
    inputs, losses = torch.randn(8, 2, 4, 4), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (model(inputs) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert torch.equal(model[0].bias, frozen)


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "adadelta"])
def test_weight_decay_and_momentum_arrive(name):
    settings = Training(optimizer=name, weight_decay=0.25, momentum=0.5)
    group = build_optimizer(nn.Linear(2, 2).parameters(), settings).param_groups[0]
    assert group["weight_decay"] == 0.25
    assert group.get("momentum", 0.5) == 0.5


def test_adadelta_steps_as_in_keras():
    """Zeiler (2012, algorithm 1), with the rho of 0.95 and the epsilon of 1e-7 that Keras takes."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = build_optimizer([weight], Training(optimizer="adadelta", learning_rate=1.0))
    value, squares, changes = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for _ in range(20):
        optimizer.zero_grad()
        (weight**3).sum().backward()
        optimizer.step()
        gradient = 3 * value**2
        squares = 0.95 * squares + 0.05 * gradient**2
        change = -np.sqrt(changes + 1e-7) / np.sqrt(squares + 1e-7) * gradient
        changes = 0.95 * changes + 0.05 * change**2
        value = value + change
    np.testing.assert_allclose(weight.detach(), value, rtol=1e-5)
