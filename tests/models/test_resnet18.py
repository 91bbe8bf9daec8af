import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clearmargin.errors import RecipeError, WeightsError
from clearmargin.models import build_network, load_weights, set_first_weights
from clearmargin.models.layers import initialise
from clearmargin.models.resnet18 import ResNet18
from clearmargin.recipe import Contender


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    values = {f"{name}.{key}": (width,) for key in ("weight", "bias", "running_mean", "running_var")}
    return values | {f"{name}.num_batches_tracked": ()}


def torchvisions(classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """torchvision.models.resnet18().state_dict(), written out."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    for stage, (before, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], start=1):
        for block, channels in enumerate([before, width]):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (width, channels, 3, 3), **norm(f"{name}.bn1", width)}
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3), **norm(f"{name}.bn2", width)}
            if channels != width:
                shapes[f"{name}.downsample.0.weight"] = (width, channels, 1, 1)
                shapes |= norm(f"{name}.downsample.1", width)
    return shapes | {"fc.weight": (classes, 512), "fc.bias": (classes,)}


def outline(shape=(3, 224, 224), outputs=1000, **settings) -> ResNet18:
    """The network without numbers in it."""
    contender = Contender.model_validate({"name": "ResNet", "architecture": "resnet18", **settings})
    with torch.device("meta"):
        network = build_network(contender, shape, outputs)
    assert isinstance(network, ResNet18)
    return network


def resnet(shape, outputs=3, **settings) -> ResNet18:
    contender = Contender.model_validate({"name": "ResNet", "architecture": "resnet18", **settings})
    network = build_network(contender, shape, outputs)
    assert isinstance(network, ResNet18)
    initialise(network, torch.Generator().manual_seed(0))
    return network


def shapes(network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_it_is_torchvisions():
    network = outline()
    assert shapes(network) == torchvisions()
    assert list(shapes(network)) == list(torchvisions())
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512
    assert sum(row.parameters for row in network.table) == 11_689_512


def test_multiply_adds_are_those_of_the_literature_and_of_the_normalisations():
    # 1.814 billion in the literature, of convolutions and the dense layer
    stem, stages = 112 * 112 * 64 * 147, [56 * 56 * 64 * 9 * 64 * 4]
    for side, width in ((28, 128), (14, 256), (7, 512)):
        stages.append(side * side * width * (9 * (width // 2 + 3 * width) + width // 2))
    literature = stem + sum(stages) + 512 * 1000
    assert literature == pytest.approx(1.814e9, rel=1e-3)
    normalised = 112 * 112 * 64 + sum(
        s * s * w * n for s, w, n in ((56, 64, 4), (28, 128, 5), (14, 256, 5), (7, 512, 5))
    )
    assert sum(row.multiply_adds for row in outline().table) == literature + normalised


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((3, 64, 64), [32, 16, 16, 8, 4, 2]), ((1, 65, 65), [33, 17, 17, 9, 5, 3]), ((1, 32, 32), [32, 32, 32, 16, 8, 4]),
     ((3, 9, 9), [9, 9, 9, 5, 3, 2]), ((1, 8, 8), [8, 8, 8, 4, 2, 1])],
)  # fmt: skip
def test_maps_have_the_sides_that_the_table_says(shape, sides):
    network = resnet(shape).eval()
    seen: dict[str, int] = {}
    watched = ("bn1", "maxpool", "layer1", "layer2", "layer3", "layer4")

    def watch(name):
        def hook(_module, _inputs, maps):
            seen[name] = maps.shape[-1]

        return hook

    for name in watched:
        network.get_submodule(name).register_forward_hook(watch(name))
    assert network(torch.rand(2, *shape)).shape == (2, 3)
    assert [seen[name] for name in watched] == sides
    stages = [row.output[1] for row in network.table if "shortcut" in row.layer and "plus" in row.layer]
    assert stages == [side for side in sides[2:] for _ in range(2)]
    assert sum(row.parameters for row in network.table) == sum(p.numel() for p in network.parameters())


def test_small_images_keep_their_size_in_the_stem():
    assert [row.layer for row in outline((3, 63, 63)).table[:2]] == [
        "conv 64, 3x3, batch norm, relu (stem)",
        "conv 64, 3x3, batch norm, relu (block 1.1)",
    ]
    assert [row.layer for row in outline((3, 64, 64)).table[:2]] == [
        "conv 64, 7x7, stride 2, batch norm, relu (stem)",
        "max pool, 3x3, stride 2",
    ]


def test_receptive_fields_by_hand():
    # stem 7, pool 11 at step 4; a 3x3 adds 8 at step 4, 16 at 8, 32 at 16, 64 at 32; a stage's first at the step before
    main = [row.receptive_field for row in outline((3, 512, 512)).table if "shortcut)" not in row.layer]
    assert main[:-2] == [7, 11, 19, 27, 35, 43, 51, 67, 83, 99, 115, 147, 179, 211, 243, 307, 371, 435]
    assert main[-2:] == [512, 512]


def test_a_block_adds_what_went_in():
    network = resnet((3, 32, 32)).eval()
    block = network.get_submodule("layer1.0")
    maps = torch.randn(1, 64, 8, 8)
    nn.init.zeros_(block.bn2.weight)
    torch.testing.assert_close(block(maps.clone()), maps.clamp(min=0))


def test_every_parameter_learns():
    network = resnet((1, 16, 16))
    network(torch.rand(4, 1, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    assert network.trunk is None
    assert network.tail is network


def test_a_table_is_refused():
    contender = Contender(name="ResNet", architecture="resnet18")
    with pytest.raises(
        RecipeError, match=r"'ResNet' \(architecture = \"resnet18\"\) takes images, got rows of 13 columns"
    ):
        build_network(contender, (1, 13), 1)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_first_weights_from_a_file_but_never_the_output(tmp_path, ending):
    path, random = tmp_path / f"donor.{ending}", np.random.default_rng(0)
    donor = {
        name: torch.tensor(random.uniform(0.1, 1, shape), dtype=torch.float32)
        for name, shape in torchvisions().items()
        if not name.endswith("num_batches_tracked")
    }
    counters = {name: torch.tensor(7) for name in torchvisions() if name.endswith("num_batches_tracked")}
    save_file(donor | counters, path) if ending == "safetensors" else torch.save(donor | counters, path)
    contender = Contender(name="ResNet", architecture="resnet18", weights=str(path))
    network = build_network(contender, (3, 64, 64), 1000)
    pretraining = set_first_weights(network, contender, 0, tmp_path)
    assert pretraining is not None
    assert (pretraining.origin, pretraining.attribution) == ("file", f"the file donor.{ending}")
    found = network.state_dict()
    for name, value in donor.items():
        assert torch.equal(found[name], value) != name.startswith("fc."), name
    assert network.imagenet_normalised
    assert not resnet((3, 64, 64)).imagenet_normalised


def test_weights_that_do_not_fit_are_refused(tmp_path):
    small = resnet((3, 32, 32))
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    contender = Contender(name="ResNet", architecture="resnet18", weights=str(tmp_path / "small.safetensors"))
    message = (
        r"small\.safetensors does not hold the weights of ResNet-18.* conv1\.weight: expected shape \(64, 3, 7, 7\)"
    )
    with pytest.raises(WeightsError, match=message):
        set_first_weights(build_network(contender, (3, 64, 64), 3), contender, 0, tmp_path)
    for named in ("nowhere.pth", "imagenet.txt"):
        with pytest.raises(WeightsError):
            set_first_weights(small, contender.model_copy(update={"weights": named}), 0, tmp_path)
    again = outline((3, 32, 32), 3).to_empty(device="cpu")
    load_weights(again, tmp_path / "small.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in small.state_dict().items())
