"""The grid of about 3 mm on which the shape of the lungs is found: fast, and noise is averaged out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..ct.grid import area_average
from .fieldofview import FieldOfView
from .morphology import Mask, Radius

AIR_BELOW_HU = -400  # half-way between lung at about -850 and soft tissue at about +50
GAS_BELOW_HU = -970  # free air is -1000; more than half of a severely emphysematous lung is above
LOWEST_HU = -1024
_WORKING_MM = 3.0

Labels = NDArray[np.uint8]
Hu = NDArray[np.float32]


@dataclass(frozen=True)
class Coarse:
    """The CT averaged onto the working grid.

    Attributes:
        hu: (slices, rows, columns), padding raised to -1024.
        outside: cells that hold something outside the field of view; they count as tissue.
        spacing_mm: (slices, rows, columns).
    """

    hu: Hu
    outside: Mask
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000

    @property
    def tissue(self) -> Mask:
        """What is no air, or was not measured."""
        return np.asarray((self.hu >= AIR_BELOW_HU) | self.outside)

    def radius(self, mm: float) -> Radius:
        """A distance in whole voxels along (slices, rows, columns)."""
        dz, dy, dx = self.spacing_mm
        return round(mm / dz), round(mm / dy), round(mm / dx)

    def volume_ml(self, mask: Mask) -> float:
        return float(np.count_nonzero(mask)) * self.voxel_ml


def averaged(hu: NDArray[np.generic], spacing: tuple[float, ...], view: FieldOfView) -> Coarse:
    """The CT on the working grid.

    Args:
        hu: (slices, rows, columns).
        spacing: mm, in the same order.
        view: of the CT.
    """
    slices, rows, columns = (max(1, min(n, round(n * s / _WORKING_MM))) for n, s in zip(hu.shape, spacing, strict=True))
    mean = area_average(hu, (slices, rows, columns), at_least=LOWEST_HU)
    dz, dy, dx = (s * n / m for s, n, m in zip(spacing, hu.shape, mean.shape, strict=True))
    return Coarse(mean, view.coarse_outside(mean.shape), (dz, dy, dx))


def numbered(mask: Mask) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The connected pieces, numbered from 1, and how many voxels each has; 0 is what lies between and counts none."""
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(as_image(mask)))
    return pieces, np.bincount(pieces[mask], minlength=1)


def largest_piece(mask: Mask) -> Mask:
    pieces, sizes = numbered(mask)
    return np.asarray(pieces == np.argmax(sizes)) if len(sizes) > 1 else mask


def as_image(mask: Mask) -> sitk.Image:
    return sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8))


def as_mask(image: sitk.Image) -> Mask:
    return np.asarray(sitk.GetArrayViewFromImage(image) != 0)
