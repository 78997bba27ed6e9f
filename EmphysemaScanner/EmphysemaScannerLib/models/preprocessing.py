"""From a CT to the network's input: one function for training and scanning, its settings stored in the model file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..ct.grid import Box, Computed, Grid, area_average, canonical_view
from ..lungs.morphology import box
from .field import Field as Field
from .field import Needs as Needs

MOST_VOXELS = 2**25  # 58 times the paper's grid: a model file must not be able to ask for any amount of memory
_MOST_MARGIN_MM = 500.0

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """The part of a CT that a network reads, and the grid that it is averaged onto.

    Attributes:
        over: the part, in voxels of the canonical CT.
        grid: the network's grid, which covers the part edge to edge.
        lungs: (slices, rows, columns) the lungs on the canonical CT's voxels, where all that is 0 is set to one value;
            None if nothing is.
    """

    over: Box
    grid: Grid
    lungs: Labels | None = None

    def slice_of(self, count: int) -> NDArray[np.int64]:
        """Which of the grid's slices each slice of the CT falls into, by its centre; the nearest for those beyond.

        Args:
            count: slices of the CT.
        """
        first, last = self.over[0]
        slices = self.grid.shape[0]
        at = (np.arange(count) + 0.5 - first) * slices // (last - first)
        return at.astype(np.int64).clip(0, slices - 1)

    def share(
        self, mask: NDArray[np.generic] | Computed, within: tuple[slice, ...] | None = None
    ) -> NDArray[np.float32]:
        """How much of each of the grid's voxels a mask fills, 0 to 1.

        Args:
            mask: on the canonical CT's voxels; not 0 inside.
            within: a box of the CT outside of which the mask is known to be empty.
        """
        return area_average(mask, self.grid.shape, at_most=1, within=within, over=self.over)


@dataclass(frozen=True)
class Preprocessing:
    """How a CT becomes the network's input.

    Attributes:
        shape: the network's grid (slices, rows, columns); the paper's is 35 x 128 x 128.
        window_low_hu, window_high_hu: after averaging, this window is mapped linearly to [0, 1] and the rest clipped.
        padding_hu: values below it (scanners' padding outside the field of view) are raised to it before averaging.
        field: which part of the CT is read.
        margin_mm: how far beyond the lung mask the field reaches on each side, up to the CT's edge; for the lungs only.
        outside_hu: what is not lung is set to this before averaging; None leaves it as it is; for the lungs only.
    """

    shape: tuple[int, int, int] = (35, 128, 128)
    window_low_hu: float = -1024.0
    window_high_hu: float = -624.0
    padding_hu: float = -1024.0
    field: Field = Field.WHOLE
    margin_mm: float = 0.0
    outside_hu: float | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"the grid's shape must be three positive numbers, not {self.shape}")
        if math.prod(self.shape) > MOST_VOXELS:
            raise ValueError(f"a grid of {' x '.join(map(str, self.shape))} has more than {MOST_VOXELS:,} voxels")
        if not self.window_low_hu < self.window_high_hu:
            raise ValueError(f"the window [{self.window_low_hu}, {self.window_high_hu}] HU is empty")
        if not 0 <= self.margin_mm <= _MOST_MARGIN_MM:
            raise ValueError(f"the margin must be 0 to {_MOST_MARGIN_MM:g} mm, not {self.margin_mm}")
        if self.field is Field.WHOLE and (self.margin_mm or self.outside_hu is not None):
            raise ValueError("margin and value outside belong to the field of the lungs")

    def view(self, ct: Grid, labels: Labels | None = None) -> View:
        """Which part of a CT is read.

        Args:
            ct: the canonical CT's grid.
            labels: its lungs on its voxels (``lungs.segment_lungs``); needed for the field of the lungs.
        """
        if self.field is Field.WHOLE:
            slices, rows, columns = (float(n) for n in ct.shape)
            return View(((0.0, slices), (0.0, rows), (0.0, columns)), ct.resized(self.shape))
        if labels is None:
            raise ValueError("the field of the lungs needs the lungs")
        deep, high, wide = (
            (max(part.start - self.margin_mm / step, 0.0), min(part.stop + self.margin_mm / step, float(n)))
            for part, step, n in zip(box(labels), ct.spacing_mm, ct.shape, strict=True)
        )
        over = (deep, high, wide)
        return View(over, ct.part(over, self.shape), None if self.outside_hu is None else labels)

    def average(self, array_hu: NDArray[np.generic], view: View | None = None) -> NDArray[np.float32]:
        """A canonical array in HU (slices, rows, columns) averaged onto the network's grid, still in HU.

        Args:
            array_hu: of the whole CT.
            view: which part of it is read; None for all of it.
        """
        if view is None:
            return area_average(array_hu, self.shape, at_least=self.padding_hu)
        read = tuple(slice(math.floor(first), math.ceil(last)) for first, last in view.over)
        part: NDArray[np.generic] | Computed = array_hu[read]
        if view.lungs is not None:
            part = Computed(self._without_outside, (array_hu[read], view.lungs[read]))
        (a, b), (c, d), (e, f) = (
            (first - used.start, last - used.start) for (first, last), used in zip(view.over, read, strict=True)
        )
        return area_average(part, self.shape, at_least=self.padding_hu, over=((a, b), (c, d), (e, f)))

    def _without_outside(self, hu: NDArray[np.generic], lungs: Labels) -> NDArray[np.generic]:
        return np.where(lungs == 0, np.float32(self.outside_hu or 0), hu)

    def normalise(self, grid_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """HU to the network's input range [0, 1] through the window."""
        scaled = (grid_hu - self.window_low_hu) / (self.window_high_hu - self.window_low_hu)
        clipped: NDArray[np.float32] = np.clip(scaled, 0, 1).astype(np.float32)
        return clipped

    def read(self, image: sitk.Image, labels: Labels | None = None) -> tuple[NDArray[np.float32], View]:
        """A CT in HU of any orientation averaged onto the network's grid, still in HU, and which part of it that is.

        Args:
            image: the CT.
            labels: its lungs on its canonical voxels; found where the field is that of the lungs, if None.

        Raises:
            LungsNotFoundError: the field is that of the lungs, and there are none.
        """
        array, ct = canonical_view(image)
        if self.field is Field.LUNGS and labels is None:
            from ..lungs.lungs import segment_lungs

            labels = segment_lungs(image)
        view = self.view(ct, labels)
        return self.average(array, view), view

    def apply(self, image: sitk.Image) -> tuple[NDArray[np.float32], Grid]:
        """The network's input for a CT in HU of any orientation.

        Returns:
            The input, shape ``self.shape``, range [0, 1], inferior to superior; and the grid that it lies on.
        """
        averaged, view = self.read(image)
        return self.normalise(averaged), view.grid
