"""Volume nodes from and to images, with exact geometry."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from ..base.errors import GeometryError
from ..ct.grid import Grid

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Cosine between two axes. NIfTI's single precision stays below 1e-5; a gantry tilted by half a degree gives 9e-3.
LARGEST_SHEAR = 1e-3

Points = NDArray[np.float64]
"""(..., 3): LPS in mm, or indices (I, J, K)."""


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
    """Whether the columns of a matrix are perpendicular to each other, but for rounding."""
    unit = matrix / np.linalg.norm(matrix, axis=0)
    return bool(np.abs(unit.T @ unit - np.eye(unit.shape[1])).max() <= LARGEST_SHEAR)


def local_grid(node: slicer.vtkMRMLVolumeNode) -> Grid:
    """Where the voxels of a volume's array (K, J, I) lie, parent transforms left out.

    Raises:
        GeometryError: the axes have no length or are not perpendicular.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    columns, rows, slices = node.GetImageData().GetDimensions()
    return grid_of(slicer.util.arrayFromVTKMatrix(matrix), (slices, rows, columns), node.GetName())


def canonical_grid(ct: slicer.vtkMRMLVolumeNode, box: Grid) -> Grid:
    """The grid of a CT that isn't resampled, along the canonical axes.

    Args:
        ct: the CT.
        box: covers the CT, in the CT's own coordinates, along the canonical axes.
    """
    own = local_grid(ct)
    cosines = np.abs(np.array(box.direction_lps).T @ np.array(own.direction_lps))
    slices, rows, columns = (own.shape[int(axis)] for axis in cosines.argmax(axis=1))
    return box.resized((slices, rows, columns))


def grid_of(ijk_to_ras: NDArray[np.float64], shape: tuple[int, int, int], name: str) -> Grid:
    """A grid from its 4 x 4 matrix.

    Args:
        ijk_to_ras: to RAS in mm.
        shape: (slices, rows, columns).
        name: of what lies there, for the error.

    Raises:
        GeometryError: the axes have no length or are not perpendicular.
    """
    lps = RAS_TO_LPS @ ijk_to_ras
    check_axes(lps, name)
    spacing, origin = np.linalg.norm(lps[:3, :3], axis=0), lps[:3, 3]
    if not perpendicular(lps[:3, :3]):
        raise GeometryError(f"The axes of '{name}' are not perpendicular; load the CT again or correct its directions.")
    direction = lps[:3, :3] / spacing
    x, y, z = (float(mm) for mm in spacing)
    return Grid(
        shape=shape,
        spacing_mm=(z, y, x),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction_lps=tuple((float(k), float(j), float(i)) for i, j, k in direction),
    )


def ijk_to_world_ras(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """The 4 x 4 matrix from a volume's I, J, K to world RAS in mm, linear parent transforms applied.

    Raises:
        GeometryError: a parent transform is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return parent_to_world(node) @ np.asarray(slicer.util.arrayFromVTKMatrix(matrix), np.float64)


def parent_to_world(node: slicer.vtkMRMLTransformableNode) -> NDArray[np.float64]:
    """The 4 x 4 matrix of a node's parent transforms to world RAS; the identity without any.

    Raises:
        GeometryError: one of them is not linear.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise GeometryError(
            f"'{node.GetName()}' lies under the non-linear transform '{transform.GetName()}'; "
            "harden the transform, or take the CT out from under it, and try again."
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix), np.float64)


def add_volume(
    scene: slicer.vtkMRMLScene,
    values: NDArray[np.generic],
    ijk_to_world: NDArray[np.float64],
    name: str,
    beside: slicer.vtkMRMLVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """A new scalar volume node with its display node.

    Args:
        scene: gets the new nodes.
        values: (K, J, I), a number type that VTK has.
        ijk_to_world: 4 x 4 to world RAS in mm.
        name: of the node.
        beside: the new volume goes under this one's parent transform, so that they move together.
    """
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetName(name)
    node.SetAndObserveImageData(vtk_image(values))
    place(node, ijk_to_world, beside)
    node.CreateDefaultDisplayNodes()
    return node


def volume_node_from_image(image: sitk.Image, name: str, scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode:
    """A new volume node of an image; whole numbers that fit are kept as 16 bit, which halves the scene's file.

    Args:
        image: 3D, in LPS as ITK has it.
        name: of the node.
        scene: gets the new node.
    """
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype != np.int16:
        as_short = np.clip(values, -32768, 32767).astype(np.int16)
        values = as_short if np.array_equal(as_short, values) else values.astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return add_volume(scene, values, RAS_TO_LPS @ matrix, name)


def vtk_image(values: NDArray[np.generic]) -> vtk.vtkImageData:
    """A copy of an array (K, J, I) as VTK image data, without geometry."""
    data = vtk.vtkImageData()
    data.SetDimensions(*values.shape[::-1])
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True))
    return data


def place(
    node: slicer.vtkMRMLVolumeNode, ijk_to_world: NDArray[np.float64], beside: slicer.vtkMRMLVolumeNode | None
) -> None:
    """Give a volume its place in the world, under the parent transform of another where they can share it.

    Args:
        node: the volume.
        ijk_to_world: 4 x 4 to world RAS in mm.
        beside: the volume whose parent transform is shared; None for none.
    """
    local = ijk_to_world if beside is None else put_beside(node, ijk_to_world, beside)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(local))


def put_beside(
    node: slicer.vtkMRMLTransformableNode, ijk_to_world: NDArray[np.float64], ct: slicer.vtkMRMLVolumeNode
) -> NDArray[np.float64]:
    """Put a node under a CT's parent transform, so that they move together.

    It stays in world coordinates where that transform bends or shears: a straight grid would not be one under it.

    Args:
        node: the node.
        ijk_to_world: 4 x 4, where the node's grid lies, in world RAS, mm.
        ct: the CT.

    Returns:
        4 x 4, where the grid lies in the node's own coordinates.
    """
    parent, local = local_matrix(ijk_to_world, ct)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return local


def local_matrix(
    ijk_to_world: NDArray[np.float64], ct: slicer.vtkMRMLVolumeNode
) -> tuple[slicer.vtkMRMLTransformNode | None, NDArray[np.float64]]:
    """A grid's matrix in the coordinates that a CT's result has, as for ``put_beside``.

    With the parent transform that leads from these to the world: None where they are the world's.
    """
    parent = ct.GetParentTransformNode()
    if parent is None or not parent.IsTransformToWorldLinear():
        return None, ijk_to_world
    local: NDArray[np.float64] = np.linalg.inv(parent_to_world(ct)) @ ijk_to_world
    return (parent, local) if perpendicular(local[:3, :3]) else (None, ijk_to_world)


def check_axes(matrix: NDArray[np.float64], name: str) -> None:
    """Refuse a matrix with an axis without length.

    Args:
        matrix: 4 x 4; its first three columns are the steps along I, J, K.
        name: of what lies there, for the error.

    Raises:
        GeometryError: an axis has no length.
    """
    if not np.isfinite(matrix).all() or np.linalg.norm(matrix[:3, :3], axis=0).min() <= 0:
        raise GeometryError(f"'{name}' has an axis without length; load the CT again or correct its spacing.")
