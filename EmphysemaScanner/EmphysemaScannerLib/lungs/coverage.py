"""How much of the lungs' height lies beyond the first and the last slice of a CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import Grid

# Cross-section of both lungs by height: percent of the height from the lowest point, then mean and standard deviation
# of the area as a share of the largest, over ten complete adult chests of ten patients, each cut into fifty layers.
# Lungs as lungs.segment_lungs finds them in LIDC-IDRI 0001 to 0003, QIN LUNG CT 0003, 0028, 0049 and 01-0007, NSCLC
# Radiogenomics R01-142, Lung-PET-CT-Dx A0001 and the Chest Imaging Platform's ct-64.
_HEIGHT, _AREA, _AREA_SD = np.fromstring(
    """
    0 1 3 5 7 9 11 13 15 17 19 21 23 25 30 40 50 60 70 75 80 84 88 91 93 95 97 99 100
    0 .004 .014 .035 .068 .114 .173 .250 .346 .470 .588 .703 .795 .845 .906
    .942 .953 .926 .846 .763 .656 .542 .400 .289 .218 .146 .078 .017 0
    0 .002 .006 .016 .033 .052 .075 .099 .121 .157 .166 .178 .191 .178 .114
    .039 .054 .048 .063 .078 .094 .089 .074 .055 .042 .030 .017 .004 0
    """,
    sep=" ",
).reshape(3, -1)
_LUNG_MM, _LUNG_SPREAD = 272.0, 0.13  # geometric mean of the same ten; they differ by 0.09 only, but all are adults
_SHAPE_ERROR, _END_ERROR = 0.03, 0.01  # beside the spread between patients, in shares of the largest area
_MISSING = np.linspace(0, 0.7, 141)
_LEAST_SEEN = 0.2
_LAYERS = 20

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """What of the lungs a CT does not hold, in percent of the estimated full height of the lungs.

    Attributes:
        missing_top_percent: above the last slice; 0 when the lungs end inside the CT.
        missing_bottom_percent: below the first slice; 0 when the lungs end inside the CT.
    """

    missing_top_percent: float
    missing_bottom_percent: float


def lung_coverage(labels: NDArray[np.uint8], grid: Grid) -> Coverage:
    """Estimate how much of the lungs' height is missing where they reach the CT's first or last slice.

    The cross-section of the lungs tapers in much the same way in all chests. The missing share is the one for which the
    mean profile of complete lungs fits best to the area of the cut slice, to the areas of the visible layers and, more
    loosely, to the height of an adult's lungs.

    The ten chests that gave the constants were cut by 0, 2, 4, 7, 10, 15, 20, 30, 40 and 50 % at one end, and each was
    estimated from the profile of the other nine. The largest error in percentage points was 2 for cuts up to 2 %, 4 up
    to 10 %, 8 at 20 % and 15 at 30 to 50 %. Cuts of 2 % were estimated at 3.5 % at most, cuts of 10 % at 6 % at least.

    Args:
        labels: as from ``lungs.segment_lungs``, (slices, rows, columns), inferior to superior; not 0 is lung.
        grid: where they lie.
    """
    areas = np.array([np.count_nonzero(plane) for plane in labels], float)
    slices = np.flatnonzero(areas)
    if not slices.size:
        return Coverage(0.0, 0.0)
    bottom_is_cut, top_is_cut = slices[0] == 0, slices[-1] == len(areas) - 1
    areas = areas[slices[0] : slices[-1] + 1] / areas.max()
    top, bottom = (
        candidates.ravel()
        for candidates in np.meshgrid(*(_MISSING if cut else np.zeros(1) for cut in (top_is_cut, bottom_is_cut)))
    )
    possible = top + bottom <= 1 - _LEAST_SEEN
    top, bottom = top[possible], bottom[possible]
    seen = 1 - top - bottom
    middles = (np.arange(_LAYERS) + 0.5) / _LAYERS
    layers = bottom[:, None] + middles * seen[:, None]  # (candidates, layers): heights, 0 to 1
    largest = np.interp(layers, _HEIGHT / 100, _AREA).max(1)
    misfit = _misfit(_averaged(areas), layers, largest[:, None], _SHAPE_ERROR).mean(1)
    misfit += np.square(np.log(len(areas) * grid.spacing_mm[0] / seen / _LUNG_MM) / _LUNG_SPREAD)
    half_slice = seen / len(areas) / 2
    if top_is_cut:
        misfit += _misfit(areas[-1], 1 - top - half_slice, largest, _END_ERROR)
    if bottom_is_cut:
        misfit += _misfit(areas[0], bottom + half_slice, largest, _END_ERROR)
    best = int(np.argmin(misfit))
    return Coverage(100 * float(top[best]), 100 * float(bottom[best]))


def _averaged(areas: Values) -> Values:
    """The areas by slice averaged into layers, as shares of the largest layer's."""
    slices = np.linspace(0, 1, len(areas) + 1)
    below = np.interp(np.linspace(0, 1, _LAYERS + 1), slices, np.cumsum([0, *areas]))
    return np.asarray(np.diff(below) / np.diff(below).max())


def _misfit(area: Values, height: Values, largest: Values, error: float) -> Values:
    """Squared difference of areas from the profile's at these heights (0 to 1), in standard deviations.

    Areas are shares of the largest visible one, which the profile gives as ``largest``.
    """
    expected, spread = (np.interp(height, _HEIGHT / 100, values) / largest for values in (_AREA, _AREA_SD))
    return np.asarray(np.square((area - expected) / (spread + error)))
