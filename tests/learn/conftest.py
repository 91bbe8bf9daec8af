"""A network with random weights in a folder, as a finished run keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clearmargin.files import file_sha256, write_tensors
from clearmargin.models import build_network
from clearmargin.models.layers import initialise
from clearmargin.recipe import Contender
from clearmargin.trained import TrainedContender


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[..., TrainedContender]:
    """Build a contender from its architecture, with first weights from a seed."""

    def build(size_px: int = 16, color: str = "gray", **architecture: Any) -> TrainedContender:
        channels = 3 if color == "rgb" else 1
        network = build_network(Contender.model_validate(architecture), (channels, size_px, size_px), 3)
        initialise(network, torch.Generator().manual_seed(1))
        for parameter in network.parameters():  # zeros would hide a forgotten bias
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(2))
        write_tensors(tmp_path / "model.safetensors", network.state_dict())
        description = {
            "architecture": architecture,
            "task": "classification",
            "classes": ["one", "<b>two</b>", "three"],
            "preprocessing": {
                "size_px": size_px, "fit": "pad", "color": color, "mean": [0.4] * channels, "std": [0.3] * channels,
            },
            "training": {"precision": "float32"},
            "weights_sha256": file_sha256(tmp_path / "model.safetensors"),
        }  # fmt: skip
        return TrainedContender(architecture["name"], tmp_path, description)

    return build
