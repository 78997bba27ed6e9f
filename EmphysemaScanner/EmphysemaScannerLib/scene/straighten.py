"""A CT on a sheared or bent grid, resampled onto a straight one that lies where Slicer shows it.

Slicer's DICOM module loads a CT of a tilted gantry, or of unevenly spaced slices, as straight slices under a non-linear
transform that moves each slice to its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..core.errors import GeometryError
from ..core.grid import Grid, canonical_axes

Points = NDArray[np.float64]
"""(..., 3): LPS in mm, or indices (I, J, K)."""

# Cosine between two axes. NIfTI's single precision stays below 1e-5; a gantry tilted by half a degree gives 9e-3.
LARGEST_SHEAR = 1e-3
_AFFINE_WITHIN_MM = 0.05
_SAMPLED_EVERY_MM = 8.0  # within a slice; what people bend CTs with bends over centimetres
_INVERTED_WITHIN_MM = 0.5
_MISSING_SLICE = 1.5  # times the usual distance of two slices
_LARGEST_GROWTH = 8.0  # times the number of voxels
_AIR_HU, _PADDING_HU = -900.0, -1024.0


@dataclass(frozen=True)
class StraightImage:
    """A CT on a straight grid.

    Attributes:
        image: its voxels, where they lie in the patient (LPS in mm).
        warnings: how it was resampled for that, as sentences with the figure; none where the voxels are as stored.
    """

    image: sitk.Image
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where the voxels of a CT lie.

    Attributes:
        size: number of voxels along I, J, K.
        to_world: from indices (I, J, K) to LPS in mm.
        to_index: the way back.
        name: of the CT, for errors.
    """

    size: tuple[int, int, int]
    to_world: Callable[[Points], Points]
    to_index: Callable[[Points], Points]
    name: str


def straighten(voxels: NDArray[np.generic], place: Place) -> StraightImage:
    """Resample a CT onto a straight grid, whose slices are the CT's own as far as these are plane.

    Args:
        voxels: (K, J, I), HU.
        place: where they lie.

    Raises:
        GeometryError: an axis has no length, slices are missing, or the way back can't be followed.
    """
    affine, world = _sampled(place)
    _check_slices(world, place.name)
    if affine.misses_by_mm <= _AFFINE_WITHIN_MM and perpendicular(affine.matrix):
        return StraightImage(image_at(voxels, affine.matrix, affine.origin))
    grid = _straight_grid(affine, world, place)
    if affine.misses_by_mm <= _AFFINE_WITHIN_MM:
        back = np.linalg.inv(affine.matrix)
        transform: sitk.Transform = sitk.AffineTransform(back.ravel().tolist(), (-back @ affine.origin).tolist())
    else:
        transform = _displacements(grid, place)
    image = sitk.GetImageFromArray(voxels)  # without geometry: its physical space is that of the indices
    straight = sitk.Resample(
        image,
        grid.shape[::-1],
        transform,
        sitk.sitkLinear,
        grid.origin_lps,
        grid.spacing_mm[::-1],
        np.array(grid.direction_lps)[:, ::-1].ravel().tolist(),
        _outside(voxels),
        image.GetPixelID(),
    )
    return StraightImage(straight, (_warning(affine, grid),))


def image_at(voxels: NDArray[np.generic], matrix: NDArray[np.float64], origin: NDArray[np.float64]) -> sitk.Image:
    """A copy of voxels as an image.

    Args:
        voxels: (K, J, I).
        matrix: 3 x 3; its columns, perpendicular to each other, are the steps along I, J, K in LPS, mm.
        origin: LPS of voxel (0, 0, 0).
    """
    spacing = np.linalg.norm(matrix, axis=0)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection((matrix / spacing).ravel().tolist())
    return image


def perpendicular(matrix: NDArray[np.float64]) -> bool:
    """Whether the columns of a 3 x 3 matrix are perpendicular to each other, but for rounding."""
    unit = matrix / np.linalg.norm(matrix, axis=0)
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() <= LARGEST_SHEAR)


@dataclass(frozen=True)
class _Affine:
    """The affine map that comes closest to where the voxels lie, from indices (column, row, slice) to LPS.

    Attributes:
        matrix: 3 x 3; its columns are the steps along I, J, K.
        origin: of index (0, 0, 0).
        axes: which of I, J, K are the canonical column, row and slice axes.
        flips: which of these run against the canonical direction.
        misses_by_mm: the largest distance of a voxel from where the map puts it.
    """

    matrix: NDArray[np.float64]
    origin: NDArray[np.float64]
    axes: tuple[int, ...]
    flips: list[bool]
    misses_by_mm: float

    @classmethod
    def of(cls, index: Points, world: Points, name: str) -> _Affine:
        """Fitted to points.

        Raises:
            GeometryError: an axis has no length.
        """
        known = np.column_stack([index.reshape(-1, 3), np.ones(index.size // 3)])
        solution = np.linalg.lstsq(known, world.reshape(-1, 3), rcond=None)[0]
        matrix, origin = solution[:3].T, solution[3]
        if not np.isfinite(solution).all() or abs(np.linalg.det(matrix)) <= 1e-9:
            raise GeometryError(f"'{name}' has an axis without length; load the CT again or correct its spacing.")
        axes, flips = canonical_axes(matrix / np.linalg.norm(matrix, axis=0))
        misses = np.linalg.norm(world - (index @ matrix.T + origin), axis=-1)
        return cls(matrix, origin, axes, flips, float(misses.max()))


def _sampled(place: Place) -> tuple[_Affine, Points]:
    """Places of voxels, (slices, rows, columns, 3) along the canonical axes: of each slice, some all over it."""
    ends = _lattice([[0, n - 1] for n in place.size])
    rough = _Affine.of(ends, place.to_world(ends), place.name)
    mm = np.linalg.norm(rough.matrix, axis=0)
    every = [1 if axis == rough.axes[2] else max(1, int(_SAMPLED_EVERY_MM / mm[axis])) for axis in range(3)]
    index = _lattice([sorted({*range(0, n, step), n - 1}) for n, step in zip(place.size, every, strict=True)])
    world = place.to_world(index)
    affine = _Affine.of(index, world, place.name)
    return affine, world.transpose(*affine.axes[::-1], 3)


def _lattice(steps: Sequence[Sequence[int]]) -> Points:
    """All combinations of three lists of numbers, as an array with an axis for each list."""
    return np.stack(np.meshgrid(*(np.array(s, float) for s in steps), indexing="ij"), axis=-1)


def _check_slices(world: Points, name: str) -> None:
    """Refuse a gap that is as wide as a missing slice makes it.

    Args:
        world: (slices, rows, columns, 3), LPS in mm.
    """
    gaps = np.linalg.norm(np.diff(world.mean(axis=(1, 2)), axis=0), axis=-1)
    usual = float(np.median(gaps)) if gaps.size else 0.0
    if gaps.size and gaps.max() > _MISSING_SLICE * usual:
        k = int(gaps.argmax())
        raise GeometryError(
            f"Slices are missing in '{name}': the usual distance is {usual:.2f} mm, after slice {k + 1} of "
            f"{len(gaps) + 1} it is {gaps[k]:.2f} mm; load the series completely."
        )


def _straight_grid(affine: _Affine, world: Points, place: Place) -> Grid:
    """The grid in the plane of the CT's rows and columns that holds all of its voxels' centres."""
    signs = [-1 if flip else 1 for flip in affine.flips]
    column, row, along = (affine.matrix[:, axis] * sign for axis, sign in zip(affine.axes, signs, strict=True))
    columns = column / np.linalg.norm(column)
    rows = row - (row @ columns) * columns
    rows /= np.linalg.norm(rows)
    slices = np.cross(columns, rows)  # the canonical axes are right-handed
    direction = np.column_stack([slices, rows, columns])
    spacing = np.array([abs(along @ slices), row @ rows, np.linalg.norm(column)])
    steps = world.reshape(-1, 3) @ direction / spacing
    first, last = steps.min(axis=0), steps.max(axis=0)
    shape = np.ceil(last - first - 0.01).astype(int) + 1  # a hundredth of a voxel is rounding
    if math.prod(shape.tolist()) > _LARGEST_GROWTH * math.prod(place.size):
        raise GeometryError(
            f"'{place.name}' lies under a transform that makes it far larger than it was; take it out from under the "
            "transform."
        )
    origin = direction @ (first * spacing)
    return Grid(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction_lps=tuple((float(a), float(b), float(c)) for a, b, c in direction),
    )


def _displacements(grid: Grid, place: Place) -> sitk.Transform:
    """The way from places on a grid to indices, linear between points that are a few millimetres apart."""
    every = np.array([1, *(max(1, int(_SAMPLED_EVERY_MM / mm)) for mm in grid.spacing_mm[1:])])
    counts = -(-(np.array(grid.shape) - 1) // every) + 1
    points = grid.position_lps(_lattice([range(n) for n in counts]) * every)
    index = place.to_index(points)
    within = ((index >= -0.5) & (index <= np.array(place.size) - 0.5)).all(axis=-1)
    missed = np.linalg.norm(place.to_world(index[within]) - points[within], axis=-1)
    if not missed.size or not missed.max() <= _INVERTED_WITHIN_MM:
        raise GeometryError(
            f"The non-linear transform of '{place.name}' cannot be inverted; harden it on a copy and scan that."
        )
    field = sitk.GetImageFromArray(index - points, isVector=True)
    field.SetOrigin(grid.origin_lps)
    field.SetSpacing((np.array(grid.spacing_mm) * every)[::-1].tolist())
    field.SetDirection(np.array(grid.direction_lps)[:, ::-1].ravel().tolist())
    return sitk.DisplacementFieldTransform(field)


def _outside(voxels: NDArray[np.generic]) -> float:
    """What fills the corners that the CT doesn't reach: what scanners write there, where the values are HU."""
    lowest = float(voxels.min())
    return min(lowest, _PADDING_HU) if lowest <= _AIR_HU else lowest


def _warning(affine: _Affine, grid: Grid) -> str:
    """How the CT lay, and that it was resampled."""
    if affine.misses_by_mm > _AFFINE_WITHIN_MM:
        return (
            "The CT's slices are unevenly spaced or bent (non-linear transform), by up to "
            f"{affine.misses_by_mm:.1f} mm: they were resampled onto a straight grid, where Slicer shows them."
        )
    column, row, along = (affine.matrix[:, axis] / np.linalg.norm(affine.matrix[:, axis]) for axis in affine.axes)
    if abs(column @ row) > LARGEST_SHEAR:
        degrees = math.degrees(math.asin(min(1.0, abs(column @ row))))
        return (
            f"The CT's rows and columns are {degrees:.1f} degrees from perpendicular (sheared transform): it was "
            "resampled onto a straight grid, where Slicer shows it."
        )
    normal = np.array(grid.direction_lps)[:, 0]
    degrees = math.degrees(math.acos(min(1.0, abs(float(along @ normal)))))
    return (
        f"The gantry was tilted by {degrees:.1f} degrees: the slices were resampled onto a straight grid, where Slicer "
        "shows them."
    )
