"""A small chest in inspiration and in expiration: where each point went, and how dense it became, is known exactly."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

SHAPE, SPACING_MM = (38, 26, 40), (4.0, 4.0, 4.0)
TOP_MM, BACK_MM, MIDDLE_MM = 140.0, 90.0, 78.0  # what stays where it is: apices, back, midline
LUNGS = ((1, (78.0, 52.0, 44.0), (58.0, 36.0, 28.0)), (2, (78.0, 52.0, 112.0), (58.0, 36.0, 28.0)))
"""In inspiration: label, centre and radii along slices, rows and columns, mm."""


def inspired(expired: NDArray[np.floating]) -> NDArray[np.floating]:
    """Where points (..., 3) along (slices, rows, columns), mm, of the expiratory CT lie in the inspiratory one."""
    down, forward, aside = _ways(expired)
    out = np.empty_like(expired, float)
    out[..., 0] = TOP_MM - (down + 0.0025 * down**2)
    out[..., 1] = BACK_MM - 1.12 * forward
    out[..., 2] = MIDDLE_MM + 1.05 * aside
    return out


def expansion(expired: NDArray[np.floating]) -> NDArray[np.floating]:
    """Inspiratory over expiratory volume at points (..., 3) of the expiratory CT."""
    return np.asarray((1 + 0.005 * _ways(expired)[0]) * 1.12 * 1.05)


def _ways(points: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    return np.maximum(TOP_MM - points[..., 0], 0), BACK_MM - points[..., 1], points[..., 2] - MIDDLE_MM


def places() -> NDArray[np.floating]:
    """(slices, rows, columns, 3): where the voxels lie, mm."""
    return np.stack(
        np.meshgrid(*(np.arange(n) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij"), -1
    )


def lung_at(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The inspiratory lung at points (..., 3)."""
    labels = np.zeros(points.shape[:-1], np.uint8)
    for label, centre, radii in LUNGS:
        labels[(((points - centre) / radii) ** 2).sum(-1) < 1] = label
    return labels


def air_at(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Density less that of air at points (..., 3) of the inspiratory lungs: 150 g/L with structures of about 1 cm."""
    noise = ndimage.gaussian_filter(np.random.default_rng(7).normal(size=SHAPE), 1.2, mode="wrap")
    index = [points[..., k] / SPACING_MM[k] for k in range(3)]
    return 150 + 60 * ndimage.map_coordinates(noise / noise.std(), index, order=1, mode="grid-wrap")


def inspiration() -> tuple[sitk.Image, NDArray[np.uint8]]:
    """The CT in HU and its lungs, 1 right, 2 left."""
    points = places()
    labels = lung_at(points)
    return as_image(np.where(labels > 0, air_at(points) - 1000, 40)), labels


def expiration(noise_hu: float = 15.0) -> tuple[sitk.Image, NDArray[np.uint8]]:
    """The same lungs with less air: each gram of tissue is where it was carried to, and none is lost."""
    points = places()
    labels = lung_at(inspired(points))
    hu = np.where(labels > 0, air_at(inspired(points)) * expansion(points) - 1000, 40)
    return as_image(hu + np.random.default_rng(3).normal(0, noise_hu, SHAPE)), labels


def as_image(hu: NDArray[np.floating]) -> sitk.Image:
    """On the grid of both CTs; points are (column, row, slice), mm."""
    image = sitk.GetImageFromArray(np.rint(hu).astype(np.int16))
    image.SetSpacing(SPACING_MM[::-1])
    return image
