"""A volume node as an image on a straight grid that lies where Slicer shows the CT.

Slicer's DICOM module loads a CT whose slices are staggered, such as that of a tilted gantry, as straight slices under a
non-linear transform that moves each slice to its place. Such a CT is resampled as a file is; any other is by ITK.

Transforms belong to the scene and are followed on its thread; the voxels are resampled on any thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..base.errors import GeometryError, NotAChestCTError
from ..ct.acquisitions import is_even
from ..ct.grid import Grid, canonical_axes
from ..ct.regrid import straightened
from ..ct.stacking import Stack
from .volumes import RAS_TO_LPS, Points, check_axes, ijk_to_world_ras, image_at, perpendicular

_PLANE_WITHIN_MM = 0.05
_SAMPLED_EVERY_MM = 8.0  # within a slice; what people bend CTs with bends over centimetres
_INVERTED_WITHIN_MM = 0.5
_LARGEST_GROWTH = 8.0  # times the number of voxels
_AIR_HU, _PADDING_HU = -900.0, -1024.0


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


@dataclass(frozen=True)
class StraightImage:
    """A CT on a straight grid.

    Attributes:
        image: its voxels, where they lie in the patient (LPS in mm).
        warnings: how it was resampled for that, as sentences with the figure; none where the voxels are as stored.
    """

    image: sitk.Image
    warnings: tuple[str, ...] = ()


def image_from_volume_node(node: slicer.vtkMRMLScalarVolumeNode) -> sitk.Image:
    """The image of ``straight_image``."""
    return straight_image(node).image


def straight_image(node: slicer.vtkMRMLScalarVolumeNode) -> StraightImage:
    """A volume node as an image in patient space, parent transforms applied; the scene is only read.

    The voxels are resampled only where they lie on a sheared or bent grid, such as that of a tilted gantry.

    Args:
        node: a scalar volume of any axis order and handedness.

    Returns:
        The image in LPS, mm. Its axes are the node's I, J, K, or, where it was resampled, in canonical order.

    Raises:
        NotAChestCTError: not a scalar volume, a label map, no voxels, or several values per voxel.
        GeometryError: an axis has no length, slices are missing or unevenly spaced, or the parent transform cannot be
            inverted.
    """
    return prepare(node)()


def prepare(node: slicer.vtkMRMLScalarVolumeNode) -> Callable[[], StraightImage]:
    """The part of ``straight_image`` that reads the scene, and so belongs on the scene's thread.

    Args:
        node: as for ``straight_image``.

    Returns:
        What makes the image, on any thread: it holds a copy of the voxels and nothing of the scene.

    Raises:
        NotAChestCTError, GeometryError: as ``straight_image``.
    """
    voxels = _voxels_of(node)
    transform = node.GetParentTransformNode()
    if transform is None or transform.IsTransformToWorldLinear():
        matrix = RAS_TO_LPS @ ijk_to_world_ras(node)
        check_axes(matrix, node.GetName())
        if perpendicular(matrix[:3, :3]):
            stored = StraightImage(image_at(voxels, matrix[:3, :3], matrix[:3, 3]))
            return lambda: stored
    place = _place_of(node)
    affine = _Affine.of(place)
    sampled = _Sampled.of(place, affine)
    stack = sampled.stack(place.name)
    if stack is None:
        return _prepare_bent(voxels, place, affine, sampled)
    return _prepare_stack(voxels, affine, stack)


def _voxels_of(node: slicer.vtkMRMLScalarVolumeNode) -> NDArray[np.generic]:
    """The voxels of a volume node, (K, J, I), not copied."""
    name = node.GetName() if node is not None else ""
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
        raise NotAChestCTError(f"'{name}' is not a volume; choose a chest CT.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise NotAChestCTError(f"'{name}' is a label map; choose the chest CT itself.")
    data = node.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None or data.GetNumberOfPoints() == 0:
        raise NotAChestCTError(f"'{name}' holds no voxels; load the chest CT first.")
    if data.GetNumberOfScalarComponents() != 1:
        raise NotAChestCTError(
            f"'{name}' has {data.GetNumberOfScalarComponents()} values per voxel, as a colour image has; "
            "choose a chest CT with one value in Hounsfield units per voxel."
        )
    voxels: NDArray[np.generic] = slicer.util.arrayFromVolume(node)
    return voxels


def _place_of(node: slicer.vtkMRMLVolumeNode) -> Place:
    """Where a volume's voxels lie, under whichever parent transforms."""
    ijk_to_parent, to_world, from_world = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform()
    node.GetIJKToRASMatrix(ijk_to_parent)
    transform = node.GetParentTransformNode()
    if transform is not None:
        transform.GetTransformToWorld(to_world)
        transform.GetTransformFromWorld(from_world)
    forwards = slicer.util.arrayFromVTKMatrix(ijk_to_parent)
    back, lps = np.linalg.inv(forwards), np.diag(RAS_TO_LPS)[:3]
    return Place(
        size=node.GetImageData().GetDimensions(),
        to_world=lambda index: lps * _transformed(to_world, index @ forwards[:3, :3].T + forwards[:3, 3]),
        to_index=lambda world: _transformed(from_world, lps * world) @ back[:3, :3].T + back[:3, 3],
        name=node.GetName(),
    )


def _transformed(transform: vtk.vtkAbstractTransform, points: Points) -> Points:
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    flat = np.ascontiguousarray(points.reshape(-1, 3))
    before.SetData(numpy_to_vtk(flat))
    after.SetDataTypeToDouble()
    transform.TransformPoints(before, after)
    result: Points = vtk_to_numpy(after.GetData()).reshape(points.shape).copy()
    return result


def _prepare_stack(voxels: NDArray[np.generic], affine: _Affine, stack: Stack) -> Callable[[], StraightImage]:
    """A CT whose slices make a stack, straight or staggered, brought to canonical order."""
    order = [2 - axis for axis in affine.axes[::-1]]  # of array axes
    turned = tuple(slice(None, None, -1 if flip else None) for flip in affine.flips[::-1])
    ordered = np.array(voxels.transpose(order)[turned], order="C")

    def resample() -> StraightImage:
        if stack.is_straight:
            return StraightImage(image_at(ordered, stack.axes.T * stack.spacing_mm, stack.positions[0]))
        straight = straightened(ordered, stack)
        image = image_at(straight.voxels, straight.axes.T * straight.spacing_mm, straight.origin)
        return StraightImage(image, (straight.warning,))

    return resample


@dataclass(frozen=True)
class _Affine:
    """The affine map that comes closest to where a CT's corners lie.

    Attributes:
        matrix: 3 x 3; its columns are the steps along I, J, K in LPS, mm.
        axes: which of I, J, K are the canonical column, row and slice axes.
        flips: which of these run against the canonical direction.
    """

    matrix: NDArray[np.float64]
    axes: tuple[int, ...]
    flips: list[bool]

    @classmethod
    def of(cls, place: Place) -> _Affine:
        if min(place.size) < 2:
            raise GeometryError(f"'{place.name}' has one slice; choose a CT of the whole chest.")
        corners = _lattice([[0, n - 1] for n in place.size]).reshape(-1, 3)
        known = np.column_stack([corners, np.ones(len(corners))])
        matrix = np.linalg.lstsq(known, place.to_world(corners), rcond=None)[0][:3].T
        if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) <= 1e-9:
            raise GeometryError(f"'{place.name}' has an axis without length; load the CT again or correct its spacing.")
        axes, flips = canonical_axes(matrix / np.linalg.norm(matrix, axis=0))
        return cls(matrix, axes, flips)


@dataclass(frozen=True)
class _Sampled:
    """Places of voxels in canonical order: of each slice, some all over it.

    Attributes:
        rows, columns: which ones; the first and the last are among them.
        world: (slices, rows, columns, 3), LPS in mm.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    world: Points

    @classmethod
    def of(cls, place: Place, affine: _Affine) -> _Sampled:
        mm = np.linalg.norm(affine.matrix, axis=0)
        steps = []
        for axis, n in enumerate(place.size):
            every = 1 if axis == affine.axes[2] else max(1, int(_SAMPLED_EVERY_MM / mm[axis]))
            steps.append(sorted({*range(0, n, every), n - 1}))
        world = place.to_world(_lattice(steps)).transpose(*affine.axes[::-1], 3)
        world = np.flip(world, tuple(axis for axis, flip in enumerate(affine.flips[::-1]) if flip))
        columns, rows = (
            np.array([place.size[axis] - 1 - n for n in reversed(steps[axis])] if flip else steps[axis])
            for axis, flip in zip(affine.axes[:2], affine.flips[:2], strict=True)
        )
        return cls(rows, columns, world)

    def stack(self, name: str) -> Stack | None:
        """The slices as of a file: plane, parallel and rectangular; None if they are not.

        Args:
            name: of the CT, for the error.

        Raises:
            GeometryError: such slices, but unevenly spaced, which a file is refused for, too.
        """
        first = self.world[:, :1, :1]
        within = (self.world - first).mean(axis=0)
        across, down = within[0, -1] / self.columns[-1], within[-1, 0] / self.rows[-1]
        expected = first + self.rows[:, None, None] * down + self.columns[:, None] * across
        sides = np.stack([across, down])
        normal = np.cross(across, down) / np.linalg.norm(np.cross(across, down))
        positions = self.world[:, 0, 0]
        along = positions @ normal
        misses_mm = np.linalg.norm(self.world - expected, axis=-1).max()
        if misses_mm > _PLANE_WITHIN_MM or not perpendicular(sides.T):
            return None
        if not is_even(along):
            gaps = np.diff(along)
            usual = float(np.median(gaps))
            k = int(np.abs(gaps - usual).argmax())
            raise GeometryError(
                f"Slices are missing or unevenly spaced in '{name}': the usual distance is {usual:.2f} mm, after slice "
                f"{k + 1} of {len(along)} it is {gaps[k]:.2f} mm; load the series completely."
            )
        lengths = np.linalg.norm(sides, axis=1)
        apart = float(along[-1] - along[0]) / (len(along) - 1)
        return Stack(
            np.stack([*(sides / lengths[:, None]), normal]), (float(lengths[0]), float(lengths[1]), apart), positions
        )


def _lattice(steps: Sequence[Sequence[int]]) -> Points:
    """All combinations of three lists of numbers, as an array with an axis for each list."""
    return np.stack(np.meshgrid(*(np.array(s, float) for s in steps), indexing="ij"), axis=-1)


def _prepare_bent(
    voxels: NDArray[np.generic], place: Place, affine: _Affine, sampled: _Sampled
) -> Callable[[], StraightImage]:
    """A CT that no stack of slices makes, by ITK's linear interpolation."""
    grid = _straight_grid(affine, sampled.world, place)
    displacements = _displacements(grid, place)
    image = sitk.GetImageFromArray(voxels)  # without geometry: its physical space is that of the indices
    outside = _outside(voxels)

    def resample() -> StraightImage:
        straight = sitk.Resample(
            image,
            grid.shape[::-1],
            displacements,
            sitk.sitkLinear,
            grid.origin_lps,
            grid.spacing_mm[::-1],
            np.array(grid.direction_lps)[:, ::-1].ravel().tolist(),
            outside,
            image.GetPixelID(),
        )
        return StraightImage(
            straight,
            ("The CT lies under a transform that shears or bends it: it was resampled onto a straight grid.",),
        )

    return resample


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
