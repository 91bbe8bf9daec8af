"""What a foreign ONNX file may hold, and what its graph says of its input and output: read, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clearmargin.errors import MissingExtraError, WeightsError

LARGEST_BYTES = 1 << 30
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
RUNTIME_DOMAINS = ("com.microsoft", "com.ms.", "org.pytorch.")  # onnxruntime has operations of its own in them
INPUT_TYPES = {1: "float32", 10: "float16", 11: "float64"}  # TensorProto's numbers and NumPy's names
DEEPEST = 20  # graphs within graphs


@dataclass(frozen=True)
class GraphFacts:
    """What a graph says of itself.

    Attributes
    ----------
    input_name, input_type
        Of its only input: a name, and NumPy's word for its type.
    input_shape, output_shape
        Sizes; None for one that is left open.
    last
        The operation that makes the output, such as ``Softmax``.
    parameters
        Numbers in its weights.
    properties
        What the file says of itself (``metadata_props``): text by key.
    """

    input_name: str
    input_type: str
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    last: str
    parameters: int
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Feeding:
    """How a batch goes in: the order of its axes, and whether one image at a time."""

    layout: Literal["nhwc", "nchw"]
    one_by_one: bool


def check_graph(content: bytes, name: str, types: Mapping[int, str] = INPUT_TYPES) -> GraphFacts:
    """Refuse what is no plain ONNX file of one input and one output, and read what its graph says.

    Plain: every weight is in the file itself, and every operation is one that ONNX defines (or a function in the file
    made of such).

    Parameters
    ----------
    types
        What the input may be: TensorProto's numbers and NumPy's names.

    Raises
    ------
    WeightsError
        Saying what it holds that is not allowed.
    MissingExtraError
        When ``onnx``, which reads the file, is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("A contender from an ONNX file", "onnx") from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no class in common either
        raise WeightsError(f"{name} is not an ONNX file, or is damaged: {str(error)[:200]}") from error
    _check_text(model, name)
    _check_plain(model, onnx, name)
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds = [value for value in model.graph.input if value.name not in stored]
    if len(feeds) != 1 or len(model.graph.output) != 1:
        raise WeightsError(
            f"{name} has {len(feeds)} inputs and {len(model.graph.output)} outputs: expected one input, the images, "
            "and one output, a row of numbers for each."
        )
    return GraphFacts(
        input_name=feeds[0].name,
        input_type=_input_type(feeds[0], name, types),
        input_shape=_shape(feeds[0]),
        output_shape=_shape(model.graph.output[0]),
        last=_maker(model.graph, model.graph.output[0].name),
        parameters=sum(_count(tensor) for tensor in model.graph.initializer),
        properties={entry.key: entry.value for entry in model.metadata_props},
    )


def _check_text(model: Any, name: str) -> None:
    """Refuse text that is not UTF-8, which protobuf gives out as bytes."""
    waiting = [model]
    while waiting:
        for kind, value in waiting.pop().ListFields():
            if kind.type == kind.TYPE_MESSAGE:
                waiting += [value] if hasattr(value, "ListFields") else value
            elif kind.type == kind.TYPE_STRING:
                for text in [value] if isinstance(value, str | bytes) else value:
                    if not isinstance(text, str):
                        raise WeightsError(f"{name} is not an ONNX file, or is damaged: {kind.name} is not UTF-8.")


def _check_plain(model: Any, onnx: Any, name: str) -> None:
    own = {
        (function.domain, function.name, function.overload)
        for function in model.functions
        if not function.domain.startswith(RUNTIME_DOMAINS)
    }
    nodes = [node for body in (model.graph, *model.functions) for node in _nodes(body, name)]
    foreign = (node for node in nodes if node.domain not in DOMAINS)
    strange = sorted({node.domain for node in foreign if (node.domain, node.op_type, node.overload) not in own})
    if strange:
        raise WeightsError(
            f"{name} uses operations of {', '.join(map(repr, strange[:5]))}, which take a library of their own: only "
            "files made of ONNX's own operations are run."
        )
    for tensor in _tensors(model, nodes):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise WeightsError(
                f"{name} keeps weights ({tensor.name[:80]!r}) in another file, which is not followed: save the model "
                "as one file (onnx.save with save_as_external_data=False)."
            )


def _nodes(body: Any, name: str, depth: int = 0) -> Iterator[Any]:
    """Every node of a graph or function, those of the graphs inside loops and branches included."""
    if depth > DEEPEST:
        raise WeightsError(f"{name} has graphs within graphs more than {DEEPEST} deep: it is not a classifier.")
    for node in body.node:
        yield node
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(inner, name, depth + 1)


def _tensors(model: Any, nodes: list[Any]) -> Iterator[Any]:
    graphs = [model.graph]
    for node in nodes:
        for attribute in node.attribute:
            yield from (*((attribute.t,) if attribute.HasField("t") else ()), *attribute.tensors)
            sparse = (*((attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()),)
            for each in (*sparse, *attribute.sparse_tensors):
                yield from (each.values, each.indices)
            graphs += [*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs]
    for graph in graphs:
        yield from graph.initializer
        for each in graph.sparse_initializer:
            yield from (each.values, each.indices)


def _input_type(value: Any, name: str, types: Mapping[int, str]) -> str:
    number = value.type.tensor_type.elem_type
    if number not in types:
        raise WeightsError(
            f"{name} takes an input {value.name[:80]!r} of ONNX's type {number}: expected images as numbers with a "
            f"fraction ({', '.join(types.values())})."
        )
    return types[number]


def _shape(value: Any) -> tuple[int | None, ...]:
    sizes = value.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in sizes)


def _count(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= max(0, size)
    return count


def _maker(graph: Any, output: str) -> str:
    """The operation an output comes from; those that leave values as they are, are looked through."""
    makers = {made: node for node in graph.node for made in node.output}
    for _ in range(len(graph.node)):
        node = makers.get(output)
        if node is None or not node.input:
            return "none"
        if node.op_type not in ("Identity", "Cast", "Reshape", "Squeeze", "Flatten"):
            return str(node.op_type)
        output = node.input[0]
    return "none"


def feeding(facts: GraphFacts, size_px: int, channels: int, layout: str | None, name: str) -> Feeding:
    """How images of a size go into a graph; its layout is found from the shape where that is clear.

    Raises
    ------
    WeightsError
        When the shape of the input is another one, or leaves the layout open.
    """
    shape = facts.input_shape
    if len(shape) != 4:
        raise WeightsError(f"The input of {name} has {len(shape)} axes: expected 4, a batch of images.")
    fitting = {
        order: sizes
        for order, sizes in (
            ("nhwc", (size_px, size_px, channels)),
            ("nchw", (channels, size_px, size_px)),
        )
        if all(there in (None, wanted) for there, wanted in zip(shape[1:], sizes, strict=True))
    }
    told = "x".join("?" if size is None else str(size) for size in shape)
    asked = f"size_px = {size_px} and {channels} channel{'s' if channels > 1 else ''}"
    if not fitting or (layout is not None and layout not in fitting):
        raise WeightsError(
            f"The input of {name} has the shape {told}, which does not fit {asked}"
            + (f' in the layout "{layout}"' if layout else "")
            + ": set size_px, channels and layout as its author fed it."
        )
    if layout is None and len(fitting) > 1:
        raise WeightsError(
            f"The input of {name} has the shape {told}, which fits {asked} in both layouts: "
            'set layout = "nhwc" (channels last, as Keras has it) or "nchw" (channels first, as PyTorch has it).'
        )
    if shape[0] not in (None, 1):
        raise WeightsError(f"{name} takes batches of exactly {shape[0]} images: expected any number, or one at a time.")
    chosen: Literal["nhwc", "nchw"] = "nhwc" if (layout or next(iter(fitting))) == "nhwc" else "nchw"
    return Feeding(chosen, one_by_one=shape[0] == 1)


def check_output(facts: GraphFacts, classes: int, outputs: str, name: str) -> None:
    """Refuse a graph whose output can't be what the recipe calls it, as far as the graph tells.

    Raises
    ------
    WeightsError
        For another number of outputs than classes, or logits that are probabilities already.
    """
    shape = facts.output_shape
    if shape and (len(shape) != 2 or shape[1] not in (None, classes)):
        told = "x".join("?" if size is None else str(size) for size in shape)
        raise WeightsError(
            f"The output of {name} has the shape {told}: expected a row of {classes} numbers for each image, one a "
            "class of the recipe's 'classes'."
        )
    if outputs == "logits" and facts.last == "Softmax":
        raise WeightsError(
            f"The last operation of {name} is a Softmax, so that its outputs are probabilities already: set outputs = "
            '"probabilities".'
        )
