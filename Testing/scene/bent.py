"""CTs under the transforms that Slicer's DICOM module puts over irregular slices, and under others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer
import vtk
from EmphysemaScannerLib.scene.volumes import ijk_to_world_ras
from numpy.typing import NDArray


def over_slices(
    ct: slicer.vtkMRMLScalarVolumeNode, moved_by: Callable[[int], NDArray[np.float64]]
) -> slicer.vtkMRMLGridTransformNode:
    """Put a CT under a grid transform that moves each slice as a whole, with a vector at each corner of each slice.

    Args:
        ct: its slices run along K.
        moved_by: how far slice k moves, RAS in mm.
    """
    columns, rows, slices = ct.GetImageData().GetDimensions()
    vectors = np.empty((slices, 2, 2, 3))
    for k in range(slices):
        vectors[k] = moved_by(k)
    return under_grid(ct, vectors, np.array(ct.GetSpacing()) * [columns, rows, 1])


def under_grid(
    ct: slicer.vtkMRMLScalarVolumeNode, vectors: NDArray[np.float64], spacing: NDArray[np.float64]
) -> slicer.vtkMRMLGridTransformNode:
    """Put a CT under a grid transform with the CT's origin and directions.

    Args:
        ct: under no transform.
        vectors: (K, J, I, 3), RAS in mm.
        spacing: of the vectors along I, J, K, mm.
    """
    grid = vtk.vtkImageData()
    grid.SetOrigin(*ct.GetOrigin())
    grid.SetDimensions(*vectors.shape[2::-1])
    grid.SetSpacing(*spacing)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    directions = vtk.vtkMatrix4x4()
    ct.GetIJKToRASDirectionMatrix(directions)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(grid)
    node = ct.GetScene().AddNewNodeByClass("vtkMRMLGridTransformNode", "CT acquisition transform")
    node.SetAndObserveTransformToParent(transform)
    slicer.util.arrayFromGridTransform(node)[:] = vectors
    slicer.util.arrayFromGridTransformModified(node)
    ct.SetAndObserveTransformNodeID(node.GetID())
    return node


def staggered(ct: slicer.vtkMRMLScalarVolumeNode, degrees: float) -> slicer.vtkMRMLGridTransformNode:
    """Put a CT under the transform of a table that moves aslant, along the columns, so many degrees off the normal."""
    step = ct.GetSpacing()[2] * np.tan(np.radians(degrees))
    along_rows = ijk_to_world_ras(ct)[:3, 1] / ct.GetSpacing()[1]
    return over_slices(ct, lambda k: along_rows * step * k)


def tilt(ct: slicer.vtkMRMLScalarVolumeNode, degrees: float) -> slicer.vtkMRMLGridTransformNode:
    """Make an axial CT one of a tilted gantry: its slices turned about the patient's transverse axis, and shifted along
    their columns so that they follow each other along the table.
    """
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    matrix = ijk_to_world_ras(ct)
    way = np.array([0.0, 0.0, matrix[2, 2] / cosine])
    matrix[:3, :3] = turn @ matrix[:3, :3]
    ct.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return over_slices(ct, lambda k: (way - matrix[:3, 2]) * k)


def place_in_world(ct: slicer.vtkMRMLScalarVolumeNode, i: float, j: float, k: float) -> NDArray[np.float64]:
    """Where Slicer shows a voxel, RAS in mm."""
    matrix, world = vtk.vtkMatrix4x4(), np.zeros(3)
    ct.GetIJKToRASMatrix(matrix)
    ct.TransformPointToWorld(np.array(matrix.MultiplyPoint([i, j, k, 1.0])[:3]), world)
    return world
