"""``--format torch``: the weights in safetensors, and beside them the code that loads them into plain PyTorch."""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clearmargin import __version__
from clearmargin.errors import WorkError
from clearmargin.exported import About, describe_contender
from clearmargin.exporting.parity import TOLERANCE, reference, relative
from clearmargin.exporting.places import LOADER_BEGINS, loader_beside
from clearmargin.exporting.samples import RunData, Samples, samples_to_compare
from clearmargin.exporting.torch_code import network_code
from clearmargin.files import file_sha256, write_tensors, write_text
from clearmargin.models.inputs import to_input
from clearmargin.runs import Run
from clearmargin.trained import TrainedContender

_PAGE = '''{begins}{version} exported, in plain PyTorch. Research use only, not a medical device."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn

{constants}

{classes}


def load(path=Path(__file__).with_name({weights})):
    """In: {taken}. Out: {made}."""
    network = {network}
    network.load_state_dict(load_file(path))
    return network.eval()
'''


def export_torch(run: Run, contender: TrainedContender, path: Path, data: RunData | None) -> dict[str, Any]:
    """Write ``PATH.safetensors`` and ``PATH.py``; return what was done, ready for JSON, with ``notes`` in words.

    Raises
    ------
    WorkError
        When the code does not answer as the network does: then nothing is written.
    """
    loader = loader_beside(path)
    about = describe_contender(contender, version=__version__, leaky=bool(run.evaluation.get("leaky")))
    code = loader_code(contender, about, path.name)
    samples = samples_to_compare(run, contender, data)
    apart = _compare(contender, code, samples)
    tensors = {name: tensor.contiguous() for name, tensor in contender.network.state_dict().items()}
    write_text(loader, code)
    write_tensors(path, tensors, about.as_properties())
    return {
        "format": "torch",
        "contender": contender.name,
        "file": str(path),
        "loader": str(loader),
        "sha256": file_sha256(path),
        "parity": {"samples": samples.origin, "real": samples.real, "outputs": apart, "tolerance": TOLERANCE},
        "code": code,
        "notes": list(_notes(path, loader, samples, apart, code)),
    }


def loader_code(contender: TrainedContender, about: About, weights: str) -> str:
    """The page of code, for weights in a file of this name beside it."""
    classes, network = network_code(contender.network)
    constants: dict[str, Any] = {"MEAN": about.mean, "STD": about.std}
    if about.columns is not None:
        constants = {"COLUMNS": about.columns, **constants}
        taken = f"float32 (batch, 1, {len(about.columns)}), each column (value - MEAN) / STD"
    else:
        sides = f"{about.channels}, {about.size_px}, {about.size_px}"
        constants = {"PREPROCESSING": _preprocessing(about), **constants}
        taken = f"float32 (batch, {sides}), prepared as PREPROCESSING says, each channel (pixel / 255 - MEAN) / STD"
    if about.target is not None:
        made = f"(batch, 1), the target is that times {about.target.std!r} plus {about.target.mean!r}"
    else:
        constants = {"CLASSES": about.classes, **constants, "TEMPERATURE": about.temperature}
        made = f"logits (batch, {len(about.classes or ())}): softmax(logits / TEMPERATURE)"
    return _PAGE.format(
        begins=LOADER_BEGINS,
        version=about.version,
        constants="\n".join(f"{name} = {value!a}" for name, value in constants.items()),
        classes="\n\n\n".join(("", *classes)).lstrip("\n"),
        weights=f"{weights!a}",
        taken=taken,
        made=made,
        network=network,
    )


def _preprocessing(about: About) -> dict[str, Any]:
    """How a picture becomes what goes in, under the names that recipes have for it."""
    said = {name: getattr(about, name) for name in ("size_px", "fit", "color", "trim", "intensity")}
    return {**said, "window": about.window or "file"}


def _compare(contender: TrainedContender, code: str, samples: Samples) -> float:
    """Run the code as it will be written, with the weights of the contender."""
    said = contender.description["preprocessing"]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "loader.py"
        page.write_text(code, encoding="utf-8")
        weights = Path(folder) / "weights.safetensors"
        write_tensors(weights, contender.network.state_dict())
        network = runpy.run_path(str(page))["load"](weights)
    with torch.inference_mode():
        given = network(to_input(samples.values, tuple(said["mean"]), tuple(said["std"]))).double().numpy()
    apart = relative(reference(contender)(samples.values), np.asarray(given))
    if not apart <= TOLERANCE:
        raise WorkError(
            f"The plain code does not answer as '{contender.name}' does: on {samples.origin} it is up to {apart:.2g} "
            f"off, and {TOLERANCE:g} is allowed. Nothing was written."
        )
    return apart


def _notes(path: Path, loader: Path, samples: Samples, apart: float, code: str) -> Iterator[str]:
    yield f"Written: {path} and {loader}, which needs torch and safetensors, and nothing of clearmargin:"
    yield f"\n{code}"
    yield f"Run and compared with the network on {samples.origin}: at most {apart:.1e} off ({TOLERANCE:g} is allowed)."
