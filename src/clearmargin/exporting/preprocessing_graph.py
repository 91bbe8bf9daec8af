"""Decoding's last steps inside an ONNX graph: framing, resizing and normalising, to the values that Pillow computes.

ONNX's own ``Resize`` is up to 15 grey levels off Pillow's. Here the weights of its triangle filter are made in the
graph, in the fixed-point numbers that Pillow takes (`Resample.c`, 22 bits), so that each pass over rows and columns is
a matrix product in float64, which is exact. `framing.framed` is what it is equal to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clearmargin.columns import FARTHEST
from clearmargin.exported import About

REDUCING_GAP = 3.0  # as `framing` resizes
FIXED_POINT = float(2**22)
LUMA = (19595.0, 38470.0, 7471.0)  # ITU-R 601 as Pillow rounds it, over 65536


class Drawing:
    """Nodes of a graph under construction, one after the other; values are their names."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def do(self, operation: str, *values: str, **attributes: Any) -> str:
        """Add a node; return the name of what it makes."""
        from onnx import helper

        made = f"{self.prefix}{len(self.nodes)}_{operation.lower()}"
        self.nodes.append(helper.make_node(operation, list(values), [made], name=made, **attributes))
        return made

    def constant(self, value: Any, dtype: Any) -> str:
        """Add a number or an array; return its name."""
        from onnx import numpy_helper

        name = f"{self.prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def whole(self, *values: int) -> str:
        """int64 of shape (values,)."""
        return self.constant(values, np.int64)

    def real(self, value: float) -> str:
        """One float64."""
        return self.constant(value, np.float64)

    def as_real(self, value: str) -> str:
        return self.do("Cast", value, to=11)

    def as_float(self, value: str) -> str:
        return self.do("Cast", value, to=1)

    def as_whole(self, value: str) -> str:
        return self.do("Cast", value, to=7)


def prepend_preprocessing(model: Any, about: About) -> None:
    """Put what ``about.input`` asks for before a network: its new input is ``image``, or ``values`` of a table."""
    from onnx import helper

    graph = model.graph
    drawing = Drawing("before_")
    name, number = ("values", 11) if about.input == "values" else ("image", 2)
    ready = _values(drawing, name, about) if about.input == "values" else _images(drawing, name, about)
    drawing.nodes.append(helper.make_node("Identity", [ready], [graph.input[0].name], name="before_network"))
    shape = [size if size is not None else axis for size, axis in zip(about.input_shape, _AXES[name], strict=True)]
    nodes = [*drawing.nodes, *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.append(helper.make_tensor_value_info(name, number, shape))
    graph.node.extend(nodes)
    graph.initializer.extend(drawing.constants)


_AXES = {"image": ("batch", "height", "width", "color"), "values": ("batch", "column")}


def _values(at: Drawing, values: str, about: About) -> str:
    """Rows of a table as `columns.standardised` makes them, float32 (batch, 1, columns)."""
    mean, std = (np.array(each, dtype=np.float64) for each in (about.mean, about.std))
    constant = std == 0
    centred = at.do("Sub", values, at.constant(mean, np.float64))
    reach = np.where(constant, 0.0, std * FARTHEST)
    within = at.do("Max", at.do("Min", centred, at.constant(reach, np.float64)), at.constant(-reach, np.float64))
    scaled = at.do("Div", within, at.constant(np.where(constant, 1.0, std), np.float64))
    return at.do("Unsqueeze", at.as_float(scaled), at.whole(1))


def _images(at: Drawing, image: str, about: About) -> str:
    """Images as the network takes them, float32 (batch, channels, size_px, size_px)."""
    pixels = at.as_float(image)
    if about.color == "gray":
        weighted = at.do("ReduceSum", at.do("Mul", pixels, at.constant(LUMA, np.float32)), at.whole(-1), keepdims=1)
        half = at.do("Add", weighted, at.constant(32768.0, np.float32))
        pixels = at.do("Floor", at.do("Div", half, at.constant(65536.0, np.float32)))
    planes = at.do("Transpose", pixels, perm=[0, 3, 1, 2])  # (batch, channels, height, width)
    if about.input == "image":
        planes = _framed(at, planes, about)
    scale = np.array([1 / (255 * s) for s in about.std], dtype=np.float32)[:, None, None]
    shift = np.array([m / s for m, s in zip(about.mean, about.std, strict=True)], dtype=np.float32)[:, None, None]
    return at.do("Sub", at.do("Mul", planes, at.constant(scale, np.float32)), at.constant(shift, np.float32))


def _framed(at: Drawing, planes: str, about: About) -> str:
    """Planes (batch, channels, height, width) brought to (batch, channels, size_px, size_px)."""
    side = int(about.size_px or 0)
    shape = at.do("Shape", planes)
    height, width = (at.do("Gather", shape, at.whole(axis)) for axis in (2, 3))  # each of shape (1,)
    full = at.whole(side)
    if about.fit == "stretch":
        return _resized(at, planes, (height, width), (full, full))
    if about.fit == "crop":
        edge = at.do("Min", height, width)
        start = [at.do("Div", at.do("Sub", length, edge), at.whole(2)) for length in (height, width)]
        starts = at.do("Concat", *start, axis=0)
        ends = at.do("Add", starts, at.do("Concat", edge, edge, axis=0))
        return _resized(at, at.do("Slice", planes, starts, ends, at.whole(2, 3)), (edge, edge), (full, full))
    longest = at.as_real(at.do("Max", height, width))
    inner = [_inner(at, length, longest, side) for length in (height, width)]
    resized = _resized(at, planes, (height, width), (inner[0], inner[1]))
    free = [at.do("Sub", full, length) for length in inner]
    before = [at.do("Div", length, at.whole(2)) for length in free]
    after = [at.do("Sub", whole, first) for whole, first in zip(free, before, strict=True)]
    pads = at.do("Concat", at.whole(0, 0), *before, at.whole(0, 0), *after, axis=0)
    return at.do("Pad", resized, pads)


def _inner(at: Drawing, length: str, longest: str, side: int) -> str:
    """A side of the picture inside its padding: never less than a pixel. Both round halves to even."""
    scaled = at.do("Div", at.do("Mul", at.as_real(length), at.real(side)), longest)
    return at.do("Max", at.as_whole(at.do("Round", scaled)), at.whole(1))


def _resized(at: Drawing, planes: str, size: tuple[str, str], wanted: tuple[str, str]) -> str:
    """Float32 planes of another size, whole numbers from 0 to 255, as ``Image.resize`` makes them."""
    factors = [_factor(at, length, new) for length, new in zip(size, wanted, strict=True)]
    smaller = _reduced_where_large(at, planes, size, factors)
    shape = at.do("Shape", smaller)
    lengths = [at.do("Gather", shape, at.whole(axis)) for axis in (2, 3)]
    extents = [  # of the picture in reduced pixels, where the last one may be in part beyond it; Pillow keeps it so
        at.as_real(at.as_float(at.do("Div", at.as_real(length), at.as_real(factor))))
        for length, factor in zip(size, factors, strict=True)
    ]
    down, across = (
        _weights(at, length, extent, new) for length, extent, new in zip(lengths, extents, wanted, strict=True)
    )
    first, second = (_pass_down, _pass_across)
    tall = _down_first(at, lengths, wanted)
    branches = [_two_passes(at, name, order, smaller, down, across)
                for name, order in (("down", (first, second)), ("across", (second, first)))]  # fmt: skip
    return at.do("If", tall, then_branch=branches[0], else_branch=branches[1])


def _down_first(at: Drawing, lengths: Sequence[str], wanted: Sequence[str]) -> str:
    """Whether columns come before rows: in Pillow 13, where the height loses more than twice what the width does.

    Both orders round in between, and differ by a grey level here and there.
    """
    lost = [at.do("Squeeze", at.do("Sub", length, new)) for length, new in zip(lengths, wanted, strict=True)]
    twice = at.do("Mul", lost[1], at.constant(2, np.int64))
    return at.do("And", at.do("Greater", lost[0], at.constant(0, np.int64)), at.do("Greater", lost[0], twice))


def _pass_across(at: Drawing, planes: str, _down: str, across: str) -> str:
    return _rounded(at, at.do("MatMul", planes, at.do("Transpose", across, perm=[1, 0])))


def _pass_down(at: Drawing, planes: str, down: str, _across: str) -> str:
    return _rounded(at, at.do("MatMul", down, planes))


def _two_passes(at: Drawing, name: str, order: Sequence[Any], planes: str, down: str, across: str) -> Any:
    """A branch of the graph: both passes, one after the other."""
    from onnx import TensorProto, helper

    inner = Drawing(f"{at.prefix}{name}_")
    once = order[0](inner, inner.as_real(planes), down, across)
    made = inner.as_float(order[1](inner, once, down, across))
    output = helper.make_tensor_value_info(made, TensorProto.FLOAT, ["batch", "channels", "rows", "columns"])
    return helper.make_graph(inner.nodes, name, [], [output], inner.constants)


def _factor(at: Drawing, length: str, new: str) -> str:
    """By which whole factor a side is reduced before it is resized."""
    ratio = at.do("Div", at.do("Div", at.as_real(length), at.as_real(new)), at.real(REDUCING_GAP))
    return at.do("Max", at.as_whole(at.do("Floor", ratio)), at.whole(1))


def _weights(at: Drawing, length: str, extent: str, new: str) -> str:
    """Of the triangle filter in fixed point, float64 (new, length)."""
    scale = at.do("Div", extent, at.as_real(new))
    support = at.do("Max", scale, at.real(1.0))
    centres = at.do("Mul", at.do("Add", _counting(at, new), at.real(0.5)), scale)
    places = at.do("Unsqueeze", _counting(at, length), at.whole(0))
    away = at.do("Add", at.do("Sub", places, at.do("Unsqueeze", centres, at.whole(1))), at.real(0.5))
    shares = at.do("Mul", away, at.do("Div", at.real(1.0), support))
    heights = at.do("Max", at.do("Sub", at.real(1.0), at.do("Abs", shares)), at.real(0.0))
    sums = at.do("ReduceSum", heights, at.whole(1), keepdims=1)
    scaled = at.do("Mul", at.do("Div", heights, sums), at.real(FIXED_POINT))
    return at.do("Floor", at.do("Add", scaled, at.real(0.5)))


def _counting(at: Drawing, length: str) -> str:
    """Float64: 0, 1, 2 … of this length."""
    end = at.do("Squeeze", length)
    return at.as_real(at.do("Range", at.constant(0, np.int64), end, at.constant(1, np.int64)))


def _rounded(at: Drawing, sums: str) -> str:
    """Fixed-point sums as grey levels."""
    half = at.do("Add", sums, at.real(FIXED_POINT / 2))
    levels = at.do("Floor", at.do("Div", half, at.real(FIXED_POINT)))
    return at.do("Min", at.do("Max", levels, at.real(0.0)), at.real(255.0))


def _reduced_where_large(at: Drawing, planes: str, size: tuple[str, str], factors: Sequence[str]) -> str:
    """Planes reduced by whole factors, or as they are where both are 1."""
    from onnx import TensorProto, helper

    largest = at.do("Squeeze", at.do("Max", *factors))
    many = at.do("Greater", largest, at.constant(1, np.int64))
    yes = Drawing(f"{at.prefix}reduced_")
    made = _reduced(yes, planes, size, factors)
    floats = TensorProto.FLOAT
    shape = ["batch", "channels", "rows", "columns"]
    then = helper.make_graph(
        yes.nodes, "reduced", [], [helper.make_tensor_value_info(made, floats, shape)], yes.constants
    )
    kept = helper.make_node("Identity", [planes], [f"{at.prefix}kept"])
    other = helper.make_graph([kept], "kept", [], [helper.make_tensor_value_info(f"{at.prefix}kept", floats, shape)])
    return at.do("If", many, then_branch=then, else_branch=other)


def _reduced(at: Drawing, planes: str, size: tuple[str, str], factors: Sequence[str]) -> str:
    """Means over blocks, rounded as ``Image.reduce`` rounds them: by a product with 2²⁴ over the count, in whole."""
    one = at.whole(1)
    new, missing, counts = [], [], []
    for length, factor in zip(size, factors, strict=True):
        blocks = at.do("Div", at.do("Sub", at.do("Add", length, factor), one), factor)
        new.append(blocks)
        missing.append(at.do("Sub", at.do("Mul", blocks, factor), length))
        end = at.do("Squeeze", blocks)
        places = at.do("Range", at.constant(0, np.int64), end, at.constant(1, np.int64))
        counts.append(at.do("Min", at.do("Sub", length, at.do("Mul", places, factor)), factor))
    pads = at.do("Concat", at.whole(0, 0, 0, 0), at.whole(0, 0), *missing, axis=0)
    padded = at.do("Pad", planes, pads)
    shape = at.do("Concat", at.whole(0, 0), new[0], factors[0], new[1], factors[1], axis=0)
    sums = at.do("ReduceSum", at.do("Reshape", padded, shape), at.whole(3, 5), keepdims=0)
    pixels = at.do("Mul", at.do("Unsqueeze", counts[0], one), at.do("Unsqueeze", counts[1], at.whole(0)))
    parts = at.as_float(at.do("Mul", pixels, at.whole(256)))
    multiplier = at.do("Floor", at.do("Div", at.constant(float(2**32), np.float32), parts))
    halved = at.do("Add", sums, at.as_float(at.do("Div", pixels, at.whole(2))))
    product = at.do("Mul", at.as_real(halved), at.as_real(multiplier))
    return at.as_float(at.do("Floor", at.do("Div", product, at.real(float(2**24)))))
