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
