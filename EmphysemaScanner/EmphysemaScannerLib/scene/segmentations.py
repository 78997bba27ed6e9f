"""Masks as Slicer segmentations, drawn as outlines."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..ct.grid import Grid
from ..lungs.recognition import LEFT_CODE, RIGHT_CODE, region_of
from ..lungs.regions import Region
from ..scan.result import ScanResult
from .labelnodes import segments_of
from .volumes import put_beside

LUNG_COLOURS = {"Right lung": (0.55, 0.80, 0.95), "Left lung": (0.95, 0.80, 0.55)}
_ANATOMY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~{type}~{side}~Anatomic codes - DICOM master list~^^~^^"
)
TERMINOLOGY = {
    "Right lung": _ANATOMY.format(type="SCT^39607008^Lung", side=f"SCT^{RIGHT_CODE}^Right"),
    "Left lung": _ANATOMY.format(type="SCT^39607008^Lung", side=f"SCT^{LEFT_CODE}^Left"),
}
"""Of the segments of a lung mask, as Slicer's Segment Editor writes it."""
LESION_COLOUR = (0.24, 1.0, 0.24)


def add_lungs(
    scene: slicer.vtkMRMLScene, result: ScanResult, name: str, ct: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """The lung mask that was measured in, editable in Segment Editor; hidden at first, so that it covers nothing.

    Args:
        scene: gets the new node.
        result: whose lung mask it is.
        name: of the node.
        ct: the CT under whose parent transform the node goes.
    """
    node = add_outlines(scene, {}, result.lung_mask.grid, {}, name, ct)
    _fill_lungs(node, result, ct)
    return node


def redraw_lungs(
    node: slicer.vtkMRMLSegmentationNode, result: ScanResult, name: str, ct: slicer.vtkMRMLScalarVolumeNode
) -> None:
    """Let the lung mask in the scene be that of another result, without a node added or removed.

    Args:
        node: of which ``can_redraw_lungs`` holds.
        result: whose lung mask it becomes.
        name: of the node.
        ct: as for ``add_lungs``.
    """
    node.SetName(name)
    node.SetAndObserveTransformNodeID(None)
    node.GetSegmentation().RemoveAllSegments()
    _fill_lungs(node, result, ct)


def can_redraw_lungs(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a lung mask is as it was made: its two lungs alone, and not in 3D."""
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    has_surface = node.GetSegmentation().ContainsRepresentation(surface)
    return holds_lungs_alone(node) and not has_surface and node.GetDisplayNode() is not None


def holds_lungs_alone(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a lung mask has the segments that it was made with, and none of the user's."""
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]
    return names == list(LUNG_COLOURS)


def _fill_lungs(node: slicer.vtkMRMLSegmentationNode, result: ScanResult, ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    labels = result.lung_mask.values
    masks = {side: labels == label for label, side in enumerate(LUNG_COLOURS, start=1)}
    _fill(node, masks, result.lung_mask.grid, LUNG_COLOURS, ct)
    for side, terminology in TERMINOLOGY.items():
        segment = node.GetSegmentation().GetSegment(node.GetSegmentation().GetSegmentIdBySegmentName(side))
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology)
    node.GetDisplayNode().SetVisibility(False)


def lung_labels(lungs: slicer.vtkMRMLSegmentationNode, grid: Grid) -> NDArray[np.uint8]:
    """The lung mask that is in the scene, as a scan has it: 1 right, 2 left.

    Args:
        lungs: the segmentation.
        grid: what the mask was made on, in the segmentation's own coordinates.
    """
    labels = np.zeros(grid.shape, np.uint8)
    segmentation = lungs.GetSegmentation()
    for number, segment in enumerate(segments_of(lungs)):
        region = region_of(segment)
        if region not in (Region.RIGHT_LUNG, Region.LEFT_LUNG):
            continue  # somebody has added it
        mask = slicer.vtkOrientedImageData()
        if lungs.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(number), mask) and (
            mask.GetNumberOfPoints() > 0
        ):
            _draw(labels, region.side, mask, grid)
    return labels


def checksum(labels: NDArray[np.uint8]) -> str:
    """Of a lung mask; another one has another."""
    return f"{zlib.crc32(np.ascontiguousarray(labels).data):08x}"


def _draw(labels: NDArray[np.uint8], label: int, mask: slicer.vtkOrientedImageData, grid: Grid) -> None:
    """Put a mask into labels that lie on a grid."""
    matrix = vtk.vtkMatrix4x4()
    mask.GetImageToWorldMatrix(matrix)
    to_grid = np.linalg.inv(grid.ijk_to_ras()) @ slicer.util.arrayFromVTKMatrix(matrix)
    extent = mask.GetExtent()
    first = to_grid @ [extent[0], extent[2], extent[4], 1.0]
    on_grid = np.abs(to_grid[:3, :3] - np.eye(3)).max() < 1e-3 and np.abs(first - np.round(first)).max() < 0.1
    if not on_grid:  # somebody has edited it; resampling takes seconds
        reference, edited = slicer.vtkOrientedImageData(), mask
        reference.SetDimensions(*labels.shape[::-1])
        reference.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras()))
        mask = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(edited, reference, mask)
        first, extent = np.zeros(4), mask.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    values = vtk_to_numpy(mask.GetPointData().GetScalars()).reshape(shape) != 0
    k, j, i = (int(n) for n in np.round(first[:3])[::-1])
    before = [max(-n, 0) for n in (k, j, i)]  # of the mask, beyond the grid's first voxels
    into = labels[max(k, 0) : k + shape[0], max(j, 0) : j + shape[1], max(i, 0) : i + shape[2]]
    k, j, i = before
    into[values[k : k + into.shape[0], j : j + into.shape[1], i : i + into.shape[2]]] = label


def add_lesions(
    scene: slicer.vtkMRMLScene,
    lesions: NDArray[np.generic],
    grid: Grid,
    name: str,
    ct: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLSegmentationNode:
    """Where disease truly is, where that is known, outlined in green.

    Args:
        scene: gets the new node.
        lesions: (slices, rows, columns), not 0 in disease, on ``grid``.
        grid: where they lie in the world.
        name: of the node.
        ct: the CT that they belong to.
    """
    return add_outlines(scene, {"Lesions": lesions != 0}, grid, {"Lesions": LESION_COLOUR}, name, ct)


def add_outlines(
    scene: slicer.vtkMRMLScene,
    masks: Mapping[str, NDArray[np.bool_]],
    grid: Grid,
    colours: Mapping[str, tuple[float, float, float]],
    name: str,
    ct: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation beside a CT, drawn as thin outlines.

    Args:
        scene: gets the new node.
        masks: (slices, rows, columns) by the name of the segment, on ``grid``.
        grid: where the masks lie in the world.
        colours: red, green, blue from 0 to 1, by the name of the segment.
        name: of the node.
        ct: the CT under whose parent transform the node goes.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetName(name)
    node.CreateDefaultDisplayNodes()
    _fill(node, masks, grid, colours, ct)
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(1)
    return node


def _fill(
    node: slicer.vtkMRMLSegmentationNode,
    masks: Mapping[str, NDArray[np.bool_]],
    grid: Grid,
    colours: Mapping[str, tuple[float, float, float]],
    ct: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Add masks as segments, in the CT's coordinates and geometry."""
    ijk_to_node = put_beside(node, grid.ijk_to_ras(), ct)
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    for segment, mask in masks.items():
        node.AddSegmentFromBinaryLabelmapRepresentation(_labelmap(mask, ijk_to_node), segment, list(colours[segment]))


def _labelmap(mask: NDArray[np.bool_], ijk_to_node: NDArray[np.float64]) -> slicer.vtkOrientedImageData:
    """A mask as Slicer's oriented image, cropped to what it holds, with one voxel around it for closed outlines."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_node))
    extent = []
    for axis in (2, 1, 0):
        used = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
        extent += [max(first - 1, 0), min(last + 1, mask.shape[axis] - 1)]
    image.SetExtent(extent)
    cropped = mask[extent[4] : extent[5] + 1, extent[2] : extent[3] + 1, extent[0] : extent[1] + 1]
    image.GetPointData().SetScalars(numpy_to_vtk(cropped.astype(np.uint8).ravel(), deep=True))
    return image
