"""Values of strict JSON, checked: names, numbers and lists of numbers."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAME = re.compile(r"\w{1,40}", re.ASCII)  # of units and regions; they become names of files


def named(name: str) -> str:
    """The name of a unit or region.

    Raises:
        ValueError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' is not the name of a unit or region")
    return name


def number(value: Any) -> float:
    """A number; None, which stands for one that JSON does not have, is NaN.

    Raises:
        TypeError: it is something else.
    """
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def numbers(values: Any, *shape: int) -> NDArray[np.float64]:
    """A list of numbers as an array of the shape that it must have.

    Raises:
        TypeError, ValueError: it is something else.
    """
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    if array.shape != shape:
        raise ValueError(f"there are values of shape {array.shape} where {shape} is expected")
    return array
