"""The activation functions of the layer lists, each a line of arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from clearmargin.errors import UsageError
from clearmargin.learn.arrays import one_of, real_array, real_number, whole_number

LEAKY_SLOPE = 0.01
ELU_ALPHA = 1.0


def activate(
    values: ArrayLike,
    kind: str = "relu",
    *,
    slope: float = LEAKY_SLOPE,
    alpha: float = ELU_ALPHA,
    pieces: int = 2,
    axis: int | None = None,
) -> np.ndarray:
    """Apply an activation function.

    ============== ==========================================================================================
    kind           formula
    ============== ==========================================================================================
    ``sigmoid``    1 / (1 + e^−x)
    ``tanh``       (e^x − e^−x) / (e^x + e^−x)
    ``relu``       max(0, x)
    ``leaky_relu`` x for x ≥ 0, else slope · x (Maas et al. 2013)
    ``elu``        x for x ≥ 0, else alpha · (e^x − 1) (Clevert et al. 2016)
    ``gelu``       x · Φ(x), with the distribution function Φ of the normal (Hendrycks & Gimpel 2016)
    ``maxout``     the largest of every ``pieces`` neighbouring channels (Goodfellow et al. 2013)
    ``softmax``    e^x / sum of e^x
    ============== ==========================================================================================

    Parameters
    ----------
    values
        Real numbers of any shape.
    kind
        A name of the table.
    slope
        Of ``leaky_relu``, below zero.
    alpha
        Of ``elu``: it falls to −alpha.
    pieces
        Of ``maxout``: how many channels compete.
    axis
        Of ``maxout``, where the channels are: the first by default, as in (channels, height, width). Of ``softmax``,
        what sums to one: the last by default.

    Returns
    -------
    float64 of the same shape; after ``maxout`` the axis is ``pieces`` times shorter.

    Raises
    ------
    UsageError
        For an unknown name, or channels that can't be shared among the pieces.

    Examples
    --------
    >>> activate([-2, 0, 3], "relu")
    array([0., 0., 3.])
    >>> activate([-2, 0, 3], "leaky_relu", slope=0.1)
    array([-0.2,  0. ,  3. ])
    >>> activate([1, 5, -3, -4], "maxout", pieces=2)
    array([ 5., -3.])
    >>> activate([2, 1, 0], "softmax").round(3)
    array([0.665, 0.245, 0.09 ])
    """
    array = real_array(values, "The input")
    one_of(kind, KINDS, "The kind of activation")
    if kind == "leaky_relu":
        return np.where(array >= 0, array, real_number(slope, "The slope") * array)
    if kind == "elu":
        return np.where(array >= 0, array, real_number(alpha, "The alpha") * np.expm1(np.minimum(array, 0)))
    if kind == "maxout":
        return _maxout(array, whole_number(pieces, "The number of pieces", 1), _checked_axis(axis, 0, array))
    if kind == "softmax":
        return _softmax(array, _checked_axis(axis, -1, array))
    return _PLAIN[kind](array)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, small) / (1 + small)


def _gelu(x: np.ndarray) -> np.ndarray:
    error_function = np.vectorize(math.erf, otypes=[np.float64])
    return x * (1 + error_function(x / math.sqrt(2))) / 2


def _maxout(x: np.ndarray, pieces: int, axis: int) -> np.ndarray:
    channels = x.shape[axis]
    if channels % pieces:
        raise UsageError(
            f"Maxout with {pieces} pieces needs a number of channels that {pieces} divides, got {channels} "
            f"(shape {x.shape}, axis {axis})."
        )
    axis %= x.ndim
    shape = (*x.shape[:axis], channels // pieces, pieces, *x.shape[axis + 1 :])
    largest: np.ndarray = x.reshape(shape).max(axis=axis + 1)
    return largest


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # an infinite logit gives not-a-number, as in PyTorch
        odds = np.exp(x - x.max(axis=axis, keepdims=True))
        shares: np.ndarray = odds / odds.sum(axis=axis, keepdims=True)
    return shares


def _checked_axis(axis: int | None, default: int, array: np.ndarray) -> int:
    chosen = default if axis is None else axis
    if not isinstance(chosen, int | np.integer) or not -array.ndim <= chosen < array.ndim:
        raise UsageError(f"The axis must be one of the {array.ndim} of shape {array.shape}, got {axis!r}.")
    return int(chosen)


_PLAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": _gelu,
}
KINDS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "maxout", "gelu", "softmax")
