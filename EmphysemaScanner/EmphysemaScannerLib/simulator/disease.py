"""What kind of emphysema is simulated, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Subtype(Enum):
    """Emphysema subtypes of the Fleischner Society."""

    CENTRILOBULAR = "centrilobular"
    PARASEPTAL = "paraseptal"
    PANLOBULAR = "panlobular"
    MIXED = "mixed"


class Mix(str, Enum):
    """Which cases are drawn.

    TO_SEVERE: extents of 0.5 to 45 % of the lungs. TO_DESTROYED: also lungs that are destroyed throughout (45 to 80 %),
    more panlobular disease, and, diseased or not, more lungs that are dark or that breathed out.
    """

    TO_SEVERE = "to-severe"
    TO_DESTROYED = "to-destroyed"


@dataclass(frozen=True)
class Disease:
    """What to put in.

    Attributes:
        subtype: its morphology and distribution.
        extent_percent: share of the lungs' volume to be destroyed, 0.1 to 80.
    """

    subtype: Subtype
    extent_percent: float

    def __post_init__(self) -> None:
        if not 0.1 <= self.extent_percent <= 80:
            raise ValueError(f"the extent must be 0.1 to 80 % of the lungs, not {self.extent_percent}")
