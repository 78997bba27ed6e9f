"""How much a figure differs when nothing has changed: repeatability limits from publications.

A change within these limits cannot be told from a repeated measurement. None of the publications covers years between
two CTs, other scanners or every extent of disease; the limits are the least that a change must exceed, no proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """Where 95 % of the differences between two measurements lie, although nothing has changed.

    Attributes:
        low, high: ends, in the figure's unit.
        source: the publication.
        measured_on: on what, and what is special about it.
    """

    low: float
    high: float
    source: str
    measured_on: str

    def holds(self, change: float) -> bool:
        """Whether a change lies within the limits."""
        return math.isfinite(change) and self.low <= change <= self.high


LAA_950 = Limit(
    -1.3,
    1.1,
    "Gietema et al., Radiology 2007;244:890-897",
    "95 % limits of agreement in 157 men who were screened for lung cancer, low-dose CTs of one scanner three months"
    " apart; with more emphysema the limits are likely to be wider",
)
_HATT = "Hatt et al., Radiol Cardiothorac Imaging 2021;3(2):e200503"
PERC15 = Limit(
    -19.4,
    19.4,
    _HATT,
    "reproducibility coefficient without volume adjustment, full-dose against median-filtered reduced-dose CTs of 1205"
    " participants of COPDGene",
)
PERC15_ADJUSTED = Limit(
    -7.4,
    7.4,
    _HATT,
    "reproducibility coefficient with the authors' own volume adjustment, full-dose against median-filtered"
    " reduced-dose CTs of 1205 participants of COPDGene",
)
