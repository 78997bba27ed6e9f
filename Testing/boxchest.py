"""A chest of boxes, whose every figure is known."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

SPACING = (5.0, 5.0, 5.0)  # column, row, slice; with SHAPE: 300 x 300 mm, 200 mm high
SHAPE = (40, 60, 60)


def ct(
    hu: np.ndarray | None = None,
    spacing: tuple[float, float, float] = SPACING,
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> sitk.Image:
    """A chest of boxes: air around, tissue, two lungs that end before the first and last slice."""
    image = sitk.GetImageFromArray(boxes() if hu is None else hu)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def boxes(lung_hu: float = -850, air_hu: float = -1000, heart_hu: float = 40) -> np.ndarray:
    hu = np.full(SHAPE, air_hu, np.int16)
    hu[:, 10:50, 5:55] = 40
    hu[:, 15:40, 27:33] = heart_hu
    hu[box_labels() > 0] = lung_hu
    return hu


def box_labels() -> np.ndarray:
    """The right lung (1) and the left (2), which taper towards both ends."""
    labels = np.zeros(SHAPE, np.uint8)
    for margin, slices in ((14, slice(4, 36)), (10, slice(5, 35)), (0, slice(6, 34))):
        rows = slice(15 + margin, 45 - margin)
        labels[slices, rows, 8:27] = 1
        labels[slices, rows, 33:52] = 2
    return labels
