import pytest
import torch
from safetensors.torch import save_file

from clearmargin.errors import RecipeError, WeightsError
from clearmargin.models import build_network, load_weights, set_first_weights
from clearmargin.models.layers import initialise
from clearmargin.models.vgg16 import CUTS, VGG16, at_the_cut
from clearmargin.models.weight_files import TRUNK_SHAPES
from clearmargin.recipe import Contender

# torchvision.models.vgg16().state_dict(), written out
CONVOLUTIONS = {
    0: (64, 3), 2: (64, 64),
    5: (128, 64), 7: (128, 128),
    10: (256, 128), 12: (256, 256), 14: (256, 256),
    17: (512, 256), 19: (512, 512), 21: (512, 512),
    24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
TRUNK = {
    name: shape
    for number, (wide, before) in CONVOLUTIONS.items()
    for name, shape in (
        (f"features.{number}.weight", (wide, before, 3, 3)),
        (f"features.{number}.bias", (wide,)),
    )
}
CLASSIFIER = {
    "classifier.0.weight": (4096, 25088),
    "classifier.0.bias": (4096,),
    "classifier.3.weight": (4096, 4096),
    "classifier.3.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}
OWN_HEAD = [
    {"flatten": True},
    {"dense": 4096, "activation": "relu"},
    {"dropout": 0.5},
    {"dense": 4096, "activation": "relu"},
    {"dropout": 0.5},
]


def outline(size=32, classes=3, **settings) -> VGG16:
    """The network without numbers in it."""
    described = Contender.model_validate({"name": "VGG", "architecture": "vgg16", **settings})
    with torch.device("meta"):
        network = build_network(described, (3, size, size), classes)
    assert isinstance(network, VGG16)
    return network


def vgg(**settings) -> VGG16:
    network = outline(**settings).to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(0))
    return network


def shapes(network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_with_its_own_head_it_is_torchvisions():
    network = outline(size=224, classes=1000, head=OWN_HEAD)
    assert shapes(network) == TRUNK | CLASSIFIER
    assert sum(parameter.numel() for parameter in network.parameters()) == 138_357_544
    assert sum(row.parameters for row in network.table) == 138_357_544
    # 15.47 billion in the literature: of the convolutions and dense layers at 224 pixels
    assert sum(row.multiply_adds for row in network.table) == 15_470_264_320


def test_the_trunk_is_the_one_weights_are_checked_against():
    assert TRUNK_SHAPES == TRUNK
    assert {name: shape for name, shape in shapes(outline()).items() if name.startswith("features.")} == TRUNK


def test_the_default_head_pools():
    network = outline()
    assert [row.layer for row in network.table[18:]] == [
        "global average pool",
        "dense 256, relu",
        "dropout 0.5",
        "dense 3, softmax",
    ]
    assert shapes(network)["classifier.0.weight"] == (256, 512)
    assert sum(row.parameters for row in network.table) == sum(p.numel() for p in network.parameters())


def test_an_empty_head_is_the_output_layer_alone():
    assert [row.layer for row in outline(head=[]).table[18:]] == ["flatten", "dense 3, softmax"]


def test_what_reshapes_before_the_first_dense_layer_is_not_numbered():
    network = outline(head=[{"pool": "global_max"}, {"batch_norm": True}, {"dense": 5}])
    assert {name for name in shapes(network) if not name.startswith("features.")} == {
        *(f"pool.2.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        "classifier.0.weight",
        "classifier.0.bias",
        "classifier.1.weight",
        "classifier.1.bias",
    }


@pytest.mark.parametrize("block", ["none", "block3", "block5"])
def test_frozen_blocks_get_no_gradient_and_the_others_do(block):
    network = vgg(freeze_through=block)
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    frozen = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    expected = {name for name in TRUNK if int(name.split(".")[1]) < CUTS[block]}
    assert frozen == expected == {name for name, p in network.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("block", ["none", "block1", "block4", "block5"])
def test_trunk_and_tail_are_the_whole(block):
    network = vgg(freeze_through=block).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        if network.trunk is None:
            assert block == "none"
            assert torch.equal(network.tail(images), network(images))
            return
        activations = at_the_cut(network.trunk(images))
        assert torch.equal(network.tail(activations.float()), network(images))
        assert activations.dtype == torch.bfloat16
        assert activations.shape[2] == 32 // 2 ** int(block.removeprefix("block"))
    trained = {id(parameter) for parameter in network.tail.parameters()}
    frozen = {id(parameter) for parameter in network.trunk.parameters()}
    assert trained | frozen == {id(parameter) for parameter in network.parameters()}
    assert not trained & frozen


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 31, 31)])
def test_images_it_can_not_take_are_refused(shape):
    with pytest.raises(RecipeError, match=r"'VGG' \(VGG16\) needs colour images of at least 32 pixels, got "):
        build_network(Contender(name="VGG", architecture="vgg16"), shape, 2)


def test_a_head_that_does_not_fit_is_named():
    with pytest.raises(RecipeError, match=r"Layer 1 of the head of 'VGG' .*512x1x1.*flatten"):
        outline(head=[{"dense": 3}])


def test_random_weights_only_when_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("CLEARMARGIN_VGG16", raising=False)
    described = Contender(name="VGG", architecture="vgg16", weights="none")
    network = outline(weights="none").to_empty(device="cpu")
    assert set_first_weights(network, described, 0, tmp_path) is None
    named = described.model_copy(update={"weights": str(tmp_path / "missing.safetensors")})
    with pytest.raises(WeightsError):
        set_first_weights(network, named, 0, tmp_path)


@pytest.mark.parametrize(("fits", "taken"), [(True, True), (False, False)])
def test_weights_of_the_trunk_are_taken_and_hidden_layers_when_they_fit(tmp_path, fits, taken):
    head = [{"flatten": True}, {"dense": 8, "activation": "relu"}]
    donor = vgg(head=head)
    tensors = {name: torch.rand_like(value) for name, value in donor.state_dict().items()}
    if not fits:
        tensors["classifier.0.weight"] = torch.rand(9, 512)
    save_file(tensors, tmp_path / "donor.safetensors")
    described = Contender.model_validate(
        {"name": "VGG", "architecture": "vgg16", "head": head, "weights": str(tmp_path / "donor.safetensors")}
    )
    network = build_network(described, (3, 32, 32), 3)
    pretraining = set_first_weights(network, described, 0, tmp_path)
    assert pretraining is not None
    assert pretraining.origin == "file"
    found = network.state_dict()
    assert all(torch.equal(found[name], tensors[name]) for name in TRUNK)
    assert torch.equal(found["classifier.0.bias"], tensors["classifier.0.bias"]) == taken
    assert not torch.equal(found["classifier.2.weight"], tensors["classifier.2.weight"])  # never the output layer


def test_finished_weights_come_back(tmp_path):
    network, other = vgg(), outline().to_empty(device="cpu")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path):
    path, network = tmp_path / "model.safetensors", outline().to_empty(device="cpu")
    save_file({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"model\.safetensors can't be used"):
        load_weights(network, path)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"model\.safetensors can't be used"):
        load_weights(network, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_finished_weights_that_are_no_numbers_are_refused(tmp_path, value):
    tensors = vgg().state_dict()
    last = list(tensors)[-1]
    save_file({**tensors, last: torch.full_like(tensors[last], value)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=rf"holds values that are not finite, in {last}"):
        load_weights(outline().to_empty(device="cpu"), tmp_path / "model.safetensors")


def test_a_header_that_claims_too_much_is_refused_unread(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match="its header claims 1,152,921,504,606,846,976 bytes"):
        load_weights(outline().to_empty(device="cpu"), path)
