"""Volume nodes from and to images, with exact geometry."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from ..core.errors import GeometryError, NotAChestCTError
from ..core.grid import Grid

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Cosine between two axes. NIfTI's single precision stays below 1e-5; a gantry tilted by half a degree gives 9e-3.
LARGEST_SHEAR = 1e-3


def image_from_volume_node(node: slicer.vtkMRMLScalarVolumeNode) -> sitk.Image:
    """A volume node as an image in patient space, linear parent transforms applied; the scene is only read.

    The voxels are copied, so that another thread may work on them.

    Args:
        node: a scalar volume of any axis order and handedness.

    Returns:
        The image; its axes are the node's I, J, K, its world is LPS in mm.

    Raises:
        NotAChestCTError: not a scalar volume, a label map, no voxels, or several values per voxel.
        GeometryError: a non-linear parent transform, or axes that have no length or are not perpendicular.
    """
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
            f"'{name}' has {data.GetNumberOfScalarComponents()} values per voxel, as a colour picture; "
            "choose a chest CT with one value in Hounsfield units per voxel."
        )
    spacing, direction, origin = _geometry(ijk_to_world_ras(node), name)
    image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def local_grid(node: slicer.vtkMRMLVolumeNode) -> Grid:
    """Where the voxels of a volume's array (K, J, I) lie, parent transforms left out.

    Raises:
        GeometryError: the axes have no length or are not perpendicular.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    columns, rows, slices = node.GetImageData().GetDimensions()
    return grid_of(slicer.util.arrayFromVTKMatrix(matrix), (slices, rows, columns), node.GetName())


def grid_of(ijk_to_ras: NDArray[np.float64], shape: tuple[int, int, int], name: str) -> Grid:
    """A grid from its 4 x 4 matrix.

    Args:
        shape: (slices, rows, columns).
        name: of what lies there, for the error.

    Raises:
        GeometryError: the axes have no length or are not perpendicular.
    """
    spacing, direction, origin = _geometry(ijk_to_ras, name)
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
    return parent_to_world(node) @ slicer.util.arrayFromVTKMatrix(matrix)


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
    return slicer.util.arrayFromVTKMatrix(matrix)


def add_volume(
    scene: slicer.vtkMRMLScene,
    values: NDArray[np.generic],
    ijk_to_world: NDArray[np.float64],
    name: str,
    beside: slicer.vtkMRMLVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """A new scalar volume node with its display node.

    Args:
        values: (K, J, I), a number type that VTK has.
        ijk_to_world: 4 x 4 to world RAS in mm.
        beside: the new volume goes under this one's parent transform, so that they move together.
    """
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetName(name)
    node.SetAndObserveImageData(vtk_image(values))
    place(node, ijk_to_world, beside)
    node.CreateDefaultDisplayNodes()
    return node


def volume_node_from_image(image: sitk.Image, name: str, scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode:
    """A new volume node of an image; whole numbers that fit are kept as 16 bit, which halves the scene's file."""
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
    """Give a volume its place in the world, under the parent transform of another."""
    local = ijk_to_world
    if beside is not None and beside.GetParentTransformNode() is not None:
        local = np.linalg.inv(parent_to_world(beside)) @ ijk_to_world
        node.SetAndObserveTransformNodeID(beside.GetTransformNodeID())
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(local))


def _geometry(
    ijk_to_ras: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """ITK's spacing, direction and origin (LPS) of an IJK-to-RAS matrix."""
    lps = RAS_TO_LPS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if not np.isfinite(lps).all() or spacing.min() <= 0:
        raise GeometryError(f"'{name}' has an axis without length; load the CT again or correct its spacing.")
    direction = lps[:3, :3] / spacing
    shear = np.abs(direction.T @ direction - np.eye(3)).max()
    if shear > LARGEST_SHEAR:
        degrees = np.degrees(np.arcsin(min(shear, 1.0)))
        raise GeometryError(
            f"The axes of '{name}' are {degrees:.1f} degrees from perpendicular (tilted gantry or sheared transform);"
            " resample it to a regular grid first, with Slicer's module Resample Scalar Volume."
        )
    return spacing, direction, lps[:3, 3]
