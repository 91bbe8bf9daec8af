"""What the functions accept: real numbers in an array, whole numbers, one of a few words."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clearmargin.errors import UsageError

_REAL_KINDS = "biuf"  # truth values, integers, unsigned integers, floats


def real_array(values: ArrayLike, what: str) -> np.ndarray:
    """The values as float64.

    Raises
    ------
    UsageError
        When they are not real numbers, are ragged, or when there are none.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:  # rows of unequal length; things that can't be an array
        raise UsageError(f"{what} must be an array of real numbers with rows of equal length, got {error}.") from error
    if array.dtype.kind not in _REAL_KINDS:
        raise UsageError(f"{what} must hold real numbers, got {array.dtype} of shape {array.shape}.")
    if array.size == 0:
        raise UsageError(f"{what} must hold at least one number, got shape {array.shape}.")
    return array.astype(np.float64)


def whole_number(value: Any, what: str, least: int) -> int:
    """The value as an int of at least ``least``.

    Raises
    ------
    UsageError
        When it is something else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool | np.bool_):
        raise UsageError(f"{what} must be a whole number of at least {least}, got {value!r}.")
    return number


def real_number(value: Any, what: str) -> float:
    """The value as a float.

    Raises
    ------
    UsageError
        When it is not one finite real number.
    """
    number = real_array(value, what)
    if number.shape != () or not np.isfinite(number):
        raise UsageError(f"{what} must be one finite number, got {value!r}.")
    return float(number)


def one_of(value: Any, known: Sequence[str], what: str) -> str:
    """The value, which must be one of the known words.

    Raises
    ------
    UsageError
        When it is not.
    """
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{what} must be one of {', '.join(map(repr, known))}, got {value!r}.")
    return value
