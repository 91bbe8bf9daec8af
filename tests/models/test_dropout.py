"""Dropout: the right share, independent, scaled, repeatable; and PyTorch's in everything but the lot it draws."""

import pytest
import torch
from scipy import stats

from clearmargin.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.1, 0.25, 0.5, 0.9])
def test_the_share_of_zeros_is_that_asked_for(p):
    torch.manual_seed(1)
    values = Dropout(p).train()(torch.ones(400_003))
    zeros = int((values == 0).sum())
    assert stats.binomtest(zeros, len(values), p).pvalue > 1e-4
    kept = values[values != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-4, atol=0)
    for lane in range(4):  # the four values of one random number, and neighbours, have nothing to do with each other
        assert stats.binomtest(int((values[lane::4] == 0).sum()), len(values[lane::4]), p).pvalue > 1e-4
    for apart in (1, 2, 3, 4):
        both = int(((values[apart:] == 0) & (values[:-apart] == 0)).sum())
        assert stats.binomtest(both, len(values) - apart, p * p).pvalue > 1e-4


def test_the_same_seed_gives_the_same_lot_and_the_next_call_another():
    dropout, values = Dropout(0.5).train(), torch.ones(8, 5, 3, 2)
    torch.manual_seed(3)
    first, second = dropout(values), dropout(values)
    torch.manual_seed(3)
    assert torch.equal(dropout(values), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_when_judging_or_at_zero():
    values = torch.rand(7)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0).train()(values), values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_pass_where_values_do(dtype):
    values = torch.rand(6, 4, 5, 5).to(dtype).to(memory_format=torch.channels_last).add(1).requires_grad_()
    out = Dropout(0.25).train()(values)
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    torch.testing.assert_close(values.grad, (out != 0).to(dtype) * (4 / 3))
