"""Convolution, pooling, flatten, dense and dropout, as CNNs compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from clearmargin.errors import UsageError
from clearmargin.learn.arrays import one_of, real_array, real_number, whole_number

POOLS: dict[str, Callable[..., np.ndarray]] = {"max": np.max, "average": np.mean, "sum": np.sum}


def convolve(
    image: ArrayLike,
    kernel: ArrayLike,
    stride: int = 1,
    padding: Literal["valid", "same"] | int = "valid",
    bias: ArrayLike | None = None,
) -> np.ndarray:
    """Slide a kernel over an image and take the weighted sum at every place.

    As in every CNN library the kernel is not mirrored: what mathematics calls cross-correlation,
    ``out[r, c] = sum over i, j of image[r * stride + i, c * stride + j] * kernel[i, j]``.

    Parameters
    ----------
    image
        (height, width) or (channels, height, width): real numbers; uint8 pixels are fine.
    kernel
        (rows, columns) for an image without channels; (channels, rows, columns) for one filter; (filters, channels,
        rows, columns) for several. The channels are those of the image, an image without channels has one.
    stride
        Pixels between two places of the kernel, down and across.
    padding
        ``"valid"``: none, the kernel stays inside the image; the output has ``(n - k) // stride + 1`` rows and columns
        for ``n`` of the image and ``k`` of the kernel. ``"same"``: ``k - 1`` zeros in all, ``(k - 1) // 2`` of them
        before the first pixel and the rest behind the last; the output has ``ceil(n / stride)``. A whole number: so
        many zeros on each of the four sides. All as in this package's networks (Keras, with a stride above 1, pads
        less for ``"same"``: outputs of the same size that look at places up to ``stride - 1`` pixels away).
    bias
        Added to the output: one number, or one for each filter.

    Returns
    -------
    float64: (height, width) for one filter, (filters, height, width) for several.

    Raises
    ------
    UsageError
        For shapes that do not fit each other, a kernel larger than the padded image, or settings out of range.

    Examples
    --------
    The weighted sum 1·1 + 0·(−1) + 1·1 + 1·(−1):

    >>> convolve([[1, 0], [1, 1]], [[1, -1], [1, -1]])
    array([[1.]])

    >>> ramp = np.arange(16).reshape(4, 4)
    >>> convolve(ramp, [[0, 0, 0], [0, 1, 0], [0, 0, 0]], stride=2, padding="same")
    array([[ 0.,  2.],
           [ 8., 10.]])
    """
    maps = _maps(real_array(image, "The image"))
    filters, single = _filters(real_array(kernel, "The kernel"), maps.shape)
    stride = whole_number(stride, "The stride", 1)
    padded = _padded(maps, filters.shape[2:], padding)
    rows, columns = filters.shape[2:]
    if rows > padded.shape[1] or columns > padded.shape[2]:
        raise UsageError(
            f"The kernel must fit into the image: got a kernel of {rows} x {columns} and, with its padding, "
            f'an image of {padded.shape[1]} x {padded.shape[2]}; take a smaller kernel or padding="same".'
        )
    windows = sliding_window_view(padded, (rows, columns), axis=(1, 2))[:, ::stride, ::stride]
    out = np.tensordot(filters, windows, axes=([1, 2, 3], [0, 3, 4]))  # (filters, height, width)
    if bias is not None:
        out = out + _offsets(bias, len(filters))[:, None, None]
    return out[0] if single else out


def pool(
    image: ArrayLike, kind: Literal["max", "average", "sum"] = "max", size: int = 2, stride: int | None = None
) -> np.ndarray:
    """Summarise every window of an image by its maximum, average or sum.

    Parameters
    ----------
    image
        (height, width) or (channels, height, width): real numbers. Channels stay apart.
    size
        Side of the square windows, pixels.
    stride
        Pixels between two windows; ``size`` when None, so that windows touch and do not overlap.

    Returns
    -------
    float64, with ``(n - size) // stride + 1`` rows and columns for ``n`` of the image: what a last window would need
    beyond the edge is left out.

    Raises
    ------
    UsageError
        For another shape, a window larger than the image, or settings out of range.

    Examples
    --------
    >>> numbers = [[1, 3, 2, 1], [4, 6, 5, 2], [3, 1, 1, 0], [2, 2, 4, 8]]
    >>> pool(numbers, "max")
    array([[6., 5.],
           [3., 8.]])
    >>> pool(numbers, "average")
    array([[3.5 , 2.5 ],
           [2.  , 3.25]])
    >>> pool(numbers, "sum", size=3, stride=1)
    array([[26., 21.],
           [28., 29.]])
    """
    values = real_array(image, "The image")
    maps = _maps(values)
    kind = one_of(kind, list(POOLS), "The kind of pooling")  # type: ignore[assignment]
    size = whole_number(size, "The size", 1)
    stride = size if stride is None else whole_number(stride, "The stride", 1)
    if size > min(maps.shape[1:]):
        raise UsageError(
            f"The window must fit into the image: got a size of {size} and an image of {maps.shape[1]} x "
            f"{maps.shape[2]}; take a size of at most {min(maps.shape[1:])}."
        )
    windows = sliding_window_view(maps, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    out: np.ndarray = POOLS[kind](windows, axis=(3, 4))
    return out[0] if values.ndim == 2 else out


def flatten(maps: ArrayLike) -> np.ndarray:
    """Write all values in one row: channel by channel, line by line.

    Returns
    -------
    float64, (values,).

    Examples
    --------
    >>> flatten([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    array([1., 2., 3., 4., 5., 6., 7., 8.])
    """
    return real_array(maps, "The input").reshape(-1)


def dense(values: ArrayLike, weights: ArrayLike, bias: ArrayLike | None = None) -> np.ndarray:
    """Give every output a weighted sum of all values: a fully connected layer.

    Parameters
    ----------
    values
        (values,).
    weights
        (outputs, values), as PyTorch keeps them.
    bias
        One number, or one for each output.

    Returns
    -------
    float64, (outputs,).

    Raises
    ------
    UsageError
        For shapes that do not fit each other.

    Examples
    --------
    >>> dense([1, 2, 3], [[1, 0, -1], [0, 1, 0]], bias=[0.5, 0])
    array([-1.5,  2. ])
    """
    row, table = real_array(values, "The input"), real_array(weights, "The weights")
    if row.ndim != 1 or table.ndim != 2 or table.shape[1] != row.shape[0]:
        raise UsageError(
            "A dense layer needs values of shape (values,) and weights of shape (outputs, values), got "
            f"{row.shape} and {table.shape}: flatten maps first."
        )
    return table @ row + (0 if bias is None else _offsets(bias, len(table)))


def dropout(values: ArrayLike, rate: float, seed: int = 0) -> np.ndarray:
    """Set a random share of the values to zero and enlarge the others by ``1 / (1 - rate)``.

    That is what happens while training (Srivastava et al. 2014, in the form that leaves the expected sum as it is);
    when a network predicts, dropout does nothing.

    Parameters
    ----------
    values
        Any shape.
    rate
        The probability that a value vanishes, in [0, 1).
    seed
        Which ones; the same seed, the same ones.

    Returns
    -------
    float64, of the same shape.

    Raises
    ------
    UsageError
        For a rate or seed out of range.

    Examples
    --------
    >>> dropout([1, 2, 3, 4], rate=0.5, seed=2)
    array([0., 0., 6., 0.])
    """
    array = real_array(values, "The input")
    rate = real_number(rate, "The rate")
    if not 0 <= rate < 1:
        raise UsageError(f"The rate must be a number of at least 0 and below 1, got {rate!r}.")
    draws = np.random.default_rng(whole_number(seed, "The seed", 0)).random(array.shape)
    return np.where(draws < rate, 0.0, array / (1 - rate))


def _maps(image: np.ndarray) -> np.ndarray:
    """The image as (channels, height, width)."""
    if image.ndim not in (2, 3):
        raise UsageError(
            "The image must have shape (height, width) or (channels, height, width), "
            f"got {image.ndim} dimension(s): {image.shape}."
        )
    return image[None] if image.ndim == 2 else image


def _filters(kernel: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """The kernel as (filters, channels, rows, columns), and whether it is a single filter."""
    channels, height, width = shape
    filters = kernel[None, None] if kernel.ndim == 2 else kernel[None] if kernel.ndim == 3 else kernel
    if filters.ndim != 4 or filters.shape[1] != channels:
        plain = "(rows, columns), " if channels == 1 else ""
        last = width in (1, 3, 4) and height > 4
        raise UsageError(
            f"For an image of {channels} channel(s) of {height} x {width} the kernel must have shape {plain}"
            f"({channels}, rows, columns) or (filters, {channels}, rows, columns), got {kernel.shape}."
            + (" Channels come first: image.transpose(2, 0, 1)." if last else "")
        )
    return filters, kernel.ndim < 4


def _padded(maps: np.ndarray, kernel: tuple[int, ...], padding: object) -> np.ndarray:
    if isinstance(padding, str) and padding == "valid":
        return maps
    if isinstance(padding, str) and padding == "same":
        sides = [((side - 1) // 2, (side - 1) - (side - 1) // 2) for side in kernel]
    else:
        zeros = whole_number(padding, "The padding, where it is not 'valid' or 'same',", 0)
        sides = [(zeros, zeros)] * 2
    return np.pad(maps, [(0, 0), *sides])


def _offsets(bias: ArrayLike, outputs: int) -> np.ndarray:
    offsets = real_array(bias, "The bias")
    if offsets.shape not in ((), (1,), (outputs,)):
        raise UsageError(f"The bias must be one number or {outputs}, one for each output, got shape {offsets.shape}.")
    return np.broadcast_to(offsets, (outputs,))
