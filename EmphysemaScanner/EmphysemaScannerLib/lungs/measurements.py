"""What is measured beside the densitometry of the lungs and their thirds; ``further`` measures it.

This file is read when Slicer starts, and therefore does without scipy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .densitometry import Densitometry, Histogram


@dataclass(frozen=True)
class Clusters:
    """Connected areas below -950 HU, and bullae, of one region.

    Attributes:
        exponent: D of the cumulative size distribution of the areas in the slices; NaN with too few sizes.
        count: areas in the slices.
        largest_ml: volumes of the largest clusters in space, at most ten, largest first.
        bulla_volume_ml: volume of all bullae.
        bulla_count: how many there are.
        areas_mm2: the sizes that areas in the slices have, ascending.
        at_least: how many areas are at least that large.
    """

    exponent: float
    count: int
    largest_ml: tuple[float, ...]
    bulla_volume_ml: float
    bulla_count: int
    areas_mm2: NDArray[np.float64]
    at_least: NDArray[np.int64]

    @property
    def largest_cluster_ml(self) -> float:
        """Volume of the largest cluster; 0 without any."""
        return self.largest_ml[0] if self.largest_ml else 0.0


@dataclass(frozen=True)
class Distribution:
    """How low density is distributed over the lungs; NaN is what was not measured.

    Attributes:
        upper_lower_half_ratio, upper_lower_third_ratio: LAA%-950 of the upper half or third over that of the lower.
        core_rind_ratio: LAA%-950 of the core over that of the rind.
        zone_score: sum over six zones, 0 to 24.
        perc15_at_6_l_g_per_l: 15th percentile of density at a lung volume of 6 litres, g/L.
    """

    upper_lower_half_ratio: float = math.nan
    upper_lower_third_ratio: float = math.nan
    core_rind_ratio: float = math.nan
    zone_score: float = math.nan
    perc15_at_6_l_g_per_l: float = math.nan


@dataclass(frozen=True)
class Kernel:
    """What was done to a CT to make it like one of a smooth kernel.

    Attributes:
        energies_hu: of the bands of ``BAND_MM``, before.
        factors: what they were multiplied by; 1 where the energy was not above the reference.
    """

    energies_hu: tuple[float, ...]
    factors: tuple[float, ...]

    @property
    def changed(self) -> bool:
        """Whether a band was above the reference."""
        return min(self.factors) < 1


@dataclass(frozen=True)
class Normalised:
    """Density that was made comparable, beside the raw one; empty is what was not measured.

    Attributes:
        kernel: what was done to the CT; None if nothing was tried.
        of_smooth_kernel: densitometry by region as with a smooth kernel.
        with_less_noise: densitometry by region after a sliding average; also empty where pixels are too large.
    """

    kernel: Kernel | None = None
    of_smooth_kernel: dict[str, Densitometry] = field(default_factory=dict)
    with_less_noise: dict[str, Densitometry] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurements:
    """What was measured beside ``Densitometry`` by region; empty is what was not measured.

    Attributes:
        histograms: by region, on ``densitometry.HISTOGRAM_HU``.
        laa_950_by_height_percent: "right" and "left": (slices,) LAA%-950 in each slice of the network's grid, in
            reading order; NaN without lung.
        parts: densitometry of "upper_half", "lower_half", the ``ZONES``, "core" and "rind".
        clusters: by region: "whole", "right", "left", and lobes where they are known.
        distribution: ratios of regions, zone score, density at a fixed volume.
        normalised: beside the raw density.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    laa_950_by_height_percent: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    parts: dict[str, Densitometry] = field(default_factory=dict)
    clusters: dict[str, Clusters] = field(default_factory=dict)
    distribution: Distribution = Distribution()
    normalised: Normalised = Normalised()
