import numpy as np
import pytest
import torch
from torch import nn

from clearmargin.errors import RecipeError
from clearmargin.models import PlainCNN, build_network
from clearmargin.models.layers import build_layers, initialise
from clearmargin.recipe import Contender

TUTORIAL = [  # the network of the MNIST tutorial
    {"conv": 32, "kernel": 3, "padding": "valid", "activation": "relu"},
    {"pool": "max", "size": 2},
    {"conv": 64, "kernel": 3, "padding": "valid", "activation": "relu"},
    {"pool": "max", "size": 2},
    {"dropout": 0.25},
    {"flatten": True},
    {"dense": 128, "activation": "relu"},
]


def contender(layers) -> Contender:
    return Contender.model_validate({"name": "plain", "layers": layers})


def build(layers, shape, outputs=3):
    """Modules and table of a list of layers, as dictionaries."""
    return build_layers(contender(layers).layers, shape, outputs, "'plain'")


def test_the_tutorial_network_has_the_tutorials_numbers():
    network = build_network(contender(TUTORIAL), (1, 28, 28), 10)
    assert isinstance(network, PlainCNN)
    assert sum(parameter.numel() for parameter in network.parameters()) == 225_034
    assert [(row.layer, row.output, row.parameters, row.multiply_adds) for row in network.table] == [
        ("conv 32, 3x3, valid, relu", (32, 26, 26), 320, 26 * 26 * 32 * 9),
        ("max pool, 2x2", (32, 13, 13), 0, 0),
        ("conv 64, 3x3, valid, relu", (64, 11, 11), 18_496, 11 * 11 * 64 * 32 * 9),
        ("max pool, 2x2", (64, 5, 5), 0, 0),
        ("dropout 0.25", (64, 5, 5), 0, 0),
        ("flatten", (1600,), 0, 0),
        ("dense 128, relu", (128,), 204_928, 1600 * 128),
        ("dense 10, softmax", (10,), 1290, 1280),
    ]


# What each layer gives for (3, 9, 9): its line in the table, the shape, parameters, multiply-adds.
ONE_LAYER = [
    ({"conv": 5}, "conv 5, 3x3", (5, 9, 9), 5 * 28, 81 * 5 * 27),
    ({"conv": 5, "kernel": 1}, "conv 5, 1x1", (5, 9, 9), 5 * 4, 81 * 5 * 3),
    ({"conv": 5, "kernel": 2}, "conv 5, 2x2", (5, 9, 9), 5 * 13, 81 * 5 * 12),
    ({"conv": 5, "kernel": 4, "stride": 2}, "conv 5, 4x4, stride 2", (5, 5, 5), 5 * 49, 25 * 5 * 48),
    ({"conv": 5, "kernel": 4, "padding": "valid"}, "conv 5, 4x4, valid", (5, 6, 6), 5 * 49, 36 * 5 * 48),
    ({"conv": 5, "kernel": 63}, "conv 5, 63x63", (5, 9, 9), 5 * (1 + 3 * 63**2), 81 * 5 * 3 * 63**2),
    ({"conv": 5, "stride": 20}, "conv 5, 3x3, stride 20", (5, 1, 1), 5 * 28, 5 * 27),
    (
        {"conv": 5, "batch_norm": True, "activation": "leaky_relu"},
        "conv 5, 3x3, batch norm, leaky relu",
        (5, 9, 9),
        5 * 27 + 10,
        81 * 5 * 27 + 81 * 5,
    ),
    ({"pool": "max"}, "max pool, 2x2", (3, 4, 4), 0, 0),
    ({"pool": "average", "size": 3}, "average pool, 3x3", (3, 3, 3), 0, 0),
    ({"pool": "max", "size": 3, "stride": 2}, "max pool, 3x3, stride 2", (3, 4, 4), 0, 0),
    ({"pool": "max", "size": 1}, "max pool, 1x1", (3, 9, 9), 0, 0),
    ({"pool": "global_max"}, "global max pool", (3,), 0, 0),
    ({"pool": "global_average"}, "global average pool", (3,), 0, 0),
    ({"dropout": 0}, "dropout 0", (3, 9, 9), 0, 0),
    ({"flatten": True}, "flatten", (243,), 0, 0),
    ({"batch_norm": True}, "batch norm", (3, 9, 9), 6, 243),
]


@pytest.mark.parametrize(("layer", "words", "output", "parameters", "work"), ONE_LAYER)
def test_each_layer_on_a_map(layer, words, output, parameters, work):
    network, table = build([layer], (3, 9, 9))
    assert (table[0].layer, table[0].output, table[0].parameters, table[0].multiply_adds) == (
        words,
        output,
        parameters,
        work,
    )
    assert sum(row.parameters for row in table) == sum(parameter.numel() for parameter in network.parameters())
    inputs = torch.rand(2, 3, 9, 9)
    shapes = []
    for module in network:
        inputs = module(inputs)
        shapes.append(tuple(inputs.shape[1:]))
    assert output in shapes
    assert shapes[-1] == (3,) == table[-1].output


@pytest.mark.parametrize(
    ("layer", "words", "output", "parameters", "work"),
    [
        ({"dense": 4, "activation": "gelu"}, "dense 4, gelu", (4,), 7 * 4 + 4, 28),
        ({"batch_norm": True}, "batch norm", (7,), 14, 7),
        ({"dropout": 0.5}, "dropout 0.5", (7,), 0, 0),
        ({"flatten": True}, "flatten", (7,), 0, 0),
    ],
)
def test_each_layer_on_a_row_of_values(layer, words, output, parameters, work):
    network, table = build([layer], (7,), outputs=2)
    assert (table[0].layer, table[0].output, table[0].parameters, table[0].multiply_adds) == (
        words,
        output,
        parameters,
        work,
    )
    assert network(torch.rand(3, 7)).shape == (3, 2)
    assert len(table) == 2  # nothing is flattened twice


def test_a_batch_norm_counts_the_same_however_it_is_spelled():
    _, together = build([{"conv": 4, "batch_norm": True}], (3, 8, 8))
    _, apart = build([{"conv": 4}, {"batch_norm": True}], (3, 8, 8))
    assert sum(row.multiply_adds for row in together) == sum(row.multiply_adds for row in apart)


def naive_conv(image: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, same: bool) -> np.ndarray:
    """Cross-correlation in loops; ``same`` puts the odd zero after, as TensorFlow does."""
    size = weight.shape[-1]
    before, after = ((size - 1) // 2, size - 1 - (size - 1) // 2) if same else (0, 0)
    padded = np.pad(image, ((0, 0), (before, after), (before, after)))
    side = (padded.shape[1] - size) // stride + 1
    out = np.zeros((len(weight), side, side))
    for y in range(side):
        for x in range(side):
            window = padded[:, y * stride : y * stride + size, x * stride : x * stride + size]
            out[:, y, x] = (weight * window).sum(axis=(1, 2, 3)) + bias
    return out


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolutions_equal_loops(kernel, stride, padding):
    network, table = build([{"conv": 2, "kernel": kernel, "stride": stride, "padding": padding}], (3, 7, 7))
    conv = next(module for module in network if isinstance(module, nn.Conv2d))
    image = torch.rand(1, 3, 7, 7)
    last = list(network).index(conv) + 1
    found = nn.Sequential(*list(network)[:last])(image)[0].detach().numpy()
    expected = naive_conv(
        image[0].numpy(), conv.weight.detach().numpy(), conv.bias.detach().numpy(), stride, padding == "same"
    )
    assert found.shape == table[0].output
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("relu", nn.ReLU),
        ("leaky_relu", nn.LeakyReLU),
        ("elu", nn.ELU),
        ("gelu", nn.GELU),
        ("tanh", nn.Tanh),
        ("sigmoid", nn.Sigmoid),
    ],
)
def test_activations_come_after_the_normalisation(name, kind):
    network, _ = build([{"conv": 2, "batch_norm": True, "activation": name}], (1, 4, 4))
    assert [type(module) for module in network][:3] == [nn.Conv2d, nn.BatchNorm2d, kind]


def test_a_list_that_ends_in_a_map_is_flattened_for_the_output():
    network, table = build([{"conv": 2}], (1, 4, 4))
    assert [row.layer for row in table] == ["conv 2, 3x3", "flatten", "dense 3, softmax"]
    assert network(torch.rand(5, 1, 4, 4)).shape == (5, 3)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [{"conv": 2}, {"dense": 4}],
            r"Layer 2 of 'plain' \(dense 4\) needs one row of values, got a map of shape 2x8x8: put \{ flatten = true",
        ),
        (
            [{"flatten": True}, {"conv": 2}],
            r"Layer 2 of 'plain' \(conv\) needs a map .*, got 192 values: put it before",
        ),
        ([{"pool": "global_max"}, {"pool": "max"}], r"Layer 2 of 'plain' \(pool\) needs a map .*, got 3 values"),
        (
            [{"pool": "max", "size": 4}, {"conv": 2, "kernel": 3, "padding": "valid"}],
            r"Layer 2 of 'plain' \(conv 2, kernel 3\) does not fit the map of shape 3x2x2 .* a kernel of at most 2,",
        ),
        (
            [{"conv": 4}, {"pool": "average", "size": 9}],
            r"Layer 2 of 'plain' \(average pool, size 9\) would empty the map of shape 4x8x8 .* a size of at most 8",
        ),
        (
            [{"flatten": True}, {"dense": 65536}, {"dense": 65536}],
            r"Layer 3 of 'plain' would have 4,294,967,296 parameters, more than 500,000,000: pool more",
        ),
        ([{"conv": 4096}, {"conv": 4096, "kernel": 63}], r"Layer 2 of 'plain' would have 66,588,770,304 parameters"),
    ],
)
def test_a_layer_that_does_not_fit_is_named_with_its_shape_and_a_remedy(layers, message):
    with pytest.raises(RecipeError, match=message):
        build(layers, (3, 8, 8))


def test_a_network_that_is_too_large_altogether_is_refused():
    with pytest.raises(RecipeError, match=r"^'plain' would have 501,000,000 parameters"):
        build([{"flatten": True}], (1, 1000, 1000), outputs=501)


def test_first_weights_follow_from_the_seed_and_start_at_guessing():
    def network(seed):
        made, _ = build([{"conv": 64, "batch_norm": True}, {"flatten": True}, {"dense": 300}], (3, 8, 8), outputs=10)
        initialise(made, torch.Generator().manual_seed(seed))
        return made

    first, again, other = network(0), network(0), network(1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)
    assert first[0].weight.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.05)  # He et al. 2015
    assert first[3].weight.std().item() == pytest.approx((2 / 4096) ** 0.5, rel=0.05)
    assert first[-1].weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not first[3].bias.any()
    loss = nn.functional.cross_entropy(first(torch.rand(64, 3, 8, 8)), torch.arange(64) % 10)
    assert loss.item() == pytest.approx(np.log(10), rel=0.1)
