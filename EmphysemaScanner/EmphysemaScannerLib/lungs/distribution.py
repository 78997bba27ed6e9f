"""Where in the lungs low density lies: ratios of regions, and a score of six zones."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .densitometry import ZONES, Densitometry

LEAST_RATIO_PERCENT = 0.1
"""Below this LAA%-950 in the denominator a ratio would be one of noise."""


def ratio(regions: Mapping[str, Densitometry], over: str, under: str) -> float:
    """LAA%-950 of one region over that of another; NaN where one is missing or the latter is below 0.1 %."""
    if over not in regions or under not in regions:
        return math.nan
    below = regions[under].laa_950_percent
    return regions[over].laa_950_percent / below if below >= LEAST_RATIO_PERCENT else math.nan


def zone_score(regions: Mapping[str, Densitometry]) -> float:
    """A score of six zones from LAA%-950, in the classes of Goddard et al. (Clin Radiol 1982;33:379-387).

    Goddard's readers score what they see in six areas: 0 none, 1 up to 25 %, 2 up to 50 %, 3 up to 75 %, 4 above. Here
    the zones are the thirds of either lung, the share is LAA%-950, and none is below 5 %, as healthy lungs have some:
    it is no visual score.

    Returns:
        0 to 24; NaN where a zone is missing or has no lung.
    """
    shares = [regions[zone].laa_950_percent if zone in regions else math.nan for zone in ZONES]
    if not all(math.isfinite(share) for share in shares):
        return math.nan
    return float(sum(zone_class(share) for share in shares))


def zone_class(laa_950_percent: float) -> int:
    """0 below 5 %, 1 below 25 %, 2 below 50 %, 3 below 75 %, else 4."""
    return sum(laa_950_percent >= limit for limit in (5, 25, 50, 75))
