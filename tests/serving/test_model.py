"""What the server computes is what the report and `predict` compute, in fewer passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clearmargin.errors import DamagedStoreError
from clearmargin.evaluation import neighbours
from clearmargin.evaluation.explanations import grad_cam
from clearmargin.evaluation.neighbours import output_inputs
from clearmargin.mapped_rows import MappedRows
from clearmargin.models.inputs import to_input
from clearmargin.runs import Run, open_run
from clearmargin.serving import training_images
from clearmargin.serving.limits import Limits
from clearmargin.serving.model import ServedModel, keep_weights_in
from clearmargin.serving.training_images import Compared, open_training_images
from clearmargin.training.loop import computing_in


@pytest.fixture
def model(finished_run: Run, shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServedModel:
    """A model of its own, of which nothing is prepared."""
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(shared_folder / "cache"))
    return ServedModel(open_run(finished_run.folder), "two layers")


def passes(network: nn.Module) -> list[int]:
    """How many images each pass through a network has, from now on."""
    counted: list[int] = []
    network.register_forward_pre_hook(lambda _module, inputs: counted.append(len(inputs[0])))
    return counted


def test_a_view_takes_one_pass_and_shows_what_the_report_shows(model: ServedModel, images_folder: Path) -> None:
    network, said = model.contender.network, model.contender.description["preprocessing"]
    image = model.prepare(sorted(images_folder.rglob("*.png"))[0].read_bytes(), Limits())
    while model.prepare_more():
        pass
    (answer,) = model.answers([image])
    counted = passes(network)
    heat, features = model._looked(image, answer)
    assert counted == [1]
    inputs = to_input(image[None], tuple(said["mean"]), tuple(said["std"]))
    expected = grad_cam(network, inputs, [model.contender.classes.index(answer.predicted)])
    np.testing.assert_allclose(heat, expected.maps[0], atol=1e-6)
    assert heat.max() > 0
    with output_inputs(network), torch.inference_mode():
        entered = network.layers[:-1](inputs) if hasattr(network, "layers") else None
    assert entered is not None
    np.testing.assert_allclose(features, nn.functional.normalize(entered.flatten(1), dim=1).numpy()[0], atol=1e-6)
    view = model.view(image, answer)
    assert view.compared == model.training_images.compared
    assert view.neighbours[0].distance < 1e-5  # the image is one of those it was trained on
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.layers)


def test_getting_ready_computes_little(model: ServedModel) -> None:
    counted = passes(model.contender.network)
    assert 0 < model.warm_up() < 5
    assert counted == [1, 1]
    assert model.training_images is None


def test_training_images_are_as_many_as_a_large_network_allows(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_training_images(model.run, model.contender).compared.total
    assert whole > 50
    said = model.contender.description["preprocessing"]
    feed = training_images.ImageFeed(
        training_images.ArrayRows(model._blank[None]), tuple(said["mean"]), tuple(said["std"])
    )
    work = neighbours.multiply_adds(model.contender.network, feed)
    monkeypatch.setattr(training_images, "AFFORDABLE", {torch.float32: 10 * work / training_images.TIMES_AFFORDABLE})
    assert 3 <= open_training_images(model.run, model.contender).compared.total <= 10


@pytest.mark.parametrize("damaged", [0, 5])
def test_a_training_image_that_is_damaged_is_left_out(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch, damaged: int
) -> None:
    expected = open_training_images(model.run, model.contender)
    while expected.add_one():
        pass
    bad = {int(expected._rows[damaged]), *({0} - set(expected._rows.tolist()))}  # the first of the store is not needed
    read = MappedRows.read

    def read_all_but_one(self: MappedRows, rows: np.ndarray) -> np.ndarray:
        if bad & set(rows.tolist()):
            raise DamagedStoreError("A row is damaged.")
        return read(self, rows)

    monkeypatch.setattr(MappedRows, "read", read_all_but_one)
    found = open_training_images(model.run, model.contender)
    while found.add_one():
        pass
    assert found.compared == Compared(expected.compared.total - 1, expected.compared.total - 1)
    assert found._named == expected._named[:damaged] + expected._named[damaged + 1 :]
    np.testing.assert_allclose(
        found._features[: found.compared.done], np.delete(expected._features, damaged, axis=0), atol=1e-6
    )
    assert len(found.nearest(expected._features[damaged])) == training_images.SHOWN


@pytest.mark.parametrize("batch", [1, 8])
def test_weights_that_are_converted_once_give_the_same_bits(batch: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 12 * 12, 4)
    ).eval()
    images = torch.randn(batch, 3, 16, 16)
    with torch.inference_mode(), computing_in(torch.bfloat16):
        before = network(images)
        keep_weights_in(network, torch.bfloat16)
        after = network(images)
    assert network[0].weight.dtype == torch.bfloat16
    assert network[1].weight.dtype == torch.float32
    assert torch.equal(before, after)
