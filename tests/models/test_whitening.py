"""The whitening layer: what leaves it is uncorrelated, it comes from the training part alone, and a resume keeps it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.nn import functional

import clearmargin as cm
from clearmargin.errors import RecipeError
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.models.whitening import EPSILON, Whitening, fit_whitening
from clearmargin.recipe import Contender
from clearmargin.split import read_split
from clearmargin.training import keeping

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
    layer.fit(images.split(150))
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
    layer.fit([torch.full((4, 3, 8, 8), 0.5)])
    assert torch.isfinite(layer.weight).all()
    assert layer.weight.abs().max() <= EPSILON**-0.5 + 1e-3


def network(layers: list[dict[str, object]], shape: tuple[int, ...] = (3, 20, 20)) -> torch.nn.Module:
    return build_network(Contender(name="x", layers=layers), shape, 4)


def test_its_filters_do_not_learn_and_its_biases_do() -> None:
    made = network([{"whitening": 2}, {"flatten": True}])
    initialise(made, torch.Generator().manual_seed(0))
    fit_whitening(made, lambda rows: blurred(20)[torch.from_numpy(rows)], 20, 0)
    layer = made.layers[0]
    made(blurred(2)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    row = made.table[0]
    assert (row.layer, row.output, row.parameters, row.receptive_field) == ("whitening 2x2", (24, 19, 19), 24 * 13, 2)
    assert row.multiply_adds == 24 * 19 * 19 * 12


def test_other_networks_ask_for_no_images() -> None:
    fit_whitening(network([{"conv": 4}, {"flatten": True}]), lambda rows: pytest.fail("nobody wants them"), 9, 0)


@pytest.mark.parametrize(("side", "most"), [(20, 2000), (300, 100)])
def test_fewer_images_are_looked_at_the_larger_they_are_and_some_at_a_time(side: int, most: int) -> None:
    made, asked = network([{"whitening": 1}, {"flatten": True}], (3, 20, 20)), []

    def read(rows: np.ndarray) -> torch.Tensor:
        asked.append(len(rows))
        return torch.rand(len(rows), 3, side, side, generator=torch.Generator().manual_seed(0))

    fit_whitening(made, read, 5000, 0)
    assert sum(asked[1:]) == most
    assert max(asked) <= 32


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
def test_only_the_training_part_tells_the_filters(draw_images: Callable[..., Path], tmp_path: Path) -> None:
    recipe = tmp_path / "whitened.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    data = draw_images(tmp_path / "data", {"a": 30, "b": 30})
    first = cm.run(recipe, data=data, out=tmp_path / "first", progress=lambda *_: None)
    parts = read_split(first.folder)
    shutil.copy(first.folder / "split.csv", tmp_path / "split.csv")
    overrides = [f'split.file="{tmp_path / "split.csv"}"']

    def filters(out: str, changed: str) -> bytes:
        random = np.random.default_rng(len(out))
        for name in parts.names[parts.rows(changed)]:
            Image.fromarray(random.integers(0, 256, (20, 24), dtype=np.uint8)).save(data / name)
        run = cm.run(recipe, data=data, out=tmp_path / out, overrides=overrides, progress=lambda *_: None)
        return load_file(run.folder / "contenders" / "whitened" / "model.safetensors")["layers.0.weight"].tobytes()

    before = load_file(first.folder / "contenders" / "whitened" / "model.safetensors")["layers.0.weight"].tobytes()
    assert filters("test", "test") == before
    assert filters("validation", "validation") == before
    assert filters("train", "train") != before


@pytest.mark.usefixtures("blank_figures")
def test_a_study_computes_it_from_the_training_part_and_goes_on_to_the_same_bits(
    draw_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", 0.0)
    recipe = tmp_path / "whitened.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    data = draw_images(tmp_path / "data", {"a": 30, "b": 30})
    whole = cm.run(recipe, data=data, out=tmp_path / "whole", progress=lambda *_: None)

    def stop(what: str, done: int, total: int, note: str) -> None:
        if "training" in what and note.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cm.run(recipe, data=data, out=tmp_path / "parts", progress=stop)
    assert (tmp_path / "parts" / "contenders" / "whitened" / "checkpoint" / "state.safetensors").is_file()
    parts = cm.run(recipe, data=data, out=tmp_path / "parts", resume=True, progress=lambda *_: None)
    for name in ("model.safetensors", "predictions.csv"):
        ours, theirs = (run.folder / "contenders" / "whitened" / name for run in (whole, parts))
        assert ours.read_bytes() == theirs.read_bytes()
    image = next((data / "a").iterdir())
    said = whole.contenders["whitened"].predict([image])
    assert np.isfinite(said.iloc[0, 2:4].astype(float)).all()
    assert "whitening 2x2" in whole.report.read_text(encoding="utf-8")
