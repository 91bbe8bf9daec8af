"""The plain CNN computes what its recipe lists, while training in another order and to the same bits."""

import copy

import pytest
import torch
from torch import nn

from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Contender

LAYERS = [
    {"conv": 6, "activation": "relu"},
    {"pool": "max", "size": 2},
    {"conv": 8, "batch_norm": True, "activation": "relu"},
    {"pool": "max", "size": 3, "stride": 2},
    {"conv": 4, "activation": "tanh"},
    {"pool": "max", "size": 2},
    {"flatten": True},
    {"dense": 8, "activation": "relu"},
]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_relu_after_max_pooling_changes_no_bit(precision):
    network = build_network(Contender.model_validate({"name": "n", "layers": LAYERS}), (3, 25, 25), 3).train()
    initialise(network, torch.Generator().manual_seed(0))
    listed = copy.deepcopy(network)
    assert network._training_order != list(range(len(network.layers)))
    inputs = torch.randn(9, 3, 25, 25, generator=torch.Generator().manual_seed(1)).round(decimals=1)  # with ties
    with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
        quick, plain = network(inputs), nn.Sequential(*listed.layers)(inputs)
    assert torch.equal(quick, plain)
    for outputs in (quick, plain):
        nn.functional.cross_entropy(outputs.float(), torch.arange(9) % 3).backward()
    pairs = zip(network.parameters(), listed.parameters(), strict=True)
    assert all(torch.equal(ours.grad, theirs.grad) for ours, theirs in pairs)
