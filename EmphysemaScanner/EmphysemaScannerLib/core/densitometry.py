"""Classical lung densitometry: low-attenuation areas, percentile density, volume and mass of the lung mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import Densitometry

_NOTHING = Densitometry(
    laa_950_percent=math.nan,
    laa_910_percent=math.nan,
    laa_856_percent=math.nan,
    perc15_hu=math.nan,
    mean_hu=math.nan,
    sd_hu=math.nan,
    volume_l=0.0,
    mass_g=0.0,
)


def measure(hu_in_mask: NDArray[np.generic], voxel_volume_mm3: float) -> Densitometry:
    """Densitometry of a set of lung voxels.

    Definitions are those of the Chest Imaging Platform's GenerateParenchymaPhenotypes, whose figures this reproduces:
    thresholds are strict; Perc15 is the highest whole HU at or below which no more than 15 % of the voxels lie (up to
    1 HU below an interpolated percentile); the standard deviation divides by N; and the mass is that of the mean
    density, so that noise around -1000 HU cancels instead of adding mass.

    Args:
        hu_in_mask: HU of the voxels, any shape, any real number type.
        voxel_volume_mm3: volume of one voxel, cubic millimetres.

    Returns:
        The figures; without voxels, NaN with zero volume and mass.
    """
    hu = np.ravel(hu_in_mask)
    if not hu.size:
        return _NOTHING
    mean = float(hu.mean(dtype=np.float64))
    rank = int(0.15 * hu.size)
    perc15 = math.ceil(float(np.partition(hu, rank)[rank])) - 1
    volume_ml = hu.size * voxel_volume_mm3 / 1e3
    return Densitometry(
        laa_950_percent=_share_below(hu, -950),
        laa_910_percent=_share_below(hu, -910),
        laa_856_percent=_share_below(hu, -856),
        perc15_hu=float(perc15),
        mean_hu=mean,
        sd_hu=float(hu.std(dtype=np.float64)),
        volume_l=volume_ml / 1e3,
        mass_g=volume_ml * max(1 + mean / 1e3, 0.0),
    )


def measure_regions(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> dict[str, Densitometry]:
    """Densitometry of the whole lung, each lung, and its upper, middle and lower third.

    The thirds hold equal volumes of both lungs together, cut between slices, as in the Chest Imaging Platform's label
    maps: each slice belongs to the third in which the middle of its lung volume falls, counted from the base.

    Args:
        hu: HU, (slices, rows, columns), inferior to superior.
        labels: of the same shape: 0 outside, 1 right lung, 2 left lung.
        spacing_mm: distance of voxel centres, mm, any order.

    Returns:
        By region: "whole", "right", "left", "upper", "middle", "lower".

    Raises:
        ValueError: the two arrays differ in shape.
    """
    if hu.shape != labels.shape:
        raise ValueError(f"the CT's shape {hu.shape} is not that of the lung mask, {labels.shape}")
    voxel_volume = math.prod(spacing_mm)
    lung = labels > 0
    values, sides = hu[lung], labels[lung]  # slice by slice from the base up, so a third is one piece of them
    per_slice = lung.sum((1, 2))
    below = np.cumsum(per_slice)
    third = (below - per_slice / 2) * 3 // max(len(values), 1)
    first_cut, second_cut = (int(per_slice[third < n].sum()) for n in (1, 2))
    parts = {
        "whole": values,
        "right": values[sides == 1],
        "left": values[sides == 2],
        "upper": values[second_cut:],
        "middle": values[first_cut:second_cut],
        "lower": values[:first_cut],
    }
    return {name: measure(part, voxel_volume) for name, part in parts.items()}


def _share_below(hu: NDArray[Any], threshold: int) -> float:
    return float(100 * np.count_nonzero(hu < threshold) / hu.size)
