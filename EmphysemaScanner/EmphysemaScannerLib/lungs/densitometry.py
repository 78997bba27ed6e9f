"""Classical lung densitometry: low-attenuation areas, percentile density, volume and mass of the lung mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.parallel import in_threads, pieces
from . import LEFT, RIGHT


@dataclass(frozen=True)
class Densitometry:
    """Classical lung densitometry inside one region of the lung mask.

    Attributes:
        laa_950_percent, laa_910_percent, laa_856_percent: share of lung voxels strictly below -950, -910, -856 HU.
        perc15_hu: 15th percentile of lung density, HU.
        mean_hu, sd_hu: mean and standard deviation, HU.
        volume_l: volume, litres.
        mass_g: tissue mass, grams, from density 1 + HU / 1000 g/ml, not below 0.
    """

    laa_950_percent: float
    laa_910_percent: float
    laa_856_percent: float
    perc15_hu: float
    mean_hu: float
    sd_hu: float
    volume_l: float
    mass_g: float


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


_LOWEST, _BINS = -(2**15), 2**16  # whole HU of 16 bits, as nearly all CTs have
_Counts = NDArray[np.int64]  # voxels of each whole HU, from _LOWEST


@dataclass(frozen=True)
class LungDensities:
    """What was measured in a lung mask.

    Attributes:
        regions: "whole", "right", "left", "upper", "middle", "lower".
        voxels_by_slice: lung voxels of each slice of the CT.
        below_950_by_slice: those of them below -950 HU.
    """

    regions: dict[str, Densitometry]
    voxels_by_slice: NDArray[np.int64]
    below_950_by_slice: NDArray[np.int64]


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
    values = np.ravel(hu_in_mask)
    counts = _counted(values)
    return _of_values(values, voxel_volume_mm3) if counts is None else _of_counts(counts, voxel_volume_mm3)


def measure_regions(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> dict[str, Densitometry]:
    """The regions of ``measure_lungs``, which has the same arguments."""
    return measure_lungs(hu, labels, spacing_mm).regions


def measure_lungs(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> LungDensities:
    """Densitometry of the whole lung, each lung, and its upper, middle and lower third.

    The thirds hold equal volumes of both lungs together, cut between slices, as in the Chest Imaging Platform's label
    maps: each slice belongs to the third in which the middle of its lung volume falls, counted from the base.

    Args:
        hu: HU, (slices, rows, columns), inferior to superior.
        labels: of the same shape: 0 outside, 1 right lung, 2 left lung.
        spacing_mm: distance of voxel centres, mm, any order.

    Raises:
        ValueError: the two arrays differ in shape.
    """
    if hu.shape != labels.shape:
        raise ValueError(f"the CT's shape {hu.shape} is not that of the lung mask, {labels.shape}")
    voxel_volume = math.prod(spacing_mm)
    per_slice = np.array([np.count_nonzero(plane) for plane in labels], np.int64)
    below = np.zeros_like(per_slice)
    cuts = [0, *np.searchsorted(thirds(per_slice), (1, 2)).tolist(), len(hu)]
    parts = [
        (number, range(start + piece.start, start + piece.stop))
        for number, (start, stop) in enumerate(pairwise(cuts))
        for piece in pieces(stop - start)
    ]

    def count(part: tuple[int, range]) -> list[_Counts | None]:
        found = []
        for side in (RIGHT, LEFT):
            planes = []
            for k in part[1]:
                planes.append(hu[k][labels[k] == side])
                below[k] += np.count_nonzero(planes[-1] < -950)
            found.append(_counted(np.concatenate(planes)))
        return found

    counted = list(zip(parts, in_threads(count, parts), strict=True))
    of = np.zeros((3, 2, _BINS), np.int64)
    for (number, _), found in counted:
        for side, counts in enumerate(found):
            if counts is None:
                return LungDensities(_of_regions(hu, labels, cuts, voxel_volume), per_slice, below)
            of[number, side] += counts
    lower, middle, upper = of.sum(1)
    right, left = of.sum(0)
    regions = {"whole": right + left, "right": right, "left": left, "upper": upper, "middle": middle, "lower": lower}
    return LungDensities({name: _of_counts(counts, voxel_volume) for name, counts in regions.items()}, per_slice, below)


def thirds(voxels_by_slice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which third of the lungs each slice belongs to, counted from the base: 0 lower, 1 middle, 2 upper.

    Args:
        voxels_by_slice: lung voxels of each slice, inferior to superior.
    """
    middle = np.cumsum(voxels_by_slice) - voxels_by_slice / 2
    return (middle * 3 // max(int(voxels_by_slice.sum()), 1)).astype(np.int64)


def _of_regions(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], cuts: list[int], voxel_volume_mm3: float
) -> dict[str, Densitometry]:
    """The regions of a CT whose values are not all whole HU."""
    lower, middle, upper = (hu[a:b][labels[a:b] > 0] for a, b in pairwise(cuts))
    regions = {
        "whole": np.concatenate([lower, middle, upper]),
        "right": hu[labels == RIGHT],
        "left": hu[labels == LEFT],
        "upper": upper,
        "middle": middle,
        "lower": lower,
    }
    return {name: _of_values(values, voxel_volume_mm3) for name, values in regions.items()}


def _counted(values: NDArray[Any]) -> _Counts | None:
    """How many voxels have each whole HU; None if they aren't all whole numbers of 16 bits."""
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int16, copy=False)
    if whole is not values and not np.array_equal(whole, values):
        return None
    return np.bincount(whole.astype(np.int64) - _LOWEST, minlength=_BINS)


def _of_counts(counts: _Counts, voxel_volume_mm3: float) -> Densitometry:
    size = int(counts.sum())
    if not size:
        return _NOTHING
    hu = np.arange(_LOWEST, _LOWEST + _BINS)
    total, squares = int(counts @ hu), int(counts @ hu**2)
    upto = np.cumsum(counts)
    percent_below = [100 * int(upto[limit - _LOWEST - 1]) / size for limit in (-950, -910, -856)]
    perc15 = _LOWEST + int(np.searchsorted(upto, int(0.15 * size), side="right")) - 1
    deviation = math.sqrt(size * squares - total**2) / size
    return _figures(size, voxel_volume_mm3, percent_below, perc15, total / size, deviation)


def _of_values(hu: NDArray[Any], voxel_volume_mm3: float) -> Densitometry:
    if not hu.size:
        return _NOTHING
    percent_below = [float(100 * np.count_nonzero(hu < limit) / hu.size) for limit in (-950, -910, -856)]
    rank = int(0.15 * hu.size)
    perc15 = math.ceil(float(np.partition(hu, rank)[rank])) - 1
    mean, deviation = float(hu.mean(dtype=np.float64)), float(hu.std(dtype=np.float64))
    return _figures(hu.size, voxel_volume_mm3, percent_below, perc15, mean, deviation)


def _figures(
    size: int, voxel_volume_mm3: float, percent_below: list[float], perc15: int, mean: float, deviation: float
) -> Densitometry:
    volume_ml = size * voxel_volume_mm3 / 1e3
    laa_950, laa_910, laa_856 = percent_below
    return Densitometry(
        laa_950_percent=laa_950,
        laa_910_percent=laa_910,
        laa_856_percent=laa_856,
        perc15_hu=float(perc15),
        mean_hu=mean,
        sd_hu=deviation,
        volume_l=volume_ml / 1e3,
        mass_g=volume_ml * max(1 + mean / 1e3, 0.0),
    )
