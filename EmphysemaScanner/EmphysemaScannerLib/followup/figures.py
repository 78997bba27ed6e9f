"""The figures that are followed over time, each defined once: what it is, its unit, its limits, what disturbs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..i18n import tr as _
from ..lungs.normalisation import perc15_at_volume
from . import limits
from .limits import Limit
from .timepoint import TimePoint


@dataclass(frozen=True)
class Figure:
    """A figure of a CT that is followed.

    Attributes:
        key: in files.
        title: in tables and plots.
        unit: of the figure.
        digits: behind the decimal point.
        of: the figure of a CT, given the common lung volume in litres; NaN where it was not measured.
        limit: its repeatability; None where no publication is known.
        adjusted: whether the depth of breath is accounted for.
        rises_with_disease: which way more emphysema moves it; None for neither.
    """

    key: str
    title: str
    unit: str
    digits: int
    of: Callable[[TimePoint, float], float]
    limit: Limit | None = None
    adjusted: bool = False
    rises_with_disease: bool | None = None


def _extent(point: TimePoint, _volume_l: float) -> float:
    return point.result.disease_extent_percent.get("whole", math.nan)


def _mean_at_volume(point: TimePoint, volume_l: float) -> float:
    return (1000 + point.lungs.mean_hu) * point.lungs.volume_l / volume_l


PROBABILITY = Figure(
    "probability",
    _("Probability of emphysema"),
    "%",
    0,
    lambda point, _volume: 100 * point.result.probability,
    rises_with_disease=True,
)
EXTENT = Figure("extent", _("Extent of disease"), "%", 1, _extent, rises_with_disease=True)
LAA_950 = Figure(
    "laa_950",
    "LAA%-950",
    "%",
    1,
    lambda point, _volume: point.lungs.laa_950_percent,
    limits.LAA_950,
    rises_with_disease=True,
)
PERC15 = Figure(
    "perc15", "Perc15", "HU", 0, lambda point, _volume: point.lungs.perc15_hu, limits.PERC15, rises_with_disease=False
)
VOLUME = Figure("volume", _("Lung volume"), "L", 2, lambda point, _volume: point.lungs.volume_l)
PERC15_ADJUSTED = Figure(
    "perc15_adjusted",
    _("Perc15, volume-adjusted"),
    "g/L",
    1,
    lambda point, volume: perc15_at_volume(point.lungs, volume),
    limits.PERC15_ADJUSTED,
    adjusted=True,
    rises_with_disease=False,
)
MEAN_ADJUSTED = Figure(
    "mean_density_adjusted",
    _("Mean density, volume-adjusted"),
    "g/L",
    1,
    _mean_at_volume,
    adjusted=True,
    rises_with_disease=False,
)
FIGURES = (PROBABILITY, EXTENT, LAA_950, PERC15, PERC15_ADJUSTED, MEAN_ADJUSTED, VOLUME)
"""In the order of tables."""
