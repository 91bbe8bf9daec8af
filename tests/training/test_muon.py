"""Muon beside torch's own, which takes matrices only, and AdamW beside torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from clearmargin.training.muon import Muon, orthogonalised


def with_gradients(shapes: list[tuple[int, ...]], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def test_steps_that_compute_in_bfloat16_are_the_same_but_for_rounding() -> None:
    shapes = [(16, 3, 3, 3), (24, 16, 3, 3), (12,), (10, 24)]
    plain, rounded, start = (with_gradients(shapes) for _ in range(3))
    Muon(plain, lr=0.02).step()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Muon(rounded, lr=0.02).step()
    for number, (one, other, before) in enumerate(zip(plain, rounded, start, strict=True)):
        moved = (one - before).norm()
        assert (one - other).norm() < 0.06 * moved  # torch's own iterates in bfloat16 altogether
        assert torch.equal(one, other) == (number >= 2)  # AdamW's part has no matrix product


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_matrices_move_as_with_torchs_muon(shape: tuple[int, int], decay: float) -> None:
    ours, last = with_gradients([shape, (3, 4)])
    theirs = nn.Parameter(ours.detach().clone())
    own = Muon([ours, last], lr=0.02, momentum=0.9, weight_decay=decay)
    other = optim.Muon([theirs], lr=0.02, momentum=0.9, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        ours.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        theirs.grad = ours.grad.clone()
        own.step()
        other.step()
    # torch iterates in bfloat16
    assert torch.allclose(ours, theirs, atol=0.02 * 5 * 0.2 * 20**0.5 * 0.02)
    assert not torch.allclose(ours, theirs + 0.01, atol=1e-3)


def test_all_else_moves_as_with_adamw() -> None:
    ours = with_gradients([(4, 5), (3, 4), (5,), (1,)])
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours[1:]]
    own = Muon(ours, lr=0.02, weight_decay=0.1)  # of the matrices the second is the output layer
    other = optim.AdamW(theirs, lr=0.02, weight_decay=0.1)
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        for mine, other_one in zip(ours[1:], theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other_one.grad = mine.grad.clone()
        own.step()
        other.step()
    for mine, other_one in zip(ours[1:], theirs, strict=True):
        assert torch.allclose(mine, other_one, atol=1e-6)


def test_filters_are_rows_of_a_matrix() -> None:
    filters, last = with_gradients([(6, 3, 2, 2), (3, 4)])
    matrix = nn.Parameter(filters.detach().flatten(1).clone())
    matrix.grad = filters.grad.flatten(1).clone()
    Muon([filters, last], lr=0.1).step()
    Muon([matrix, last], lr=0.1).step()
    assert torch.allclose(filters.flatten(1), matrix, atol=1e-6)


def test_how_filters_lie_in_memory_changes_nothing() -> None:
    plain, last = with_gradients([(6, 3, 2, 2), (3, 4)])
    turned = nn.Parameter(plain.detach().to(memory_format=torch.channels_last))
    turned.grad = plain.grad.to(memory_format=torch.channels_last)
    Muon([plain, last], lr=0.1).step()
    Muon([turned, last], lr=0.1).step()
    assert torch.allclose(plain, turned, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99), st.floats(1e-3, 1e3))
def test_singular_values_come_near_one(rows: int, columns: int, seed: int, size: float) -> None:
    random = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(random)
    made = torch.linalg.svdvals(orthogonalised(size * random))
    assert (made < 1.25).all()
    assert (made[values > 0.05 * values[0]] > 0.6).all()
    assert torch.allclose(orthogonalised(size * random), orthogonalised(random), atol=1e-4)


def test_a_gradient_of_nothing_moves_nothing() -> None:
    matrix, last = with_gradients([(4, 5), (3, 4)])
    before = matrix.detach().clone()
    matrix.grad.zero_()
    last.grad = None
    Muon([matrix, last], lr=0.1).step()
    assert torch.equal(matrix, before)


def test_its_state_can_be_stored_and_gone_on_from() -> None:
    def step(parameters: list[nn.Parameter], optimizer: Muon, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    shapes = [(4, 3, 2, 2), (4,), (3, 4), (3,)]
    first = with_gradients(shapes)
    one = Muon(first, lr=0.1)
    for seed in range(3):
        step(first, one, seed)
    second = [nn.Parameter(parameter.detach().clone()) for parameter in first]
    other = Muon(second, lr=0.1)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    step(first, one, 9)
    step(second, other, 9)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
