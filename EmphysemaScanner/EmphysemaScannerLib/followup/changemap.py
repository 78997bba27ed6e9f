"""Where the lungs lost or gained density between two CTs: the later one brought onto the earlier, breath accounted for.

After Staring et al., Med Phys 2014;41(2):021905: the CTs are registered, and the density of the later one is multiplied
by the registration's Jacobian determinant, because the same tissue in twice the volume has half the density (sponge
model, locally). What is left of noise and of vessels that do not lie on each other is averaged over about a centimetre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from ..base.progress import Progress, silent
from ..ct.grid import Grid, area_average, canonical_view
from ..lungs.morphology import box, eroded
from ..lungs.registration import RegistrationQuality, register
from ..scan.result import OverlayMap
from .comparison import Comparison

CELL_MM = 2.0
SMOOTHING_MM = 5.0
"""Standard deviation of the Gaussian that averages the change."""
FLOOR_G_PER_L, FULL_G_PER_L = 15.0, 60.0
"""Smaller changes are not drawn, larger ones share the last colour; the same for all CTs."""
_MOST_G_PER_L = 700.0  # denser is vessel, wall or diaphragm, whose edges would outweigh all lung
_SURFACE_MM = 1.5  # beneath the lungs' surface: where the wall is a little elsewhere, it looks like density gained
_LEAST_WEIGHT = 0.2  # of the Gaussian within lung
_HALF = 0.5  # of a cell

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ChangeMap:
    """The change of density between two CTs by place.

    Attributes:
        comparison: the CTs.
        change: g/L on cells of about 2 mm, negative where density was lost; 0 outside the lungs.
        lungs: the cells that were compared, as ``change``.
        moved_hu: int16 (slices, rows, columns): the later CT brought onto the earlier one's canonical grid, HU as they
            are; -1000 where it does not reach.
        quality: of the registration.
    """

    comparison: Comparison
    change: OverlayMap
    lungs: NDArray[np.bool_]
    moved_hu: NDArray[np.int16]
    quality: RegistrationQuality

    @property
    def mean_g_per_l(self) -> float:
        """Mean change over the lungs."""
        return float(self.change.values[self.lungs].mean()) if self.lungs.any() else float("nan")

    @property
    def lost_percent(self) -> float:
        """Share of the lungs that lost more than the floor."""
        return self._percent(self.change.values < -FLOOR_G_PER_L)

    @property
    def gained_percent(self) -> float:
        """Share of the lungs that gained more than the floor."""
        return self._percent(self.change.values > FLOOR_G_PER_L)

    def _percent(self, where: NDArray[np.bool_]) -> float:
        return 100 * float(np.mean(where[self.lungs])) if self.lungs.any() else float("nan")


def change_map(comparison: Comparison, progress: Progress = silent) -> ChangeMap:
    """Register the later CT onto the earlier, and map the change of density.

    Args:
        comparison: the CTs.
        progress: told the share done and the stage; whatever it raises ends the work.

    Raises:
        RegistrationError: the lungs could not be brought together.
    """
    earlier, later = comparison.earlier, comparison.later
    hu, grid = canonical_view(earlier.image)
    labels = np.asarray(earlier.result.lung_mask.values, np.uint8)
    later_labels = np.asarray(later.result.lung_mask.values, np.uint8)
    found = register(
        earlier.image, labels, later.image, later_labels, lambda share, stage: progress(0.9 * share, stage)
    )
    moved = found.moved(later.image)
    both = (labels > 0) & (found.moved_labels(later_labels, later.result.lung_mask.grid) > 0)
    progress(0.95, "Mapping the change of density")
    change, lungs, cells = density_change(hu, moved, found.volume_change(), both, grid)
    moved_hu = np.clip(np.rint(moved), -(2**15), 2**15 - 1).astype(np.int16)
    return ChangeMap(comparison, OverlayMap(change, cells), lungs, moved_hu, found.quality)


def density_change(
    earlier_hu: NDArray[np.generic],
    later_hu: NDArray[np.generic],
    jacobian: Floats,
    lungs: NDArray[np.bool_],
    grid: Grid,
) -> tuple[Floats, NDArray[np.bool_], Grid]:
    """Change of density from an earlier CT to a later one, as if both had the earlier one's local volume.

    Args:
        earlier_hu: HU, (slices, rows, columns).
        later_hu: HU of the later CT, resampled onto the same voxels by the registration.
        jacobian: local volume of the later CT over that of the earlier, on the same voxels.
        lungs: where there is lung in both CTs, on the same voxels.
        grid: where the voxels lie.

    Returns:
        The change on cells of about 2 mm around the lungs: g/L, negative where density was lost, 0 outside the lungs;
        which cells are lung and were compared; and where the cells lie.
    """
    z, y, x = (math.ceil(_SURFACE_MM / mm) for mm in grid.spacing_mm)
    where = box(lungs, (z, y, x))
    # Not cut off at 0: noise below -1000 HU would otherwise look like density that was gained.
    before = earlier_hu[where].astype(np.float32) + 1000
    after = (later_hu[where].astype(np.float32) + 1000) * jacobian[where].astype(np.float32)
    inside = lungs[where]
    used = eroded(inside, (z, y, x)) & (before < _MOST_G_PER_L) & (after < _MOST_G_PER_L)
    a, b, c = (max(1, round(n * mm / CELL_MM)) for n, mm in zip(inside.shape, grid.spacing_mm, strict=True))
    (z0, z1), (y0, y1), (x0, x1) = ((float(part.start), float(part.stop)) for part in where)
    cells = grid.part(((z0, z1), (y0, y1), (x0, x1)), (a, b, c))
    sigma = [SMOOTHING_MM / mm for mm in cells.spacing_mm]

    def around(values: NDArray[np.generic]) -> Floats:
        return np.asarray(
            ndimage.gaussian_filter(area_average(values, cells.shape), sigma, mode="constant", truncate=3), np.float32
        )

    weight, total = around(used), around(np.where(used, after - before, 0))
    compared = (area_average(inside, cells.shape) >= _HALF) & (weight > _LEAST_WEIGHT)
    change: Floats = np.divide(total, weight, out=np.zeros_like(total), where=compared)
    return change, np.asarray(compared), cells


def on_grid(change: ChangeMap, grid: Grid) -> Floats:
    """The change at the voxels of a CT's grid, interpolated linearly; 0 beyond the cells."""
    frame = sitk.Image([int(n) for n in grid.shape[::-1]], sitk.sitkUInt8)
    frame.SetSpacing(grid.spacing_mm[::-1])
    frame.SetOrigin(grid.origin_lps)
    frame.SetDirection(np.array(grid.direction_lps)[:, ::-1].ravel().tolist())
    image = change.change.grid.to_image(change.change.values)
    resampled = sitk.Resample(image, frame, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, 0.0)
    return np.asarray(sitk.GetArrayFromImage(resampled), np.float32)
