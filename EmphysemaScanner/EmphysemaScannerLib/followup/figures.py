"""The figures that are followed over time, each defined once: what it is, its unit, its limits, what disturbs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        least_range: of a plot's axis, so that a small change looks small.
        can_be_negative: whether an axis may go below 0.
    """

    key: str
    title: str
    unit: str
    digits: int
    of: Callable[[TimePoint, float], float]
    limit: Limit | None = None
    adjusted: bool = False
    rises_with_disease: bool | None = None
    least_range: float = 1.0
    can_be_negative: bool = False

    def limits_around(self, value: float) -> tuple[float, float] | None:
        """The range around a first value in which repeated CTs lie; None where there is no limit or no value."""
        if self.limit is None or not math.isfinite(value):
            return None
        return value + self.limit.low, value + self.limit.high

    def shown(self, values: NDArray[np.float64]) -> tuple[float, float]:
        """The axis of a plot over time.

        Args:
            values: (CTs,); NaN where it was not measured.

        Returns:
            Its lowest and highest value.
        """
        if self is PROBABILITY:
            return 0.0, 115.0
        ends = [*values[np.isfinite(values)], *(self.limits_around(values[0]) or ())]
        low, high = (min(ends), max(ends)) if ends else (0.0, 0.0)
        middle, half = (low + high) / 2, max(high - low, self.least_range) / 2 * 1.4
        low, high = middle - half, middle + half
        return (0.0, high - low) if low < 0 and not self.can_be_negative else (low, high)


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
EXTENT = Figure("extent", _("Extent of disease"), "%", 1, _extent, rises_with_disease=True, least_range=5.0)
LAA_950 = Figure(
    "laa_950",
    "LAA%-950",
    "%",
    1,
    lambda point, _volume: point.lungs.laa_950_percent,
    limits.LAA_950,
    rises_with_disease=True,
    least_range=5.0,
)
PERC15 = Figure(
    "perc15",
    "Perc15",
    "HU",
    0,
    lambda point, _volume: point.lungs.perc15_hu,
    limits.PERC15,
    rises_with_disease=False,
    least_range=30.0,
    can_be_negative=True,
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
    least_range=30.0,
)
MEAN_ADJUSTED = Figure(
    "mean_density_adjusted",
    _("Mean density, volume-adjusted"),
    "g/L",
    1,
    _mean_at_volume,
    adjusted=True,
    rises_with_disease=False,
    least_range=30.0,
)
FIGURES = (PROBABILITY, EXTENT, LAA_950, PERC15, PERC15_ADJUSTED, MEAN_ADJUSTED, VOLUME)
"""In the order of tables."""
