"""A chest of simple shapes in voxels of 3 mm, as the lung mask's working grid, for faults that no real CT has."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

MM = 3.0
TISSUE, LUNG, AIR, GAS = 40, -850, -1000, -990
MIDDLE = 60  # column
CARINA = 58  # slice
RIGHT_LUNG, LEFT_LUNG = ((45, 50, 32), (40, 30, 20)), ((45, 50, 88), (40, 30, 20))  # centres, radii

Hu = NDArray[np.int16]
Mask = NDArray[np.bool_]


def ellipsoid(shape: tuple[int, ...], centre: tuple[int, ...], radii: tuple[float, ...]) -> Mask:
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return np.asarray(sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) < 1)


def body(slices: int = 100) -> Hu:
    """A cylinder of soft tissue in air, (slices, 100, 120), 300 mm x 330 mm."""
    y, x = np.ogrid[:100, :120]
    inside = ((y - 50) / 42) ** 2 + ((x - MIDDLE) / 55) ** 2 < 1
    return np.where(np.broadcast_to(inside, (slices, 100, 120)), TISSUE, AIR).astype(np.int16)


def chest(slices: int = 100, bronchi: int = AIR) -> Hu:
    """The body with two lungs, a trachea of 18 mm, open at the top, and main bronchi of 9 mm that end in the lungs."""
    hu = body(slices)
    for lung in (RIGHT_LUNG, LEFT_LUNG):
        hu[ellipsoid(hu.shape, *lung)] = LUNG
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    hu[CARINA:, (y - 45) ** 2 + (x - MIDDLE) ** 2 <= 9] = AIR
    tube = hu[CARINA : CARINA + 3, 44:47, 48:73]
    tube[tube == TISSUE] = bronchi
    return hu


def image(hu: Hu) -> sitk.Image:
    out = sitk.GetImageFromArray(hu)
    out.SetSpacing((MM, MM, MM))
    return out


def litres(mask: Mask) -> float:
    return float(np.count_nonzero(mask)) * MM**3 / 1e6
