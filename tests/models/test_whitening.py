"""The whitening layer: what leaves it is uncorrelated, it comes from the training part alone, and a resume keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import clearmargin as cm
from clearmargin.errors import RecipeError
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.models.whitening import EPSILON, Whitening, fit_whitening
from clearmargin.recipe import Contender

RECIPE = """
name = "Whitened"
[data]
size_px = 16
color = "rgb"
[audit]
label_suspects = false
[[contender]]
name = "whitened"
layers = [{ whitening = 2 }, { activation = "gelu" }, { conv = 4, batch_norm = true, activation = "relu" },
          { pool = "global_max" }]
[training]
epochs = 2
batch_size = 16
optimizer = "muon"
learning_rate = 1e-2
[training.augmentation]
flip_horizontal = true
alternate_flips = true
shift_px = 1
[evaluation]
resamples = 200
"""


def blurred(images: int, seed: int = 0) -> torch.Tensor:
    """Images whose neighbours are alike, as those of photographs are."""
    noise = torch.randn(images, 3, 22, 22, generator=torch.Generator().manual_seed(seed))
    return functional.avg_pool2d(noise, 3, 1)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_what_leaves_it_is_uncorrelated_and_of_size_one(kernel: int) -> None:
    images = blurred(400)
    layer = Whitening(3, kernel)
    torch.nn.init.zeros_(layer.bias)
    layer.fit(images)
    made = layer(images)
    values = 3 * kernel**2
    assert made.shape[1] == 2 * values
    assert torch.equal(made[:, :values], -made[:, values:])
    seen = made[:, :values].transpose(0, 1).flatten(1).double().detach()
    patches = functional.unfold(images, kernel).transpose(1, 2).reshape(-1, values).double()
    variances = torch.linalg.eigvalsh(torch.cov(patches.T, correction=0))
    expected = torch.diag(variances / (variances + EPSILON))
    assert torch.allclose(torch.cov(seen, correction=0), expected, atol=1e-4)


def test_flat_images_are_not_blown_up() -> None:
    layer = Whitening(3, 2)
    layer.fit(torch.full((4, 3, 8, 8), 0.5))
    assert torch.isfinite(layer.weight).all()
    assert layer.weight.abs().max() <= EPSILON**-0.5 + 1e-3


def network(layers: list[dict[str, object]], shape: tuple[int, ...] = (3, 20, 20)) -> torch.nn.Module:
    return build_network(Contender(name="x", layers=layers), shape, 4)


def test_its_filters_do_not_learn_and_its_biases_do() -> None:
    made = network([{"whitening": 2}, {"flatten": True}])
    initialise(made, torch.Generator().manual_seed(0))
    fit_whitening(made, lambda: blurred(20))
    layer = made.layers[0]
    made(blurred(2)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    row = made.table[0]
    assert (row.layer, row.output, row.parameters, row.receptive_field) == ("whitening 2x2", (24, 19, 19), 24 * 13, 2)
    assert row.multiply_adds == 24 * 19 * 19 * 12


def test_other_networks_ask_for_no_images() -> None:
    fit_whitening(network([{"conv": 4}, {"flatten": True}]), lambda: pytest.fail("nobody wants them"))


@pytest.mark.parametrize(
    ("layers", "shape", "said"),
    [
        ([{"conv": 4}, {"whitening": 2}], (3, 20, 20), "can only be the first layer"),
        ([{"whitening": 2}, {"flatten": True}], (1, 13), "can only be the first layer"),
        ([{"whitening": 7}, {"flatten": True}], (3, 5, 5), "does not fit images of shape 3x5x5"),
    ],
)
def test_elsewhere_it_is_refused(layers: list[dict[str, object]], shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        network(layers, shape)


def test_in_a_head_it_is_refused() -> None:
    head = [{"whitening": 1}, {"pool": "global_average"}]
    with pytest.raises(RecipeError, match="can only be the first layer"):
        build_network(Contender(name="V", architecture="vgg16", weights="none", head=head), (3, 32, 32), 4)


@pytest.mark.usefixtures("blank_figures")
def test_a_study_computes_it_from_the_training_part_and_goes_on_to_the_same_bits(
    draw_images: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "whitened.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    data = draw_images(tmp_path / "data", {"a": 30, "b": 30})
    whole = cm.run(recipe, data=data, out=tmp_path / "whole", progress=lambda *_: None)

    def stop(what: str, done: int, total: int, note: str) -> None:
        if "training" in what and note.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cm.run(recipe, data=data, out=tmp_path / "parts", progress=stop)
    parts = cm.run(recipe, data=data, out=tmp_path / "parts", resume=True, progress=lambda *_: None)
    for name in ("model.safetensors", "predictions.csv"):
        ours, theirs = (run.folder / "contenders" / "whitened" / name for run in (whole, parts))
        assert ours.read_bytes() == theirs.read_bytes()
    image = next((data / "a").iterdir())
    said = whole.contenders["whitened"].predict([image])
    assert np.isfinite(said.iloc[0, 2:4].astype(float)).all()
    assert "whitening 2x2" in whole.report.read_text(encoding="utf-8")
