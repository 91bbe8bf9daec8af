"""What is taken on the way of a pass: mean and deviation of each map, whatever its layout, and the maps left alone."""

import numpy as np
import pytest
import torch

from clearmargin.evaluation.watching import watching
from clearmargin.models import build_network
from clearmargin.recipe import Contender


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_features_are_mean_and_deviation_of_input_and_convolutions(layout, precision):
    layers = [{"conv": 5, "kernel": 3, "activation": "relu"}, {"pool": "max"}, {"conv": 7, "kernel": 3, "stride": 2}]
    torch.manual_seed(0)
    network = build_network(Contender.model_validate({"name": "x", "layers": layers}), (3, 13, 11), 2).eval()
    network.to(memory_format=layout)
    images = torch.randn(4, 3, 13, 11).mul(3).add(100).contiguous(memory_format=layout)
    maps = [images]
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: maps.append(output.clone()))
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        plain = network(images)
        del maps[1:]
        with watching(network) as watch:
            watched = network(images)
            found = watch.take()
    assert torch.equal(plain, watched)
    expected = [
        value for one in maps for value in (one.double().mean(dim=(2, 3)), one.double().std(dim=(2, 3), correction=0))
    ]
    np.testing.assert_allclose(found, torch.cat(expected, dim=1).numpy(), rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32
    assert found.shape == (4, 2 * (3 + 5 + 7))
