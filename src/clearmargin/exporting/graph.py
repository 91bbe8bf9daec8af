"""A network becomes an ONNX graph: traced by torch, freed of what it says of this machine, with its own account."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from clearmargin.errors import MissingExtraError, UsageError, WorkError
from clearmargin.exported import About
from clearmargin.exporting.network import plain_network
from clearmargin.exporting.preprocessing_graph import prepend_preprocessing
from clearmargin.foreign.graph import LARGEST_BYTES

if TYPE_CHECKING:
    from clearmargin.trained import TrainedContender

INPUT, OUTPUT = "inputs", "outputs"
IR_VERSION = 10


def onnx_bytes(contender: TrainedContender, about: About) -> bytes:
    """One ONNX file that holds a contender's network, what ``about`` says of it, and its preprocessing if asked.

    Parameters
    ----------
    about
        Its ``input`` says what is to go in.

    Raises
    ------
    MissingExtraError
        When ``onnx`` or ``onnxscript`` is not installed.
    UsageError
        When the network is too large for one file.
    WorkError
        When torch can't express the network.
    """
    model = _traced(contender)
    _forget_origin(model)
    if about.input != "normalised":
        prepend_preprocessing(model, about)
    describe_model(model, about)
    return bytes(model.SerializeToString())


def _traced(contender: TrainedContender) -> Any:
    """The network as ONNX's ModelProto: input float32 with an open batch, output logits or a standardised number."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Exporting to ONNX", "onnx") from error
    network = plain_network(contender.network)
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > LARGEST_BYTES - 2**20:
        raise UsageError(
            f"The weights of '{contender.name}' fill {size / 2**30:.1f} GB, and one ONNX file takes "
            f"{LARGEST_BYTES >> 30} GB here: export it with --format torch."
        )
    batch = torch.zeros(2, *contender.preprocessing.shape)
    with _quiet(), torch.inference_mode():
        try:
            program = torch.onnx.export(
                network,
                (batch,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise WorkError(f"torch can't express '{contender.name}' in ONNX: {str(error)[:300]}") from error
    if program is None:
        raise WorkError(f"torch gave no ONNX graph for '{contender.name}'.")
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch says of itself while it exports: deprecations within it, and that torchvision is not there."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    children = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch.onnx.")]
    levels = [(child, child.level) for child in children]
    for child in children:
        child.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
        for child, level in levels:
            child.setLevel(level)


def _forget_origin(model: Any) -> None:
    """Take out where in which file each operation was written, which names folders of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]
    graph.name = "network"


def describe_model(model: Any, about: About) -> None:
    """Write into ONNX's ModelProto what a file says of itself, in place of what it said before."""
    model.producer_name, model.producer_version = "clearmargin", about.version
    model.doc_string = "Research use only, not a medical device."
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    for key, value in about.as_properties().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
