"""Filters, maps and Grad-CAM against what they are by definition."""

import numpy as np
import pytest
import torch
from torch import nn

from clearmargin.evaluation.explanations import STRIP_STAGES, feature_maps, first_filters, grad_cam
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Contender

CNN = [
    {"conv": 6, "kernel": 3, "batch_norm": True, "activation": "relu"},
    {"pool": "max"},
    {"conv": 5, "kernel": 4, "activation": "tanh"},  # an even kernel: zeros on one side come from a module of their own
    {"pool": "average"},
    {"dropout": 0.5},
    {"conv": 8, "kernel": 3, "activation": "relu"},
    {"flatten": True},
    {"dense": 7, "activation": "relu"},
]


def built(settings, shape=(3, 32, 32), classes=4):
    network = build_network(Contender.model_validate({"name": "n", **settings}), shape, classes)
    initialise(network, torch.Generator().manual_seed(1))
    return network.eval()


def images(count, shape=(3, 32, 32)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(3))


class Residual(nn.Module):
    """A convolution beside a short cut, and one ReLU used twice, in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.relu, self.dense = nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, inputs):
        outer = self.relu(self.first(inputs))
        return self.dense(self.relu(self.norm(self.second(outer)) + outer).mean(dim=(2, 3)))

    def head(self, maps):
        return self.dense(maps.mean(dim=(2, 3)))

    def maps(self, inputs):
        outer = self.relu(self.first(inputs))
        return self.relu(self.norm(self.second(outer)) + outer)


class Corner(nn.Module):
    """Class 1 is the brightness of the upper left corner, class 0 that of the lower right one."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2 * 16 * 16, 2, bias=False)
        weights = torch.zeros(2, 2, 16, 16)
        weights[1, 0, :4, :4] = 1
        weights[0, 1, 12:, 12:] = 1
        with torch.no_grad():
            self.conv.weight.fill_(1)
            self.dense.weight.copy_(weights.flatten(1))

    def forward(self, inputs):
        return self.dense(self.conv(inputs).flatten(1))


def by_hand(maps, head, classes):
    """Selvaraju et al. 2017, equations 1 and 2, by plain autograd."""
    maps = maps.detach().requires_grad_()
    head(maps)[torch.arange(len(maps)), torch.tensor(classes)].sum().backward()
    weights = maps.grad.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * maps).sum(dim=1)).detach().numpy()


def test_grad_cam_is_the_weighted_sum_of_the_last_convolution():
    network, batch, classes = built({"layers": CNN}), images(9), [0, 1, 2, 3, 0, 1, 2, 3, 3]
    after = next(k for k, module in enumerate(network.layers) if isinstance(module, nn.Flatten))
    found = grad_cam(network, batch, classes)
    expected = by_hand(network.layers[:after](batch), network.layers[after:], classes)
    assert found.layer == "conv 8, 3x3, relu"
    assert found.maps.shape == (9, 8, 8)
    assert found.maps.dtype == np.float32
    assert (found.maps > 0).any()
    np.testing.assert_allclose(found.maps, expected, atol=1e-7)


def test_grad_cam_of_a_residual_network_takes_the_sum_after_its_last_activation():
    network, batch = Residual().eval(), images(3)
    found = grad_cam(network, batch, [1, 2, 0])
    np.testing.assert_allclose(found.maps, by_hand(network.maps(batch), network.head, [1, 2, 0]), atol=1e-7)


@pytest.mark.parametrize("freeze", ["none", "block3", "block4", "block5"])
def test_grad_cam_of_vgg16_with_frozen_blocks(freeze):
    settings = {"architecture": "vgg16", "weights": "imagenet", "freeze_through": freeze}
    network, batch = built(settings, (3, 64, 64)), images(2, (3, 64, 64))
    asked = [parameter.requires_grad for parameter in network.parameters()]
    found = grad_cam(network, batch, [0, 3])
    assert found.maps.shape == (2, 4, 4)
    assert found.maps.max() > 0
    assert [parameter.requires_grad for parameter in network.parameters()] == asked
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_that_looks_at_one_corner_lights_it_up():
    image = torch.zeros(1, 1, 16, 16)
    image[..., :4, :4] = 1
    found = grad_cam(Corner(), image.repeat(2, 1, 1, 1), [1, 0])
    seen = np.argwhere(found.maps[0] > 0)
    assert len(seen) == 16
    assert seen.max() == 3
    dark = torch.zeros(1, 1, 16, 16)
    assert grad_cam(Corner(), dark, [1]).maps.max() == 0


def test_explaining_leaves_the_network_as_it_was():
    network, batch = built({"layers": CNN}), images(2)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    before = network(batch)
    grad_cam(network, batch, [0, 1])
    feature_maps(network, batch[0])
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())
    assert torch.equal(network(batch), before)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_strip_has_every_stage_with_its_shape():
    network, image = built({"layers": CNN}), images(1)[0]
    strip = feature_maps(network, image, most_channels=4)
    assert [(stage.layer, stage.shape) for stage in strip] == [
        ("conv 6, 3x3, batch norm, relu", (6, 32, 32)),
        ("max pool, 2x2", (6, 16, 16)),
        ("conv 5, 4x4, tanh", (5, 16, 16)),
        ("average pool, 2x2", (5, 8, 8)),
        ("conv 8, 3x3, relu", (8, 8, 8)),
    ]
    for stage in strip:
        assert stage.maps.shape == (min(4, stage.shape[0]), *stage.shape[1:])
    first = network.layers[:3](image[None])[0].detach()
    means = first.mean(dim=(1, 2))
    assert strip[0].channels == tuple(means.argsort(descending=True)[:4].tolist())
    np.testing.assert_array_equal(strip[0].maps, first[list(strip[0].channels)].numpy())


def test_a_deep_network_shows_its_first_stage_and_the_last_of_each_size():
    network = built({"architecture": "vgg16", "weights": "none"}, (3, 64, 64))
    strip = feature_maps(network, images(1, (3, 64, 64))[0])
    assert [stage.shape for stage in strip] == [
        (64, 64, 64), (64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4), (512, 2, 2),
    ]  # fmt: skip
    assert len(strip) <= STRIP_STAGES


def test_a_module_of_its_own_that_pools_is_a_stage_named_after_itself():
    class SumPool2d(nn.Module):
        def forward(self, inputs):
            return 4 * nn.functional.avg_pool2d(inputs, 2)

    network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), SumPool2d(), nn.Flatten(), nn.Linear(2 * 16 * 16, 4))
    strip = feature_maps(network, images(1)[0])
    assert [stage.layer for stage in strip] == ["conv 2, 3x3", "sum pool"]


def test_first_filters_are_the_weights():
    network = built({"layers": CNN})
    found = first_filters(network)
    np.testing.assert_array_equal(found.weights, network.layers[0].weight.detach().numpy())
    assert (found.layer, found.learned) == ("conv 6, 3x3", True)
    frozen = built({"architecture": "vgg16", "weights": "imagenet", "freeze_through": "block1"})
    assert not first_filters(frozen).learned


def test_a_network_without_convolutions_has_nothing_to_show():
    network, batch = built({"layers": [{"flatten": True}, {"dense": 5}]}), images(2)
    assert first_filters(network) is None
    assert feature_maps(network, batch[0]) == []
    assert grad_cam(network, batch, [0, 1]) is None


def test_maps_of_a_single_value_say_nothing_of_where():
    network = built({"layers": [{"conv": 4, "kernel": 8, "padding": "valid"}]}, (3, 8, 8))
    assert feature_maps(network, images(1, (3, 8, 8))[0]) == []
    assert grad_cam(network, images(1, (3, 8, 8)), [0]) is None
