"""What the training of the demonstration model does beyond the published way, so that it learns to read the whole lung.

A network that has only seen chests from apex to base learns to look where lungs begin. With these aids, of both classes
alike, parts of the lungs are missing at the top or at the bottom, volumes are upside down, fields of view are larger or
smaller than they should be, voxels are coarse, lungs are lighter or denser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..ct.grid import area_average

FINER = 2  # slices are read so many times as finely as the network's, so that a part of the lungs still has its own
_MOST_CUT = 0.6  # of the slices
_MOST_EMPTY = 0.25  # of the slices, beyond either end
_MOST_MARGIN = 0.1  # of rows and columns, beyond either side or less than the whole
_CROP_OF_SIDE = (0.45, 0.75)  # what a crop shows of rows and columns
_COARSEST = 2.5  # voxels of the network's grid
_LIGHTNESS, _OFFSET_HU, _NOISE_HU = 0.08, 5.0, 14.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """One presentation of a volume.

    Attributes:
        hu: (slices, rows, columns) as the network's input before the window.
        lesions: lesion shares on the same grid, 0 to 255; None if there is no map.
    """

    hu: Floats
    lesions: NDArray[np.uint8] | None


def present(
    rng: np.random.Generator,
    hu: NDArray[np.generic],
    lesions: NDArray[np.uint8] | None,
    shape: tuple[int, int, int],
    cropped: bool,
    outside_hu: float | None,
) -> Shown:
    """Draw a presentation; nothing that is drawn depends on the label.

    Args:
        rng: chance.
        hu: the volume, ``FINER`` times as many slices as the network's.
        lesions: its lesion shares, same shape, 0 to 255.
        shape: of what is shown (slices, rows, columns).
        cropped: whether a part of rows and columns is shown, as ``Plan.crop`` wants it, or all of them.
        outside_hu: what lies beyond the volume; None: nothing may, and views end at its edges.
    """
    slices = _slices(rng, hu.shape[0], outside_hu is not None)
    rows, columns = (_side(rng, n, cropped, outside_hu is not None) for n in hu.shape[1:])
    over = (slices, rows, columns)
    beyond = np.float32(0 if outside_hu is None else outside_hu)
    relative = hu.astype(np.float32) - beyond  # averaging takes what lies beyond the array for 0
    if rng.random() < 0.2:
        coarse = rng.uniform(1.5, _COARSEST)
        few = (max(4, round(shape[0] / coarse)), max(4, round(shape[1] / coarse)), max(4, round(shape[2] / coarse)))
        seen = area_average(area_average(relative, few, over=over), shape)
    else:
        seen = area_average(relative, shape, over=over)
    share = None if lesions is None else area_average(lesions, shape, over=over)
    turned = slice(None, None, -1 if rng.random() < 0.45 else 1), slice(None), slice(None, None, rng.choice((-1, 1)))
    seen = _other_density(rng, seen[turned] + beyond)
    return Shown(seen, None if share is None else np.ascontiguousarray(np.rint(share[turned])).astype(np.uint8))


def _slices(rng: np.random.Generator, count: int, may_lie_beyond: bool) -> tuple[float, float]:
    """Which slices are shown: a part may be missing at either end, or there may be more than there is lung."""
    low, high, kind = 0.0, float(count), rng.random()
    if kind < 0.3:
        high -= rng.uniform(0, _MOST_CUT) * count
    elif kind < 0.5:
        low += rng.uniform(0, _MOST_CUT) * count
    elif kind < 0.62:
        low, high = low + rng.uniform(0, _MOST_CUT / 2) * count, high - rng.uniform(0, _MOST_CUT / 2) * count
    if may_lie_beyond:
        before, after = (rng.uniform(0, _MOST_EMPTY) * (rng.random() < 0.2) * (high - low) for _ in range(2))
        low, high = low - before, high + after
    return low, high


def _side(rng: np.random.Generator, count: int, cropped: bool, may_lie_beyond: bool) -> tuple[float, float]:
    """Which rows or columns are shown."""
    if cropped:
        size = rng.uniform(*_CROP_OF_SIDE) * count
        low = rng.uniform(0, count - size)
        return low, low + size
    most = _MOST_MARGIN * count
    first, last = (rng.uniform(-most if may_lie_beyond else 0, most / 2) for _ in range(2))
    return first, count - last


def _other_density(rng: np.random.Generator, hu: Floats) -> Floats:
    """Another breath, another calibration, another dose."""
    lighter = np.float32(np.exp(rng.normal(0, _LIGHTNESS)))
    noise = np.float32(rng.uniform(0, _NOISE_HU)) * rng.standard_normal(hu.shape, dtype=np.float32)
    changed: Floats = np.float32(-1024) + (hu + 1024) * lighter + np.float32(rng.normal(0, _OFFSET_HU)) + noise
    return changed
