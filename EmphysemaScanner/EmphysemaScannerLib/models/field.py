"""Which part of a CT a network reads; the command line needs the names without SimpleITK."""

from __future__ import annotations

from enum import Enum


class Field(str, Enum):
    """Which part of a CT a network reads.

    WHOLE: all of it, as in the paper. LUNGS: the box of the lung mask with a margin, inside the CT; how much neck,
    abdomen, arms or table was scanned does not change it.
    """

    WHOLE = "whole"
    LUNGS = "lungs"
