"""What a network is made of, layer by layer: the rows of the table that describes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the table that describes a network.

    Attributes
    ----------
    layer
        In words: ``conv 32, 3x3, relu``.
    output
        Shape that leaves it, without the batch: (channels, height, width), (channels, length) or (values,).
    parameters
        Learned numbers: weights, biases, and scale and shift of a batch normalisation (its running mean and variance
        are not learned).
    multiply_adds
        Multiplications with a following addition, for one sample: convolutions (values out · kernel · channels in),
        dense layers (values in · values out) and batch normalisation (one a value). Pooling and activations have none.
    receptive_field
        How many pixels (columns of a table) of the input one value depends on, along the longer side.
    trained
        False when the layer is frozen.
    """

    layer: str
    output: Shape
    parameters: int
    multiply_adds: int
    receptive_field: int
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Sight:
    """What one value sees of the input along one side, on the way from layer to layer.

    With a kernel k and a stride s, r' = r + (k - 1) j and j' = j s (Araujo et al. 2019, eqs. 1 and 2), and never more
    than there is.

    Attributes
    ----------
    field
        r: pixels seen.
    step
        j: pixels between what two neighbours see.
    side
        Pixels there are.
    """

    field: int
    step: int
    side: int

    @classmethod
    def of(cls, shape: Shape) -> Sight:
        """At the input, where every value sees itself."""
        return cls(1, 1, max(shape[1:], default=shape[0]))

    def through(self, kernel: int, stride: int = 1) -> Sight:
        """After windows of this size."""
        return Sight(min(self.field + (kernel - 1) * self.step, self.side), self.step * stride, self.side)

    def of_everything(self) -> Sight:
        """After a layer in which every value depends on all."""
        return replace(self, field=self.side)
