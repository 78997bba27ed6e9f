"""The same chest at another visit: disease grown by a known extent, another depth of breath, other noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..ct.grid import Grid, canonical
from .case import put_in
from .disease import Disease, Subtype
from .lungspace import Floats, Labels

_AIR_HU = -1000.0
_NOISE_MM = 0.8
_RIBS = 0.05  # growth of width and depth, as a share of that of height


@dataclass(frozen=True)
class Visit:
    """What differs between two visits of one patient.

    Attributes:
        extents_percent: share of the lungs with disease at this visit and, before it, at those that came earlier: what
            was destroyed then is still destroyed. Empty for healthy lungs.
        descent_mm: how much deeper the lungs' base lies than in the CT that is given; negative for a shallower breath.
        noise_hu: standard deviation of the noise that is added.
        noise_seed: of that noise.
    """

    extents_percent: tuple[float, ...] = ()
    descent_mm: float = 0.0
    noise_hu: float = 0.0
    noise_seed: int = 0


def at_visit(image: sitk.Image, labels: Labels, visit: Visit, subtype: Subtype, seed: int) -> sitk.Image:
    """The CT of a visit, canonical, int16 HU.

    Args:
        image: a chest CT in HU without disease, any orientation.
        labels: its lungs on the canonical image's voxels.
        visit: what differs.
        subtype: of the disease.
        seed: of the disease; the same for all visits of a patient.
    """
    chest = canonical(image)
    grid = Grid.of_image(chest)
    hu = sitk.GetArrayFromImage(chest).astype(np.float32)
    for extent in visit.extents_percent:
        hu = np.minimum(hu, sitk.GetArrayFromImage(put_in(chest, labels, Disease(subtype, extent), seed).image))
    if visit.descent_mm:
        hu = breathed(hu, labels, grid, visit.descent_mm)
    if visit.noise_hu:
        noise = np.random.default_rng(visit.noise_seed).standard_normal(hu.shape, dtype=np.float32)
        noise = ndimage.gaussian_filter(noise, (0, *(_NOISE_MM / mm for mm in grid.spacing_mm[1:])))
        hu = hu + noise * np.float32(visit.noise_hu / noise.std())
    return grid.to_image(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16))


def breathed(hu: Floats, labels: Labels, grid: Grid, descent_mm: float) -> Floats:
    """The chest at another depth of breath: no tissue is gained or lost, only its density changes.

    All that lies below the apices moves down, the more the lower it lies, and the ribs move out a little. The density
    of the lungs is divided by the local change of volume.

    Args:
        hu: the CT, canonical.
        labels: its lungs.
        grid: where the voxels lie.
        descent_mm: of the lungs' base; negative for a shallower breath. A third of the lungs' height at most.

    Returns:
        HU on the same voxels.
    """
    deep = grid.spacing_mm[0]
    used = np.flatnonzero((labels > 0).any((1, 2)))
    bottom, top = used[0] * deep, used[-1] * deep
    z = np.arange(len(hu)) * deep
    # A slice comes from above by the descent at the new base, by nothing at the apices; t is its height between them.
    t = np.clip((z - (bottom - descent_mm)) / (top - bottom + descent_mm), 0, 1)
    came_from = z + descent_mm * (1 - t) ** 1.5
    longer = 1 / np.gradient(came_from, z)
    wider = 1 + _RIBS * descent_mm / (top - bottom) * np.sin(np.pi * t)
    lung = labels > 0
    density = np.where(lung, hu - _AIR_HU, 0).astype(np.float32)
    rest = np.where(lung, _AIR_HU, hu).astype(np.float32)
    rows, columns = ((np.arange(n) - (n - 1) / 2, (n - 1) / 2) for n in hu.shape[1:])
    out: Floats = np.empty(hu.shape, np.float32)
    density, rest = (_between_slices(part, came_from / deep) for part in (density, rest))
    for k in range(len(hu)):
        at = np.meshgrid(*(offsets / wider[k] + middle for offsets, middle in (rows, columns)), indexing="ij")
        moved = [ndimage.map_coordinates(part[k], at, order=3, mode="nearest") for part in (density, rest)]
        out[k] = moved[1] + np.maximum(moved[0], 0) / (longer[k] * wider[k] ** 2)
    return out


def _between_slices(part: Floats, heights: np.typing.NDArray[np.float64]) -> Floats:
    """A CT's planes at other heights, counted in slices; cubic, as linear interpolation would smooth disease away."""
    coefficients = ndimage.spline_filter1d(part, 3, axis=0, output=np.float32, mode="nearest")
    low = np.floor(heights).astype(int)
    f = (heights - low).astype(np.float32)[:, None, None]
    weights = ((1 - f) ** 3 / 6, 2 / 3 - f**2 + f**3 / 2, 2 / 3 - (1 - f) ** 2 + (1 - f) ** 3 / 2, f**3 / 6)
    total: Floats = np.zeros(part.shape, np.float32)
    for offset, weight in zip(range(-1, 3), weights, strict=True):
        total += weight * coefficients[np.clip(low + offset, 0, len(part) - 1)]
    return total
