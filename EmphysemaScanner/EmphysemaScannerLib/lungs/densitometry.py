"""Classical lung densitometry: low- and high-attenuation areas, percentiles, moments, volume and mass of regions.

``measures`` defines each figure, with its unit and source.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.parallel import in_threads, pieces
from . import LEFT, RIGHT

LEAST_VOXELS = 1000
"""A region of fewer voxels has no percentiles."""


@dataclass(frozen=True)
class Densitometry:
    """Lung densitometry inside one region; NaN is what was not measured.

    Attributes:
        laa_950_percent, laa_910_percent, laa_856_percent: share of voxels strictly below -950, -910, -856 HU.
        perc15_hu: 15th percentile of density, HU; NaN where there are fewer than ``LEAST_VOXELS`` voxels.
        mean_hu, sd_hu: mean and standard deviation, HU.
        volume_l: volume, litres.
        mass_g: tissue mass, grams, from density 1 + HU / 1000 g/ml, not below 0.
        laa_925_percent: share strictly below -925 HU.
        haa_700_percent, haa_600_percent, haa_500_percent, haa_250_percent: share strictly above -700 to -250 HU.
        perc10_hu, median_hu: 10th and 50th percentile, HU, as ``perc15_hu``.
        mode_hu: the commonest whole HU, of several the lowest.
        skewness, kurtosis: third and fourth standardised moment; 0 and 3 for a normal distribution.
        air_volume_l: volume without the tissue's, litres.
        voxels: how many.
    """

    laa_950_percent: float
    laa_910_percent: float
    laa_856_percent: float
    perc15_hu: float
    mean_hu: float
    sd_hu: float
    volume_l: float
    mass_g: float
    laa_925_percent: float = math.nan
    haa_700_percent: float = math.nan
    haa_600_percent: float = math.nan
    haa_500_percent: float = math.nan
    haa_250_percent: float = math.nan
    perc10_hu: float = math.nan
    median_hu: float = math.nan
    mode_hu: float = math.nan
    skewness: float = math.nan
    kurtosis: float = math.nan
    air_volume_l: float = math.nan
    voxels: float = math.nan


_NOTHING = Densitometry(
    laa_950_percent=math.nan,
    laa_910_percent=math.nan,
    laa_856_percent=math.nan,
    perc15_hu=math.nan,
    mean_hu=math.nan,
    sd_hu=math.nan,
    volume_l=0.0,
    mass_g=0.0,
    air_volume_l=0.0,
    voxels=0.0,
)

_LAA_HU, _HAA_HU, _PERCENTILES = (-950, -925, -910, -856), (-700, -600, -500, -250), (10, 15, 50)
_LOWEST, _BINS = -(2**15), 2**16  # whole HU of 16 bits, as nearly all CTs have
_Counts = NDArray[np.int64]  # voxels of each whole HU, from _LOWEST
_Values = NDArray[Any]
_HU = np.arange(_LOWEST, _LOWEST + _BINS)

HISTOGRAM_HU = np.arange(-1100, 201)
"""The whole HU of a histogram; the first and the last bin hold what lies beyond, too."""
Histogram = NDArray[np.int64]
"""(len(HISTOGRAM_HU),) voxels from each whole HU to below the next."""

_BOTH = slice(None)
_REGIONS: dict[str, tuple[slice | int, slice | int]] = {
    # Segments between the cuts at one third, a half and two thirds of the volume, counted from the base; sides.
    "whole": (_BOTH, _BOTH),
    "right": (_BOTH, 0),
    "left": (_BOTH, 1),
    "upper": (3, _BOTH),
    "middle": (slice(1, 3), _BOTH),
    "lower": (0, _BOTH),
}
_PARTS: dict[str, tuple[slice | int, slice | int]] = {
    "upper_half": (slice(2, 4), _BOTH),
    "lower_half": (slice(0, 2), _BOTH),
    "right_upper": (3, 0),
    "right_middle": (slice(1, 3), 0),
    "right_lower": (0, 0),
    "left_upper": (3, 1),
    "left_middle": (slice(1, 3), 1),
    "left_lower": (0, 1),
}
ZONES = ("right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower")
"""The thirds of either lung."""


@dataclass(frozen=True)
class LungDensities:
    """What was measured in a lung mask.

    Attributes:
        regions: "whole", "right", "left", "upper", "middle", "lower".
        parts: "upper_half", "lower_half" and the ``ZONES``.
        histograms: of ``regions``.
        voxels_by_slice_and_side: (2, slices) voxels of the right and the left lung in each slice of the CT.
        below_950_by_slice_and_side: those of them below -950 HU.
    """

    regions: dict[str, Densitometry]
    parts: dict[str, Densitometry]
    histograms: dict[str, Histogram]
    voxels_by_slice_and_side: NDArray[np.int64]
    below_950_by_slice_and_side: NDArray[np.int64]

    @property
    def voxels_by_slice(self) -> NDArray[np.int64]:
        """(slices,) voxels of both lungs."""
        return np.asarray(self.voxels_by_slice_and_side.sum(0))

    @property
    def below_950_by_slice(self) -> NDArray[np.int64]:
        """(slices,) those of both lungs below -950 HU."""
        return np.asarray(self.below_950_by_slice_and_side.sum(0))


@dataclass(frozen=True)
class NamedDensities:
    """What was measured in named regions.

    Attributes:
        regions: by name.
        histograms: by name.
    """

    regions: dict[str, Densitometry]
    histograms: dict[str, Histogram]


def measure(hu_in_mask: NDArray[np.generic], voxel_volume_mm3: float) -> Densitometry:
    """Densitometry of a set of voxels.

    Definitions are those of the Chest Imaging Platform's GenerateParenchymaPhenotypes, whose figures this reproduces:
    thresholds are strict; a percentile is the highest whole HU at or below which no more than that share of the voxels
    lies (up to 1 HU below an interpolated one); moments divide by N; and the mass is that of the mean density, so that
    noise around -1000 HU cancels instead of adding mass.

    Args:
        hu_in_mask: HU of the voxels, any shape, any real number type.
        voxel_volume_mm3: volume of one voxel, cubic millimetres.

    Returns:
        The figures; without voxels, NaN with zero volume and mass.
    """
    return _figures_of([np.ravel(hu_in_mask)], voxel_volume_mm3)[0]


def measure_lungs(
    hu: NDArray[np.generic], labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> LungDensities:
    """Densitometry of the whole lung, each lung, and of halves and thirds by height.

    Halves and thirds hold equal volumes of both lungs together, cut between slices, as in the Chest Imaging Platform's
    label maps: each slice belongs to the third in which the middle of its lung volume falls, counted from the base.

    Args:
        hu: HU, (slices, rows, columns), inferior to superior.
        labels: of the same shape: 0 outside, 1 right lung, 2 left lung.
        spacing_mm: distance of voxel centres, mm, any order.

    Raises:
        ValueError: the two arrays differ in shape.
    """
    _check_shapes(hu, labels)
    per_slice = np.array([np.count_nonzero(plane) for plane in labels], np.int64)
    third, half = (np.searchsorted(_shares(per_slice, n), range(1, n)).tolist() for n in (3, 2))
    counted = _Counted(hu, labels, (RIGHT, LEFT), [0, third[0], *half, third[1], len(hu)])
    regions, histograms = counted.measured(_REGIONS, math.prod(spacing_mm))
    parts, _ = counted.measured(_PARTS, math.prod(spacing_mm))
    return LungDensities(regions, parts, histograms, counted.voxels, counted.below_950)


def measure_named(
    hu: NDArray[np.generic],
    labels: NDArray[np.uint8],
    names: Mapping[int, str],
    spacing_mm: tuple[float, float, float],
) -> NamedDensities:
    """Densitometry of named regions, such as lobes.

    Args:
        hu: HU, (slices, rows, columns).
        labels: of the same shape.
        names: the region's name by its value in ``labels``; others are not measured.
        spacing_mm: distance of voxel centres, mm, any order.

    Raises:
        ValueError: the two arrays differ in shape.
    """
    _check_shapes(hu, labels)
    counted = _Counted(hu, labels, tuple(names), [0, len(hu)])
    which: dict[str, tuple[slice | int, slice | int]] = {name: (0, k) for k, name in enumerate(names.values())}
    return NamedDensities(*counted.measured(which, math.prod(spacing_mm)))


def thirds(voxels_by_slice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which third of the lungs each slice belongs to, counted from the base: 0 lower, 1 middle, 2 upper.

    Args:
        voxels_by_slice: lung voxels of each slice, inferior to superior.
    """
    return _shares(voxels_by_slice, 3)


def _shares(voxels_by_slice: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Which of so many parts of equal volume each slice belongs to."""
    middle = np.cumsum(voxels_by_slice) - voxels_by_slice / 2
    return (middle * number // max(int(voxels_by_slice.sum()), 1)).astype(np.int64)


def _check_shapes(hu: NDArray[np.generic], labels: NDArray[np.uint8]) -> None:
    if hu.shape != labels.shape:
        raise ValueError(f"the CT's shape {hu.shape} is not that of the lung mask, {labels.shape}")


class _Counted:
    """The voxels of labels in segments of slices: how many of each whole HU, or their values where not all are whole.

    Args:
        hu, labels: (slices, rows, columns).
        values: the labels to count.
        cuts: the segments' first slices, and the end of the last.

    Attributes:
        voxels, below_950: (labels, slices) how many, and how many of them are below -950 HU.
    """

    def __init__(
        self, hu: NDArray[np.generic], labels: NDArray[np.uint8], values: Sequence[int], cuts: Sequence[int]
    ) -> None:
        self.voxels = np.zeros((len(values), len(hu)), np.int64)
        self.below_950 = np.zeros_like(self.voxels)
        parts = [
            (number, range(start + piece.start, start + piece.stop))
            for number, (start, stop) in enumerate(pairwise(cuts))
            for piece in pieces(stop - start)
        ]

        used = [bool(plane.any()) for plane in labels]

        def values_of(part: tuple[int, range], index: int) -> _Values:
            planes: list[_Values] = [hu[:0].ravel()]
            for k in part[1]:
                if used[k]:
                    planes.append(hu[k][labels[k] == values[index]])
                    self.voxels[index, k] = len(planes[-1])
                    self.below_950[index, k] = np.count_nonzero(planes[-1] < -950)
            return np.concatenate(planes)

        shape = (len(cuts) - 1, len(values))
        counts, adding = np.zeros((*shape, _BINS), np.int64), threading.Lock()

        def count(part: tuple[int, range]) -> bool:
            for index in range(len(values)):
                found = _counted(values_of(part, index))
                if found is None:
                    return False
                with adding:
                    counts[part[0], index] += found
            return True

        self._counts = counts if all(in_threads(count, parts)) else None
        self._span = slice(0, 0)  # of the whole HU that occur
        self._values: list[list[list[_Values]]] = []
        if self._counts is not None:
            occurring = np.flatnonzero(self._counts.any((0, 1)))
            self._span = slice(int(occurring[0]), int(occurring[-1]) + 1) if occurring.size else slice(0, 0)
        else:
            self._values = [[[hu[:0].ravel()] for _ in range(shape[1])] for _ in range(shape[0])]
            for part in parts:
                for index in range(shape[1]):
                    self._values[part[0]][index].append(values_of(part, index))

    def measured(
        self, regions: Mapping[str, tuple[slice | int, slice | int]], voxel_volume_mm3: float
    ) -> tuple[dict[str, Densitometry], dict[str, Histogram]]:
        """Figures and histograms of regions, each given by its segments and labels."""
        found = {}
        for name, (segments, labels) in regions.items():
            if self._counts is not None:
                counts = np.zeros(_BINS, np.int64)
                chosen = self._counts[segments, labels][..., self._span]
                counts[self._span] = chosen.sum(tuple(range(chosen.ndim - 1)))
                found[name] = _of_counts(counts, voxel_volume_mm3), _histogram(counts)
            else:
                rows = self._values[segments] if isinstance(segments, slice) else [self._values[segments]]
                cells = [row[labels] if isinstance(labels, slice) else [row[labels]] for row in rows]
                found[name] = _figures_of([part for row in cells for cell in row for part in cell], voxel_volume_mm3)
        return {name: pair[0] for name, pair in found.items()}, {name: pair[1] for name, pair in found.items()}


def _figures_of(parts: Sequence[_Values], voxel_volume_mm3: float) -> tuple[Densitometry, Histogram]:
    values = np.concatenate(parts)
    counts = _counted(values)
    if counts is not None:
        return _of_counts(counts, voxel_volume_mm3), _histogram(counts)
    whole = np.clip(np.floor(values), HISTOGRAM_HU[0], HISTOGRAM_HU[-1]).astype(np.int64) - HISTOGRAM_HU[0]
    return _of_values(values, voxel_volume_mm3), np.bincount(whole, minlength=len(HISTOGRAM_HU))


def _counted(values: _Values) -> _Counts | None:
    """How many voxels have each whole HU; None if they aren't all whole numbers of 16 bits."""
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int16, copy=False)
    if whole is not values and not np.array_equal(whole, values):
        return None
    return np.bincount(np.subtract(whole, _LOWEST, dtype=np.int64), minlength=_BINS)


def _histogram(counts: _Counts) -> Histogram:
    first, last = HISTOGRAM_HU[0] - _LOWEST, HISTOGRAM_HU[-1] - _LOWEST
    histogram: Histogram = counts[first : last + 1].copy()
    histogram[0] += counts[:first].sum()
    histogram[-1] += counts[last + 1 :].sum()
    return histogram


def _of_counts(counts: _Counts, voxel_volume_mm3: float) -> Densitometry:
    size = int(counts.sum())
    if not size:
        return _NOTHING
    used = np.flatnonzero(counts)
    counts, hu = counts[used], _HU[used]
    upto = np.cumsum(counts)

    def below(limit: int) -> int:
        at = int(np.searchsorted(hu, limit))
        return int(upto[at - 1]) if at else 0

    total, squares = int(counts @ hu), int(counts @ hu**2)
    centred = hu - total / size
    return _figures(
        size,
        voxel_volume_mm3,
        laa=[100 * below(limit) / size for limit in _LAA_HU],
        haa=[100 * (size - below(limit + 1)) / size for limit in _HAA_HU],
        percentiles=[int(hu[np.searchsorted(upto, size * p // 100, side="right")]) - 1 for p in _PERCENTILES],
        mode=float(hu[int(counts.argmax())]),
        mean=total / size,
        moments=(
            math.sqrt(size * squares - total**2) / size,
            float(counts @ centred**3) / size,
            float(counts @ centred**4) / size,
        ),
    )


def _of_values(hu: _Values, voxel_volume_mm3: float) -> Densitometry:
    if not hu.size:
        return _NOTHING
    ranks = [hu.size * p // 100 for p in _PERCENTILES]
    ordered = np.partition(hu, ranks)
    whole, counts = np.unique(np.floor(hu), return_counts=True)
    mean, deviation = float(hu.mean(dtype=np.float64)), float(hu.std(dtype=np.float64))
    centred = hu.astype(np.float64) - mean
    return _figures(
        hu.size,
        voxel_volume_mm3,
        laa=[float(100 * np.count_nonzero(hu < limit) / hu.size) for limit in _LAA_HU],
        haa=[float(100 * np.count_nonzero(hu > limit) / hu.size) for limit in _HAA_HU],
        percentiles=[math.ceil(float(ordered[rank])) - 1 for rank in ranks],
        mode=float(whole[int(counts.argmax())]),
        mean=mean,
        moments=(deviation, float((centred**3).mean()), float((centred**4).mean())),
    )


def _figures(
    size: int,
    voxel_volume_mm3: float,
    *,
    laa: Sequence[float],
    haa: Sequence[float],
    percentiles: Sequence[int],
    mode: float,
    mean: float,
    moments: tuple[float, float, float],
) -> Densitometry:
    volume_ml = size * voxel_volume_mm3 / 1e3
    mass = volume_ml * max(1 + mean / 1e3, 0.0)
    perc10, perc15, median = (float(p) if size >= LEAST_VOXELS else math.nan for p in percentiles)
    deviation, third, fourth = moments
    return Densitometry(
        laa_950_percent=laa[0],
        laa_910_percent=laa[2],
        laa_856_percent=laa[3],
        perc15_hu=perc15,
        mean_hu=mean,
        sd_hu=deviation,
        volume_l=volume_ml / 1e3,
        mass_g=mass,
        laa_925_percent=laa[1],
        haa_700_percent=haa[0],
        haa_600_percent=haa[1],
        haa_500_percent=haa[2],
        haa_250_percent=haa[3],
        perc10_hu=perc10,
        median_hu=median,
        mode_hu=mode,
        skewness=third / deviation**3 if deviation else math.nan,
        kurtosis=fourth / deviation**4 if deviation else math.nan,
        air_volume_l=max(volume_ml - mass, 0.0) / 1e3,
        voxels=float(size),
    )
