"""From a CT to the network's input: one function for training and scanning, its settings stored in the model file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .grid import Grid, area_average, canonical_view

MOST_VOXELS = 2**25  # 58 times the paper's grid: a model file must not be able to ask for any amount of memory


@dataclass(frozen=True)
class Preprocessing:
    """How a CT becomes the network's input.

    Attributes:
        shape: the network's grid (slices, rows, columns); the paper's is 35 x 128 x 128.
        window_low_hu, window_high_hu: after averaging, this window is mapped linearly to [0, 1] and the rest clipped.
        padding_hu: values below it (scanners' padding outside the field of view) are raised to it before averaging.
    """

    shape: tuple[int, int, int] = (35, 128, 128)
    window_low_hu: float = -1024.0
    window_high_hu: float = -624.0
    padding_hu: float = -1024.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"the grid's shape must be three positive numbers, not {self.shape}")
        if math.prod(self.shape) > MOST_VOXELS:
            raise ValueError(f"a grid of {' x '.join(map(str, self.shape))} has more than {MOST_VOXELS:,} voxels")
        if not self.window_low_hu < self.window_high_hu:
            raise ValueError(f"the window [{self.window_low_hu}, {self.window_high_hu}] HU is empty")

    def average(self, array_hu: NDArray[np.generic]) -> NDArray[np.float32]:
        """A canonical array in HU (slices, rows, columns) averaged onto the network's grid, still in HU."""
        return area_average(array_hu, self.shape, at_least=self.padding_hu)

    def normalise(self, grid_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU to the network's input range [0, 1] through the window."""
        scaled = (grid_hu - self.window_low_hu) / (self.window_high_hu - self.window_low_hu)
        clipped: NDArray[np.float32] = np.clip(scaled, 0, 1).astype(np.float32)
        return clipped

    def apply(self, image: sitk.Image) -> tuple[NDArray[np.float32], Grid]:
        """The network's input for a CT in HU of any orientation.

        Returns:
            The input, shape ``self.shape``, range [0, 1], inferior to superior; and the grid that it lies on.
        """
        array, grid = canonical_view(image)
        return self.normalise(self.average(array)), grid.resized(self.shape)
