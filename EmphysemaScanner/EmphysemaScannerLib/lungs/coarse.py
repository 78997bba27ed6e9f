"""The grid of about 3 mm on which the shape of the lungs is found: fast, and noise is averaged out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from ..ct.grid import area_average
from .fieldofview import FieldOfView
from .morphology import Mask, Radius, box, widened

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
        """Volume of one cell in millilitres."""
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
        """Volume of a mask (slices, rows, columns) on this grid, in millilitres."""
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
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return pieces, sizes


def boxed_pieces(mask: Mask, part: Mask, least: float, margin: int = 0) -> Iterator[tuple[tuple[slice, ...], Mask]]:
    """The connected pieces of a mask that hold at least so many cells of a part of it, each in a box of its own.

    Args:
        mask: (slices, rows, columns).
        part: of the mask.
        least: cells of the part in a piece.
        margin: of the boxes, in cells.
    """
    around = widened(box(mask), margin)
    numbers, _ = ndimage.label(mask[around])
    boxes = ndimage.find_objects(numbers)
    for i in np.flatnonzero(np.bincount(numbers[part[around]]) >= least).tolist():
        where = widened(boxes[i - 1], margin)
        piece = numbers[where] == i
        starts = (a.start + w.start for a, w in zip(around, where, strict=True))
        yield tuple(slice(start, start + n) for start, n in zip(starts, piece.shape, strict=True)), piece


def largest_piece(mask: Mask) -> Mask:
    """The connected piece with most cells, (slices, rows, columns); the mask itself where it is empty."""
    pieces, sizes = numbered(mask)
    return np.asarray(pieces == np.argmax(sizes)) if len(sizes) > 1 else mask


def as_image(mask: Mask) -> sitk.Image:
    """A mask (slices, rows, columns) as an image of bytes, 0 and 1, of the same voxels without spacing or origin."""
    return sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8))


def as_mask(image: sitk.Image) -> Mask:
    """Where an image is not 0, as a new array (slices, rows, columns)."""
    return np.asarray(sitk.GetArrayViewFromImage(image) != 0)
