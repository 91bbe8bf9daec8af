"""The activation functions as cards: curve, formula, and what becomes of a feature map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from clearmargin.learn.activations import activate
from clearmargin.learn.kernels import KERNELS
from clearmargin.learn.operations import convolve
from clearmargin.learn.pictures import Picture, picture, scale_of, svg_path

LEFT, RIGHT, BOTTOM, TOP = -4.0, 4.0, -1.6, 4.0  # of every curve, so that they can be compared
PIECES = ((-1.0, -1.0), (0.5, 0.0))  # slope and offset of the two lines of maxout
START = -1.0  # where the dot stands first
_POINTS = np.linspace(LEFT, RIGHT, 161)


@dataclass(frozen=True)
class Card:
    """One function: ``path`` is its curve, ``lines`` what maxout chooses from, ``at`` its value at `START`."""

    kind: str
    title: str
    formula: Markup
    about: str
    path: str
    lines: list[str]
    at: float
    picture: Picture


_KINDS = (
    ("sigmoid", "Sigmoid", Markup("1 / (1 + e<sup>−x</sup>)"),
     "Squeezes everything between 0 and 1. Far from 0 it is flat: there, little is learnt."),
    ("tanh", "tanh", Markup("(e<sup>x</sup> − e<sup>−x</sup>) / (e<sup>x</sup> + e<sup>−x</sup>)"),
     "A sigmoid from −1 to 1 with its middle at 0."),
    ("relu", "ReLU", Markup("max(0, x)"),
     "Lets positive values through and stops the others. Quick, and the usual choice."),
    ("leaky_relu", "Leaky ReLU", Markup("x if x ≥ 0, else 0.01 x"),
     "As ReLU, but a little gets through below 0, so that no neuron falls silent for good."),
    ("elu", "ELU", Markup("x if x ≥ 0, else e<sup>x</sup> − 1"),
     "As ReLU, but falls smoothly to −1."),
    ("maxout", "Maxout", Markup("max(z<sub>1</sub>, z<sub>2</sub>)"),
     "The largest of several channels: the form of the curve is learnt. Here z₁ = −x − 1 and z₂ = x / 2."),
    ("gelu", "GELU", Markup("x · Φ(x)"),
     "A smooth ReLU: x times the share of a normal distribution below x. Transformers use it."),
)  # fmt: skip


def cards(image: np.ndarray) -> list[Card]:
    """One card per function; ``image`` is float, (height, width), from 0 to 1."""
    maps = np.stack([convolve(image, kernel.values) for kernel in KERNELS[:2]])  # vertical and horizontal edges
    made = []
    for kind, title, formula, about in _KINDS:
        lines, after = [], maps[0]
        if kind == "maxout":
            lines = [svg_path(_POINTS[[0, -1]], slope * _POINTS[[0, -1]] + offset) for slope, offset in PIECES]
            after = activate(maps, kind)[0]
        else:
            after = activate(maps[0], kind)
        curve = svg_path(_POINTS, _value(kind, _POINTS))
        at = float(_value(kind, np.array([START]))[0])
        made.append(Card(kind, title, formula, about, curve, lines, at, picture(after, scale_of(after))))
    return made


def _value(kind: str, x: np.ndarray) -> np.ndarray:
    if kind == "maxout":
        return activate(np.stack([slope * x + offset for slope, offset in PIECES]), kind)[0]
    return activate(x, kind)
