import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from clearmargin.errors import RecipeError
from clearmargin.learn import activate
from clearmargin.models import PlainCNN, build_network
from clearmargin.models.activations import Maxout
from clearmargin.models.layers import build_layers, initialise
from clearmargin.models.pooling import GlobalSumPool, SumPool
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
    ({"pool": "sum", "size": 3, "stride": 2}, "sum pool, 3x3, stride 2", (3, 4, 4), 0, 0),
    ({"pool": "global_sum"}, "global sum pool", (3,), 0, 0),
    ({"activation": "elu"}, "elu", (3, 9, 9), 0, 0),
    ({"activation": "maxout", "pieces": 3}, "maxout of 3", (1, 9, 9), 0, 0),
    ({"conv": 5, "activation": "maxout"}, "conv 5, 3x3, maxout of 2", (5, 9, 9), 10 * 28, 81 * 10 * 27),
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
    layer = {"conv": 2, "kernel": kernel, "stride": stride, "padding": padding}
    network, table = build([layer], (3, 7, 7))
    conv = next(module for module in network if isinstance(module, nn.Conv2d))
    image = torch.rand(1, 3, 7, 7)
    last = list(network).index(conv) + 1
    found = nn.Sequential(*list(network)[:last])(image)[0].detach().numpy()
    expected = naive_conv(
        image[0].numpy(), conv.weight.detach().numpy(), conv.bias.detach().numpy(), stride, padding == "same"
    )
    assert found.shape == table[0].output
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolutions_along_a_row_equal_numpy(kernel, stride, padding):
    layer = {"conv": 2, "kernel": kernel, "stride": stride, "padding": padding}
    network, table = build([layer], (1, 9))
    conv = next(module for module in network if isinstance(module, nn.Conv1d))
    row = torch.rand(1, 1, 9)
    found = nn.Sequential(*list(network)[: list(network).index(conv) + 1])(row)[0].detach().numpy()
    before = (kernel - 1) // 2 if padding == "same" else 0
    after = kernel - 1 - before if padding == "same" else 0
    padded = np.pad(row[0, 0].numpy(), (before, after))
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    expected = [np.correlate(padded, weight[k, 0], "valid")[::stride] + bias[k] for k in range(2)]
    assert found.shape == table[0].output == (2, len(expected[0]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


# What each layer gives for a row of 13 columns: its line, the shape, parameters, multiply-adds.
@pytest.mark.parametrize(
    ("layer", "words", "output", "parameters", "work"),
    [
        ({"conv": 64, "kernel": 2, "padding": "valid"}, "conv 64, kernel 2, valid", (64, 12), 192, 12 * 64 * 2),
        ({"conv": 4, "kernel": 2}, "conv 4, kernel 2", (4, 13), 4 * 3, 13 * 4 * 2),
        ({"conv": 4, "stride": 2}, "conv 4, kernel 3, stride 2", (4, 7), 4 * 4, 7 * 4 * 3),
        ({"conv": 4, "batch_norm": True}, "conv 4, kernel 3, batch norm", (4, 13), 4 * 3 + 8, 13 * 4 * 3 + 13 * 4),
        ({"pool": "max"}, "max pool, size 2", (1, 6), 0, 0),
        ({"pool": "average", "size": 3, "stride": 1}, "average pool, size 3, stride 1", (1, 11), 0, 0),
        ({"pool": "sum", "size": 3}, "sum pool, size 3", (1, 4), 0, 0),
        ({"pool": "global_max"}, "global max pool", (1,), 0, 0),
        ({"pool": "global_average"}, "global average pool", (1,), 0, 0),
        ({"pool": "global_sum"}, "global sum pool", (1,), 0, 0),
        ({"batch_norm": True}, "batch norm", (1, 13), 2, 13),
        ({"activation": "tanh"}, "tanh", (1, 13), 0, 0),
        ({"flatten": True}, "flatten", (13,), 0, 0),
    ],
)
def test_each_layer_on_a_row_of_a_table(layer, words, output, parameters, work):
    network, table = build([layer], (1, 13))
    row = table[0]
    assert (row.layer, row.output, row.parameters, row.multiply_adds) == (words, output, parameters, work)
    assert sum(row.parameters for row in table) == sum(parameter.numel() for parameter in network.parameters())
    inputs, shapes = torch.rand(2, 1, 13), []
    for module in network:
        inputs = module(inputs)
        shapes.append(tuple(inputs.shape[1:]))
    assert output in shapes
    assert shapes[-1] == (3,)


# Sum pooling and maxout by hand

GRID = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 12.0], [13.0, 14.0, 15.0, 16.0]])


def test_sum_pooling_by_hand():
    sums = SumPool(2, 2)(GRID.view(1, 1, 4, 4))
    # 1 + 2 + 5 + 6, 3 + 4 + 7 + 8, 9 + 10 + 13 + 14, 11 + 12 + 15 + 16
    assert sums.tolist() == [[[[14, 22], [46, 54]]]]
    overlapping = SumPool(3, 1)(GRID.view(1, 1, 4, 4))
    # around 6: 1 + 2 + 3 + 5 + 6 + 7 + 9 + 10 + 11 = 54; one column on 9 more, one row on 36 more
    assert overlapping.tolist() == [[[[54, 63], [90, 99]]]]
    along = SumPool(2, 2)(torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, -1.0, 0.5, 0.25, 9.0]]]))
    assert along.tolist() == [[[3, 7], [0, 0.75]]]  # the fifth value is left over


def test_global_sum_pooling_by_hand():
    maps = torch.stack([GRID, -GRID]).view(1, 2, 4, 4)
    assert GlobalSumPool()(maps).tolist() == [[136, -136]]  # 16 · 17 / 2
    assert GlobalSumPool()(torch.tensor([[[1.0, 2.0, 3.5]]])).tolist() == [[6.5]]


def test_maxout_by_hand():
    values = torch.tensor([[1.0, -2.0, 3.0, 0.5, 4.0, -5.0]])
    assert Maxout(2)(values).tolist() == [[1, 3, 4]]  # of (1, -2), (3, 0.5), (4, -5)
    assert Maxout(3)(values).tolist() == [[3, 4]]  # of (1, -2, 3), (0.5, 4, -5)
    maps = torch.tensor([[[[1.0, 9.0]], [[5.0, 2.0]], [[4.0, 3.0]], [[0.0, 7.0]]]])  # four channels of 1 x 2
    assert Maxout(2)(maps).tolist() == [[[[5, 9]], [[4, 7]]]]
    np.testing.assert_allclose(Maxout(2)(maps)[0], activate(maps[0].numpy(), "maxout", pieces=2))


def test_a_maxout_layer_is_the_largest_of_its_linear_pieces():
    network, table = build([{"dense": 4, "activation": "maxout", "pieces": 3}], (5,), outputs=2)
    linear, inputs = network[0], torch.rand(7, 5)
    weight, bias = linear.weight.detach().numpy().reshape(4, 3, 5), linear.bias.detach().numpy().reshape(4, 3)
    pieces = np.einsum("wpi,bi->bwp", weight, inputs.numpy()) + bias
    np.testing.assert_allclose(nn.Sequential(*network[:2])(inputs).detach(), pieces.max(axis=2), atol=1e-6)
    # three pieces of 4 · 5 weights and 4 biases
    assert (table[0].layer, table[0].output, table[0].parameters) == ("dense 4, maxout of 3", (4,), 72)
    assert table[0].multiply_adds == 60


def test_maxout_of_convolutions_comes_after_the_normalisation_and_halves_the_channels():
    layer = {"conv": 4, "batch_norm": True, "activation": "maxout"}
    network, table = build([layer, {"activation": "maxout", "pieces": 4}], (3, 8, 8))
    assert [type(module) for module in network][:4] == [nn.Conv2d, nn.BatchNorm2d, Maxout, Maxout]
    assert network[0].out_channels == network[1].num_features == 8
    assert [row.layer for row in table][:2] == ["conv 4, 3x3, batch norm, maxout of 2", "maxout of 4"]
    assert [row.output for row in table][:2] == [(4, 8, 8), (1, 8, 8)]
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (2, 6, 7), (3, 6)])
@pytest.mark.parametrize("pieces", [2, 3])
def test_gradients_of_maxout(shape, pieces):
    inputs = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(Maxout(pieces), (inputs,))


@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (2, 3, 7)])
@pytest.mark.parametrize("module", [SumPool(2, 2), SumPool(3, 1), SumPool(2, 3), GlobalSumPool()])
def test_gradients_of_sum_pooling(shape, module):
    inputs = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (inputs,))


@pytest.mark.parametrize("module", [SumPool(2, 2), Maxout(2)])
def test_maps_stay_channels_last(module):
    maps = torch.rand(2, 4, 6, 6).to(memory_format=torch.channels_last)
    assert module(maps).is_contiguous(memory_format=torch.channels_last)


# Activations


@pytest.mark.parametrize(
    ("layer", "words", "formula"),
    [
        ({"activation": "relu"}, "relu", lambda x: np.maximum(x, 0)),
        ({"activation": "sigmoid"}, "sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ({"activation": "tanh"}, "tanh", np.tanh),
        ({"activation": "leaky_relu"}, "leaky relu", lambda x: np.where(x > 0, x, 0.01 * x)),
        ({"activation": "leaky_relu", "slope": 0.2}, "leaky relu 0.2", lambda x: np.where(x > 0, x, 0.2 * x)),
        ({"activation": "elu"}, "elu", lambda x: np.where(x > 0, x, np.exp(x) - 1)),
        ({"activation": "elu", "alpha": 0.5}, "elu 0.5", lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1))),
        ({"activation": "gelu"}, "gelu", lambda x: x * norm.cdf(x)),
    ],
)
def test_activations_equal_their_formulas(layer, words, formula):
    network, table = build([layer], (41,))
    values = torch.linspace(-4, 4, 41).view(1, 41)
    assert table[0].layer == words
    np.testing.assert_allclose(network[0](values), formula(values.double().numpy()), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("maxout", Maxout),
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
        (
            [{"conv": 3, "activation": "relu"}, {"activation": "maxout"}],
            r"Layer 2 of 'plain' \(maxout of 2\) needs a number of channels or values that 2 divides, got shape 3x8x8",
        ),
        ([{"flatten": True}, {"pool": "global_sum"}], r"Layer 2 of 'plain' \(pool\) needs a map .*, got 192 values"),
        (
            [{"conv": 2}, {"dense": 3, "activation": "softmax"}],
            r"Layer 2 of 'plain' \(dense 3\) needs one row of values, got a map of shape 2x8x8",
        ),
        (
            [{"flatten": True}, {"dense": 65536, "activation": "maxout", "pieces": 64}],
            r"Layer 2 of 'plain' would have 805,306,368 parameters",
        ),
        ([{"conv": 4096}, {"conv": 4096, "kernel": 63}], r"Layer 2 of 'plain' would have 66,588,770,304 parameters"),
    ],
)
def test_a_layer_that_does_not_fit_is_named_with_its_shape_and_a_remedy(layers, message):
    with pytest.raises(RecipeError, match=message):
        build(layers, (3, 8, 8))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [{"conv": 2, "kernel": 14, "padding": "valid"}],
            r"Layer 1 .*kernel 14\) does not fit the map of shape 1x13 .* 13",
        ),
        (
            [{"pool": "sum", "size": 14}],
            r"Layer 1 .*\(sum pool, size 14\) would empty the map of shape 1x13 .* at most 13",
        ),
        ([{"conv": 2}, {"dense": 1}], r"Layer 2 .*\(dense 1\) needs one row of values, got a map of shape 2x13"),
        ([{"flatten": True}, {"conv": 2}], r"Layer 2 .*\(conv\) needs a map \(channels and sides\), got 13 values"),
    ],
)
def test_a_layer_that_does_not_fit_a_row_of_a_table_is_named(layers, message):
    with pytest.raises(RecipeError, match=message):
        build(layers, (1, 13), outputs=1)


@pytest.mark.parametrize(
    "architecture", [{"layers": [{"flatten": True}]}, {"architecture": "resnet18"}, {"architecture": "vgg16"}]
)
def test_more_classes_than_an_output_layer_may_have_are_refused(architecture):
    with pytest.raises(RecipeError, match=r"^'net' would need 65,537 outputs, .* 65,536 are the most"):
        build_network(Contender.model_validate({"name": "net", **architecture}), (3, 32, 32), 65_537)


def test_a_network_that_is_too_large_altogether_is_refused():
    with pytest.raises(RecipeError, match=r"^'plain' would have 501,000,000 parameters"):
        build([{"flatten": True}], (1, 1000, 1000), outputs=501)


# The output layer


@pytest.mark.parametrize("last", [{"dense": 10, "activation": "softmax"}, {"dense": 10}])
def test_an_output_layer_that_is_written_out_is_not_added_again(last):
    written = build_network(contender([*TUTORIAL, last]), (1, 28, 28), 10)
    left_out = build_network(contender(TUTORIAL), (1, 28, 28), 10)
    assert written.table == left_out.table
    assert str(written.layers) == str(left_out.layers)  # logits: the softmax is the loss's


def test_a_last_dense_layer_of_another_size_or_with_another_activation_is_a_hidden_one():
    for last in ({"dense": 9}, {"dense": 10, "activation": "relu"}):
        _, table = build([{"flatten": True}, last], (1, 4, 4), outputs=10)
        assert table[-1].layer == "dense 10, softmax"
        assert len(table) == 3


def test_a_regression_ends_in_one_number_written_out_or_not():
    layers = [{"flatten": True}, {"dense": 5}]
    _, written = build([*layers, {"dense": 1}], (1, 13), outputs=1)
    _, left_out = build(layers, (1, 13), outputs=1)
    assert written == left_out
    assert written[-1].layer == "dense 1"


@pytest.mark.parametrize(
    ("last", "outputs", "message"),
    [
        (
            {"dense": 10, "activation": "softmax"},
            4,
            r"Layer 2 of 'plain' \(dense 10, softmax\) is the output layer, but the data have 4 classes: write "
            r'\{ dense = 4, activation = "softmax" \}, or leave it out',
        ),
        (
            {"dense": 10, "activation": "softmax"},
            1,
            r"\(dense 10, softmax\) is the output layer, but the target is one number: write \{ dense = 1 \}, or",
        ),
        (
            {"dense": 1, "activation": "sigmoid"},
            2,
            r"\(dense 1, sigmoid\) leaves one number for 2 classes, .* leave the layer out",
        ),
        (
            {"dense": 1, "activation": "sigmoid"},
            1,
            r"Layer 2 of 'plain' \(dense 1, sigmoid\) is the output layer, and the output of a regression has no "
            r"activation, .*: write \{ dense = 1 \}",
        ),
    ],
)
def test_an_output_layer_that_does_not_fit_the_data_is_refused(last, outputs, message):
    with pytest.raises(RecipeError, match=message):
        build([{"flatten": True}, last], (3, 8, 8), outputs)


# The tutorial's networks against what Keras's `summary` prints for them: weights and biases of every layer, by hand


def totals(layers, shape, outputs) -> tuple[list[int], int]:
    network = build_network(contender(layers), shape, outputs)
    parameters = [row.parameters for row in network.table if row.parameters]
    assert sum(parameters) == sum(parameter.numel() for parameter in network.parameters())
    return parameters, sum(parameters)


def test_the_network_for_digits_has_the_parameters_of_keras():
    layers = [*TUTORIAL, {"dropout": 0.5}, {"dense": 10, "activation": "softmax"}]
    # 28 → 26 → 13 → 11 → 5: 5 · 5 · 64 = 1600 values are flattened
    by_hand = [32 * (3 * 3 * 1 + 1), 64 * (3 * 3 * 32 + 1), 128 * (1600 + 1), 10 * (128 + 1)]
    assert by_hand == [320, 18_496, 204_928, 1290]
    assert totals(layers, (1, 28, 28), 10) == (by_hand, 225_034)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_network_for_objects_has_the_parameters_of_keras(padding):
    def conv(filters, padding="same"):
        return {"conv": filters, "kernel": 3, "padding": padding, "activation": "relu"}

    def block(filters, second):
        return [conv(filters), conv(filters, second), {"pool": "max"}, {"dropout": 0.25}]

    layers = [*block(32, padding), *block(64, padding), {"flatten": True}, {"dense": 128, "activation": "relu"}]
    layers += [{"dropout": 0.5}, {"dense": 10, "activation": "softmax"}]
    # same: 32 → 16 → 8, 8 · 8 · 64 = 4096 values; valid: 32 → 30 → 15 → 13 → 6, 6 · 6 · 64 = 2304 values
    flat = {"same": 4096, "valid": 2304}[padding]
    by_hand = [32 * (9 * 3 + 1), 32 * (9 * 32 + 1), 64 * (9 * 32 + 1), 64 * (9 * 64 + 1), 128 * (flat + 1), 10 * 129]
    assert by_hand[:4] == [896, 9248, 18_496, 36_928]
    # 896 + 9248 + 18,496 + 36,928 + 1290 = 66,858, and 128 · 4097 = 524,416 or 128 · 2305 = 295,040
    assert totals(layers, (3, 32, 32), 10) == (by_hand, {"same": 591_274, "valid": 361_898}[padding])


def test_the_network_for_housing_has_the_parameters_of_keras():
    layers = [
        {"conv": 64, "kernel": 2, "padding": "valid", "activation": "relu"},
        {"flatten": True},
        {"dense": 32, "activation": "relu"},
        {"dense": 1},
    ]
    # (13, 1) → (12, 64) → 768: 64 · (2 + 1), 32 · (768 + 1), 32 + 1
    assert totals(layers, (1, 13), 1) == ([192, 24_608, 33], 24_833)
    network = build_network(contender(layers), (1, 13), 1)
    assert [row.output for row in network.table] == [(64, 12), (768,), (32,), (1,)]
    assert network(torch.rand(4, 1, 13)).shape == (4, 1)


# How much of the input a value sees


def test_receptive_fields_by_hand():
    layers = [
        {"conv": 2, "kernel": 7, "stride": 2},  # 1 + 6 · 1 = 7; step 2
        {"pool": "max", "size": 3, "stride": 2},  # 7 + 2 · 2 = 11; step 4
        {"conv": 2, "kernel": 1},  # 11 + 0
        {"dropout": 0.1},
        {"conv": 2, "kernel": 3},  # 11 + 2 · 4 = 19
        {"pool": "sum", "size": 2},  # 19 + 1 · 4 = 23; step 8
        {"conv": 2, "kernel": 5},  # 23 + 4 · 8 = 55
        {"conv": 2, "kernel": 5},  # 55 + 4 · 8 = 87, and there are 64
        {"flatten": True},
        {"dense": 4},  # everything
    ]
    network = build_network(contender(layers), (1, 64, 64), 2)
    assert [row.receptive_field for row in network.table] == [7, 11, 11, 11, 19, 23, 55, 64, 64, 64, 64]


def test_a_value_depends_on_exactly_its_receptive_field():
    layers = [{"conv": 2, "kernel": 3}, {"pool": "average"}, {"conv": 2, "kernel": 2, "stride": 2}, {"conv": 1}]
    network = build_network(contender(layers), (1, 40, 40), 2)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.rand(1, 1, 40, 40, requires_grad=True)
    ends = [n for n, module in enumerate(network.layers) if isinstance(module, nn.Conv2d | nn.AvgPool2d)]
    for row, end in zip(network.table, ends, strict=False):
        image.grad = None
        maps = nn.Sequential(*list(network.layers)[: end + 1])(image)
        middle = maps.shape[-1] // 2
        maps[0, 0, middle, middle].backward()
        assert (image.grad[0, 0] != 0).any(dim=0).sum() == row.receptive_field


def test_pooling_everything_sees_everything():
    network = build_network(contender([{"conv": 2}, {"pool": "global_sum"}, {"batch_norm": True}]), (3, 20, 20), 2)
    assert [row.receptive_field for row in network.table] == [3, 20, 20, 20]


# First weights


def test_rows_of_a_table_pass_through_a_network_in_channels_last():
    network = build_network(contender([{"conv": 4}, {"pool": "max"}, {"flatten": True}]), (1, 13), 1)
    inputs = torch.rand(3, 1, 13)
    before = network(inputs)
    network.to(memory_format=torch.channels_last)  # as the training loop does: only weights of four sides change
    assert torch.equal(network(inputs), before)


@pytest.mark.parametrize(
    ("layer", "gain"),
    [
        ({"activation": "relu"}, 2**0.5),
        ({"activation": "gelu"}, 2**0.5),
        ({"activation": "elu"}, 2**0.5),
        ({}, 2**0.5),
        ({"activation": "leaky_relu", "slope": 0.5}, (2 / 1.25) ** 0.5),
        ({"activation": "tanh"}, 5 / 3),
        ({"activation": "sigmoid"}, 1),
        ({"activation": "maxout"}, 1),
        # E[max²] of three and of four standard normal values in closed form
        ({"activation": "maxout", "pieces": 3}, (1 + 3**0.5 / (2 * math.pi)) ** -0.5),
        ({"activation": "maxout", "pieces": 4}, (1 + 3**0.5 / math.pi) ** -0.5),
    ],
)
@pytest.mark.parametrize(
    ("before", "shape", "values"), [({"conv": 512}, (3, 16, 16), 27), ({"conv": 2048, "kernel": 5}, (1, 20), 5)]
)
def test_first_weights_suit_the_activation(before, shape, values, layer, gain):
    network, _ = build([{**before, "batch_norm": True, **layer}, {"pool": "global_max"}, {"dense": 3}], shape)
    initialise(network, torch.Generator().manual_seed(0))
    weights = next(module for module in network if isinstance(module, nn.Conv1d | nn.Conv2d)).weight
    assert weights.std().item() == pytest.approx(gain / values**0.5, rel=0.03)


@pytest.mark.parametrize("pieces", [2, 4, 8])
def test_maxout_keeps_the_mean_square(pieces):
    network, _ = build([{"dense": 512, "activation": "maxout", "pieces": pieces}], (512,))
    initialise(network, torch.Generator().manual_seed(0))
    inputs = torch.randn(256, 512, generator=torch.Generator().manual_seed(1))
    outputs = nn.Sequential(*list(network)[:-1])(inputs)
    assert outputs.square().mean().item() == pytest.approx(1, rel=0.05)


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
