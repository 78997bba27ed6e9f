"""A small chest made of numbers: a body with two lungs, for tests that need no real CT."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

SHAPE = (70, 64, 64)
SPACING_MM = (5.0, 5.5, 5.5)


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """HU (int16) and lung labels (1 right, 2 left), canonical."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    rng = np.random.default_rng(0)
    hu = np.where((x / 0.9) ** 2 + (y / 0.65) ** 2 < 1, 40.0, -1000.0)
    labels = np.zeros(SHAPE, np.uint8)
    for label, side in ((1, -1), (2, 1)):  # columns run from the patient's right to the left
        labels[((x - 0.42 * side) / 0.32) ** 2 + (y / 0.48) ** 2 + (z / 0.8) ** 2 < 1] = label
    hu[labels > 0] = -860
    return (hu + rng.normal(0, 12, SHAPE)).astype(np.int16), labels


def phantom_image() -> sitk.Image:
    """The chest as a CT, off centre."""
    image = sitk.GetImageFromArray(phantom()[0])
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin((-170.0, -170.0, -400.0))
    return image
