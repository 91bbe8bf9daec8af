"""Plain PyTorch code rebuilds every network, in a process that has no clearmargin."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.exporting.networks import EVERY_LAYER, EVERY_LAYER_OF_ROWS, images

from clearmargin.errors import WorkError
from clearmargin.exported import describe_contender
from clearmargin.exporting import torch_file
from clearmargin.exporting.parity import reference
from clearmargin.exporting.samples import samples_to_compare
from clearmargin.exporting.torch_file import export_torch, loader_code
from clearmargin.models.inputs import to_input
from clearmargin.pixels import open_pixels
from clearmargin.sources import open_source

ALONE = """
import json, runpy, sys
from pathlib import Path
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "clearmargin":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
import torch
from safetensors.torch import load_file
outputs = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    network = runpy.run_path(str(folder / "loader.py"))["load"]()
    with torch.inference_mode():
        outputs[folder.name] = network(load_file(folder / "inputs.safetensors")["inputs"]).tolist()
assert not any(name.startswith("clearmargin") for name in sys.modules)
print(json.dumps(outputs))
"""
NETWORKS = {
    "every layer": ({"layers": EVERY_LAYER}, 32),
    "every layer of rows": ({"layers": EVERY_LAYER_OF_ROWS, "columns": 13}, 0),
    "global sum": ({"layers": [{"conv": 3, "kernel": 4}, {"pool": "global_sum"}]}, 16),
    "ResNet-18, small": ({"architecture": "resnet18"}, 32),
    "ResNet-18": ({"architecture": "resnet18"}, 64),
    "VGG16": ({"architecture": "vgg16", "weights": "none"}, 32),
}


def test_the_code_alone_answers_as_the_networks(untrained, tmp_path):
    """All of them in one process, in which clearmargin can't be imported."""
    from safetensors.torch import save_file

    expected = {}
    for name, (what, size_px) in NETWORKS.items():
        place = tmp_path / "all" / name
        place.mkdir(parents=True)
        contender = untrained(size_px, place=place, **what)
        if name == "VGG16":
            contender.network._cut = 24  # as with freeze_through = "block4", which wants ImageNet's weights
        values = images(2, size_px) if size_px else np.random.default_rng(0).normal(size=(2, 13))
        expected[name] = reference(contender)(values)
        about = describe_contender(contender, version="1", leaky=False)
        (place / "loader.py").write_text(loader_code(contender, about, "model.safetensors"), encoding="utf-8")
        said = contender.description["preprocessing"]
        inputs = to_input(values, tuple(said["mean"]), tuple(said["std"])).contiguous()
        save_file({"inputs": inputs}, place / "inputs.safetensors")
    words = [sys.executable, "-c", ALONE, str(tmp_path / "all")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, outputs in json.loads(done.stdout).items():
        np.testing.assert_allclose(outputs, expected.pop(name), atol=1e-5, err_msg=name)
    assert not expected
    assert ".bfloat16()" in (tmp_path / "all" / "VGG16" / "loader.py").read_text()


def test_it_is_written_when_it_agrees(tiny, tmp_path, clearmargin):
    out = tmp_path / "mine.safetensors"
    words = ["export", tiny.folder, "--format", "torch", "--contender", "two layers", "--out", out]
    status, printed, _ = clearmargin(*words)
    assert status == 0
    code = (tmp_path / "mine.py").read_text()
    assert code in printed
    assert "nothing of clearmargin" in printed
    assert 'CLASSES = ["alpha"' in code.replace("'", '"')
    from safetensors import safe_open

    with safe_open(out, "pt") as file:
        assert json.loads(file.metadata()["clearmargin.classes"]) == ["alpha", "beta", "gamma"]
        names = set(file.keys())
    assert names == set(tiny.contender("two layers").network.state_dict())


def test_damaged_images_of_the_cache_are_not_compared(tiny, class_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path))
    stored = open_pixels(open_source(class_folder), tiny.recipe.data.preprocessing)
    assert samples_to_compare(tiny, tiny.contender("one layer"), None).real
    path = tmp_path / "pixels" / stored.key / "pixels.bin"
    path.write_bytes(bytes(path.stat().st_size))
    assert not samples_to_compare(tiny, tiny.contender("one layer"), None).real
    (message,) = caplog.messages
    assert "pixels.bin is damaged: row" in message
    assert message.endswith("Made-up images are compared in their place.")


def test_the_code_says_how_pictures_are_prepared(untrained):
    contender = untrained(16, "gray", layers=[{"conv": 2}])
    said = contender.description["preprocessing"]
    for change in ({}, {"fit": "crop", "trim": True, "intensity": "standardised", "window": [40.0, 80.0]}):
        said.update(change)
        about = describe_contender(contender, version="1", leaky=False)
        scope: dict = {"__file__": "x.py"}
        exec(compile(loader_code(contender, about, "x.safetensors"), "x.py", "exec"), scope)
        framing = {key: value for key, value in said.items() if key not in ("mean", "std")}
        assert scope["PREPROCESSING"] == {"window": "file", **framing}
        assert scope["load"].__doc__.startswith("In: float32 (batch, 1, 16, 16), prepared as PREPROCESSING says")


def test_nothing_is_written_when_it_does_not(tiny, tmp_path, monkeypatch):
    right = torch_file.network_code
    monkeypatch.setattr(
        torch_file, "network_code", lambda network: ([right(network)[0][0].replace("nn.ReLU", "nn.Tanh")], "CNN()")
    )
    with pytest.raises(WorkError, match="The plain code does not answer as 'one layer' does"):
        export_torch(tiny, tiny.contender("one layer"), tmp_path / "x.safetensors", None)
    assert list(tmp_path.iterdir()) == []


def test_names_can_not_become_code(untrained):
    contender = untrained(16, layers=[{"conv": 2}])
    contender.description["classes"][:] = ['"]\nimport os', "'''", "\\"]
    about = describe_contender(contender, version="1", leaky=False)
    page = loader_code(contender, about, 'a"\n.safetensors')
    scope: dict = {"__file__": "x.py"}
    exec(compile(page, "x.py", "exec"), scope)
    assert scope["CLASSES"] == contender.description["classes"]
    assert "os" not in scope
    assert isinstance(scope["CNN"](), torch.nn.Module)
