"""What a network reads of a CT; the command line needs these names without SimpleITK."""

from __future__ import annotations

from enum import Enum


class Field(str, Enum):
    """Which part of a CT a network reads.

    WHOLE: all of it, as in the paper. LUNGS: the box of the lung mask with a margin, inside the CT; how much neck,
    abdomen, arms or table was scanned does not change it.
    """

    WHOLE = "whole"
    LUNGS = "lungs"


class Needs(Enum):
    """What a network reads.

    VOLUME: (B, T, 1, H, W), values in [0, 1], slices inferior to superior. DENSITOMETRY: (B, 2), LAA%-950 in % and
    Perc15 in HU of the whole lungs.
    """

    VOLUME = "volume"
    DENSITOMETRY = "densitometry"
