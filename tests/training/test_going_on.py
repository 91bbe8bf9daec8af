"""A training that was stopped is gone on with by the same network, first weights, images and threads, or not at all."""

import numpy as np
import pandas as pd
import pytest
import torch

from clearmargin.contest import first_network, learn
from clearmargin.errors import RunFolderError
from clearmargin.models import Pretraining
from clearmargin.recipe import Contender
from clearmargin.records import Inputs, Preprocessing, Sample, Split
from clearmargin.task import Classification
from clearmargin.training import threads

PARTS = np.array(["train"] * 12 + ["validation"] * 2 + ["test"] * 2, dtype=object)
LABELS = np.array(["no", "yes"] * 8, dtype=object)
NAMES = np.array([f"{number}.png" for number in range(len(PARTS))], dtype=object)
LAYERS = [{"conv": 4, "activation": "relu"}, {"pool": "max"}, {"dropout": 0.2}]


def stop(history):
    raise KeyboardInterrupt


@pytest.fixture
def train(tmp_path, pictures):
    """Train for three epochs; ``layers`` and what the first weights came from may differ."""

    def train(after_epoch=None, *, layers=LAYERS, first="a", classes=("no", "yes"), brighter=0):
        rows = pictures(len(PARTS))
        rows.values = rows.values // 2 + brighter
        inputs = Inputs(
            rows=rows,
            samples=tuple(Sample(*pair) for pair in zip(NAMES, LABELS, strict=True)),
            facts=pd.DataFrame({"name": NAMES, "pixel_sha256": NAMES}),
            findings=(),
            found=len(NAMES),
            key="images",
            preprocessing=Preprocessing(8),
            simulated=False,
        )
        split = Split(NAMES, LABELS, NAMES, PARTS, (0.8, 0.1, 0.1), patients=False)
        settings = {"epochs": 3, "batch_size": 4, "precision": "float32"}
        contender = Contender.model_validate({"name": "plain", "layers": layers, "training": settings})
        network, _ = first_network(contender, (3, 8, 8), 2, seed=1)
        pretraining = Pretraining(first * 64, "a file", "somebody")
        task = Classification(classes)
        words = (contender, network, task, inputs, split, tmp_path / "plain", 1, lambda *_: None, pretraining)
        learn(*words, after_epoch)
        return network.state_dict()

    return train


def test_it_is_gone_on_with(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(stop)
    again = train()
    (tmp_path / "plain").rename(tmp_path / "first")
    whole = train()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    "change",
    [
        {"first": "b"},  # a frozen trunk is not in the checkpoint: its tail would go on behind another one
        {"layers": [*LAYERS[:2], {"dropout": 0.3}]},
        {"layers": [{"conv": 4, "activation": "gelu"}, *LAYERS[1:]]},
        {"layers": [LAYERS[0], {"pool": "average"}, LAYERS[2]]},
        {"classes": ("yes", "no")},
        {"brighter": 10},
    ],
)
def test_another_network_of_the_same_shapes_is_refused(train, change):
    with pytest.raises(KeyboardInterrupt):
        train(stop)
    with pytest.raises(RunFolderError, match="another network or other pretrained weights than now: resume with the"):
        train(**change)


@pytest.fixture
def begun_with_two(train, monkeypatch):
    """A training that was stopped, begun with two threads, while there is one now."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        train(stop)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("begun_with_two")
def test_it_has_the_threads_it_began_with(train, caplog):
    seen = []
    train(lambda history: seen.append(torch.get_num_threads()))
    assert (set(seen), caplog.text) == ({2}, "")


@pytest.mark.usefixtures("begun_with_two")
def test_it_starts_anew_with_the_threads_it_began_with(train, tmp_path, caplog):
    for path in (tmp_path / "plain" / "checkpoint").glob("*.safetensors"):
        path.write_bytes(b"nothing")
    seen = []
    train(lambda history: seen.append(torch.get_num_threads()))
    assert set(seen) == {2}
    (told,) = caplog.messages
    assert told.endswith("from the start. With the same versions and as many threads, the result will be the same.")


@pytest.mark.usefixtures("begun_with_two")
def test_cores_that_are_not_there_and_another_version_are_warned_of(train, caplog, monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    monkeypatch.setattr(threads, "version", lambda name: "9.9")
    seen = []
    train(lambda history: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    (told,) = caplog.messages
    assert told.startswith("The training of 'plain' was begun with clearmargin ")
    assert "(now 9.9), threads 2 (now 1): the result may differ in its last digits" in told
