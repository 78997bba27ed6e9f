"""Masks as Slicer segmentations, drawn as outlines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.grid import Grid, canonical
from ..core.result import OverlayMap, ScanResult
from .volumes import ijk_to_world_ras, image_on, parent_to_world

LUNG_COLOURS = {"Right lung": (0.55, 0.80, 0.95), "Left lung": (0.95, 0.80, 0.55)}
LESION_COLOUR = (0.24, 1.0, 0.24)


def add_lungs(
    scene: slicer.vtkMRMLScene, result: ScanResult, name: str, ct: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """The lung mask that was scanned with; hidden at first, so that it doesn't cover the pictures."""
    labels = result.lung_mask.values
    masks = {side: labels == label for label, side in enumerate(LUNG_COLOURS, start=1)}
    node = _add_outlines(scene, masks, result.lung_mask.grid, LUNG_COLOURS, name, ct)
    node.GetDisplayNode().SetVisibility(False)
    return node


def lung_labels(lungs: slicer.vtkMRMLSegmentationNode, ct: slicer.vtkMRMLScalarVolumeNode) -> OverlayMap:
    """The lung mask that is in the scene, as a scan has it: 1 right, 2 left, on the CT's canonical grid."""
    reference = slicer.vtkOrientedImageData()
    reference.SetDimensions(ct.GetImageData().GetDimensions())
    ijk_to_node = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(ijk_to_node)
    reference.SetImageToWorldMatrix(ijk_to_node)
    labels = np.zeros(reference.GetDimensions()[::-1], np.uint8)
    segmentation = lungs.GetSegmentation()
    for label, side in enumerate(LUNG_COLOURS, start=1):
        mask = slicer.vtkOrientedImageData()
        if not lungs.GetBinaryLabelmapRepresentation(segmentation.GetSegmentIdBySegmentName(side), mask):
            continue  # somebody removed this lung
        on_ct = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(mask, reference, on_ct)
        values = vtk_to_numpy(on_ct.GetPointData().GetScalars()).reshape(labels.shape)
        labels[values != 0] = label
    image = canonical(image_on(labels, ijk_to_world_ras(ct)))
    return OverlayMap(sitk.GetArrayFromImage(image), Grid.of_image(image))


def add_lesions(
    scene: slicer.vtkMRMLScene,
    lesions: NDArray[np.generic],
    grid: Grid,
    name: str,
    ct: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLSegmentationNode:
    """Where disease truly is, where that is known, outlined in green.

    Args:
        lesions: not 0 in disease, on ``grid``.
    """
    return _add_outlines(scene, {"Lesions": lesions != 0}, grid, {"Lesions": LESION_COLOUR}, name, ct)


def _add_outlines(
    scene: slicer.vtkMRMLScene,
    masks: Mapping[str, NDArray[np.bool_]],
    grid: Grid,
    colours: Mapping[str, tuple[float, float, float]],
    name: str,
    ct: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLSegmentationNode:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetName(name)
    node.CreateDefaultDisplayNodes()
    ijk_to_node = grid.ijk_to_ras()
    if ct.GetParentTransformNode() is not None:
        ijk_to_node = np.linalg.inv(parent_to_world(ct)) @ ijk_to_node
        node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    for segment, mask in masks.items():
        node.AddSegmentFromBinaryLabelmapRepresentation(_labelmap(mask, ijk_to_node), segment, list(colours[segment]))
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetSliceIntersectionThickness(1)
    return node


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
